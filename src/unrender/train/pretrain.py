"""Multi-step diffusion: the parents of single-step models (Marigold, Ke et al. 2024; RGB<->X, Zeng et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from unrender.diffusion.card import ModelCard, NoiseKind, ScheduleCard
from unrender.diffusion.lora import Lora, adapt
from unrender.diffusion.noise import DISCOUNT, draw_noise, multi_resolution_noise
from unrender.diffusion.schedule import DiscreteSchedule, add_noise, discrete_schedule, training_target
from unrender.errors import UserError
from unrender.train.data import Batch, Stills, hold_out, require_known
from unrender.train.dropout import drop_conditions
from unrender.train.learner import Learner
from unrender.train.loop import BatchSpec, Report, run
from unrender.train.model_task import ModelTask
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.start import Start, starting_checkpoint


@dataclass(frozen=True)
class PretrainRecipe:
    """Attributes:
    config: how long and how fast.
    start: what to start from; `mini` networks from nothing need an autoencoder.
    noise: what the truth is noised with. Marigold's multi-resolution noise is annealed to Gaussian towards t = 0.
    terminal: share of the views that are noised fully, at t = T, where sampling in few steps starts: a small network
        with few steps to learn in sees too little of it among a thousand timesteps.
    dropout: probability that a known map is dropped from the conditioning of a forward network, which learns to do
        without.
    lora: adapters in place of whole weights.
    """

    config: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=4500, stages=(Stage(0.6, 64, 16), Stage(0.4, 128, 8)), lr=4e-4)
    )
    start: Start = field(default_factory=Start)
    noise: NoiseKind = "gaussian"
    terminal: float = 0.5
    dropout: float = 0.1
    lora: Lora | None = None


SMOKE = PretrainRecipe(TrainConfig(steps=40, stages=(Stage(1.0, 64, 4),), warmup=10, ema_decay=0.9, save_every=20))
RECIPES = {"mini": PretrainRecipe(), "smoke": SMOKE}
"""`mini`, 4,500 steps: not measured. `--steps 3500`, sampled in 50 steps: depth AbsRel 15.4 %, normals 35.9 deg, base
colour PSNR 13.7 dB (sRGB) on 32 held-out scenes. `--direction forward --steps 2000`, in 50 steps: PSNR 18.2 dB (sRGB)
on 128 (`unrender evaluate claims`, docs/results.md; training data: docs/mini.md). `smoke`: not measured."""


def pretrain(recipe: PretrainRecipe, stills: Stills, out: Path, report: Report | None = None) -> Path:
    """Trains a multi-step model of the task that `recipe.start` says; see `loop.run`.

    Raises:
        UserError: `out` holds a run of another recipe, there is nothing to start from, or nothing to learn its maps of.
    """
    checkpoint = starting_checkpoint(recipe.start, recipe.config.seed)
    require_known(stills, checkpoint.card)
    folder = RunFolder(out)
    folder.claim(recipe)
    adapt(checkpoint.unet, recipe.lora)
    held_out, rest = hold_out(stills)
    task = ModelTask(checkpoint, rest, held_out, partial(diffusion_loss, recipe=recipe))
    return run(task, recipe.config, folder, report)


def diffusion_loss(learner: Learner, batch: Batch, spec: BatchSpec, recipe: PretrainRecipe) -> dict[str, Tensor]:
    """The squared error of the network's answer on noised truth, at a random timestep for each view (Ho et
    al. 2020, eq. 14, in the card's parametrisation), by picture."""
    targets = learner.targets(spec.seed)
    conditioning = learner.condition(batch, targets, drop_conditions(learner.card, batch, spec, recipe.dropout))
    clean = learner.clean(batch, targets)
    schedule = _ddpm(learner.card)
    timestep = draw_timesteps(len(batch), len(schedule.alphas_cumprod), recipe.terminal, spec.generator(3))
    alpha = schedule.alphas_cumprod[timestep][:, None, None, None].to(clean)
    noise = training_noise(recipe.noise, clean, timestep / (len(schedule.alphas_cumprod) - 1), spec)
    output = learner.network(conditioning)(add_noise(clean, noise, alpha), timestep.to(clean.device))
    error = (output - training_target(clean, noise, alpha, schedule.card.prediction)).square()
    by_picture = error.unflatten(1, (len(targets), -1)).mean((2, 3, 4))
    return {
        picture.name: (by_picture[:, i] * known).sum() / known.sum().clamp(min=1) / len(targets)
        for i, picture in enumerate(targets)
        for known in [torch.stack([batch.known[codec.map] for codec in picture.maps]).all(0).to(clean)]
    }


def _ddpm(card: ModelCard) -> DiscreteSchedule:
    schedule = card.sampling.schedule
    if not isinstance(schedule, ScheduleCard):
        raise UserError(f"{card.id} has a {schedule.kind} schedule; pre-training expected one of the DDPM family")
    return discrete_schedule(schedule)


def draw_timesteps(count: int, steps: int, terminal: float, generator: torch.Generator) -> Tensor:
    """Timesteps (count,) from 0 to `steps` - 1, each the last one with the probability `terminal`, else any."""
    drawn = torch.randint(steps, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < terminal, steps - 1, drawn)


def training_noise(kind: NoiseKind, clean: Tensor, progress: Tensor, spec: BatchSpec) -> Tensor:
    """Noise of the shape of latents (B, C, h, w). The octaves of multi-resolution noise weaken towards t = 0, where it
    is Gaussian (Marigold, section 3.2).

    Args:
        progress: (B,) t / T of each view, in [0, 1].
    """
    if kind != "multi_resolution":
        return draw_noise(kind, tuple(clean.shape), spec.seed).to(clean)
    generator, shape = spec.generator(6), (1, *clean.shape[1:])
    views = [multi_resolution_noise(shape, generator, discount=DISCOUNT * float(share)) for share in progress]
    return torch.cat(views).to(clean)
