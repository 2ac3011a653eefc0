"""End-to-end training of a single-step renderer (E2E-FT: Martin Garcia et al., WACV 2025), either way.

The timestep is fixed at t = T, so the network is a function of what it is given; its clean latent is decoded, and the
losses are those of the task, on the decoded maps. Gradients reach the UNet through the frozen decoder; where a run
starts from nothing, the autoencoder learns too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from unrender.diffusion.card import ModelCard, NoiseKind
from unrender.diffusion.decoding import Memory
from unrender.diffusion.lora import Lora, adapt
from unrender.errors import UserError
from unrender.train.data import Batch, Stills, hold_out, require_known
from unrender.train.dropout import drop_conditions
from unrender.train.learner import Learner
from unrender.train.loop import BatchSpec, Report, run
from unrender.train.model_task import ModelTask
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.start import Start, starting_checkpoint
from unrender.train.task_losses import Weights, task_losses

PAPER = TrainConfig(
    steps=20_000,
    stages=(Stage(1.0, 480, 2),),
    accumulate=16,
    lr=3e-5,
    warmup=100,
    final_lr=0.01,
    betas=(0.9, 0.999),
    ema_decay=0.0,
    precision="no",
)
"""E2E-FT's own: an effective batch of 32, AdamW 3e-5, 100 steps of warm-up, exponential decay to 1 %.

Score here: not measured."""


@dataclass(frozen=True)
class E2ERecipe:
    """Attributes:
    config: how long and how fast.
    start: the model to start from.
    noise: what the one step starts from: zeros (the paper's choice), Gaussian, or multi-resolution noise.
    memory: how the decoder is run; `checkpointed` for large models, at the price of decoding twice.
    weights: of each map's loss.
    dropout: probability that a known map is dropped from the conditioning of a forward network.
    lora: adapters in place of whole weights.
    """

    config: TrainConfig = PAPER
    start: Start = field(default_factory=Start)
    noise: NoiseKind = "zeros"
    memory: Memory = "checkpointed"
    weights: Weights = field(default_factory=Weights)
    dropout: float = 0.0
    lora: Lora | None = None


MINI = E2ERecipe(
    TrainConfig(steps=3000, stages=(Stage(0.6, 64, 16), Stage(0.4, 128, 8)), lr=2e-4, final_lr=0.05), memory="whole"
)
"""Small networks from a multi-step parent. Score of all 3,000 steps: not measured.

Inverse, `--steps 600`: depth AbsRel 13.1 %, normals 31.2 deg on 128 held-out scenes (`unrender evaluate claims`,
docs/results.md). Forward, `--direction forward --steps 1500`: PSNR 20.223 dB (sRGB), split sum 19.826 dB, on 128
held-out stills (`unrender evaluate forward --model mini`, docs/mini.md). Training data of both: docs/mini.md."""
SCRATCH = E2ERecipe(
    TrainConfig(steps=14_000, stages=(Stage(0.5, 64, 16), Stage(0.25, 96, 8), Stage(0.25, 128, 8)), ema_decay=0.999),
    Start(scratch=True),
    memory="whole",
)
"""From scratch, encoder, UNet and decoder together: the shipped inverse `mini`. Score of 14,000 steps: not measured.

`--start mini --steps 8000`, as shipped, from the first `mini`: base colour PSNR 16.808 dB (sRGB), normals 21.304 deg,
depth AbsRel 8.352 % on 128 held-out stills (`unrender evaluate maps --model mini`; data and table: docs/mini.md)."""
LONG = E2ERecipe(
    TrainConfig(
        steps=1_000_000,
        stages=(Stage(0.3, 64, 16), Stage(0.4, 128, 8), Stage(0.3, 192, 4)),
        ema_decay=0.9995,
        final_lr=0.02,
        save_every=100,
        validate_every=5000,
        hours=12.0,
    ),
    Start(scratch=True),
    memory="whole",
    weights=Weights(gradient=0.5, structure=0.3, absolute=True),
)
"""As `scratch`, for hours in the background: 64 to 192 pixels, sharp losses. Score: docs/mini.md."""
ACCELERATOR = replace(
    LONG,
    config=replace(
        LONG.config,
        stages=(Stage(0.25, 64, 256), Stage(0.4, 128, 96), Stage(0.35, 192, 48)),
        lr=6e-4,
        warmup=200,
        save_every=500,
        validate_every=0,
    ),
)
"""As `long`, in the batches of a large GPU. Score: not measured."""
SMOKE = E2ERecipe(
    TrainConfig(steps=200, stages=(Stage(1.0, 64, 4),), lr=5e-4, warmup=20, final_lr=0.2, ema_decay=0.9, save_every=50),
    Start(model="mini"),
    memory="whole",
)
"""Overfits a few pictures in minutes, to check that the recipe runs; not measured."""
RECIPES = {
    "paper": E2ERecipe(),
    "mini": MINI,
    "scratch": SCRATCH,
    "long": LONG,
    "accelerator": ACCELERATOR,
    "smoke": SMOKE,
}


def train_e2e(recipe: E2ERecipe, stills: Stills, out: Path, report: Report | None = None) -> Path:
    """Trains a single-step model of the task that `recipe.start` says; see `loop.run`.

    Raises:
        UserError: `out` holds a run of another recipe, there is nothing to start from, or nothing to learn its maps of.
    """
    if recipe.start.scratch:
        _check_whole(recipe)
    checkpoint = starting_checkpoint(recipe.start, recipe.config.seed)
    require_known(stills, checkpoint.card)
    folder = RunFolder(out)
    folder.claim(recipe)
    checkpoint = replace(checkpoint, card=single_step(checkpoint.card, recipe.noise))
    adapt(checkpoint.unet, recipe.lora)
    held_out, rest = hold_out(stills)
    task = ModelTask(checkpoint, rest, held_out, partial(end_to_end_loss, recipe=recipe))
    return run(task, recipe.config, folder, report)


def _check_whole(recipe: E2ERecipe) -> None:
    """Raises UserError for what an autoencoder that learns cannot do."""
    if recipe.lora is not None:
        raise UserError("adapters adapt what was trained before; from nothing all weights learn, so leave them out")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "from nothing the autoencoder learns too, which several processes cannot share; expected one process"
        )


def single_step(card: ModelCard, noise: NoiseKind) -> ModelCard:
    """The card of a model that takes one step, from `noise` at t = T, unless it is given no noisy target at all."""
    card = card.with_schedule(steps=1, spacing="trailing", final_step="clean")
    return card.with_sampling(noise="none" if card.sampling.noise == "none" else noise)


def end_to_end_loss(learner: Learner, batch: Batch, spec: BatchSpec, recipe: E2ERecipe) -> dict[str, Tensor]:
    """One step, decoded, held against the truth."""
    targets = learner.targets(spec.seed)
    conditioning = learner.condition(batch, targets, drop_conditions(learner.card, batch, spec, recipe.dropout))
    noise = learner.noise(recipe.noise, learner.blank(batch, targets), spec.seed)
    predicted = learner.maps(learner.single_step(conditioning, noise), targets, recipe.memory)
    return task_losses(predicted, batch, targets, recipe.weights)
