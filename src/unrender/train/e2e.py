"""End-to-end training of a single-step inverse renderer (E2E-FT: Martin Garcia et al., WACV 2025).

The timestep is fixed at t = T and the noise is zeros, so the network is a function of the photo; its clean latent is
decoded, and the losses are those of the task, on the decoded maps. Gradients reach the UNet through the decoder.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from unrender.device import Compute
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint, save_checkpoint
from unrender.diffusion.checkpoints.places.registry import find
from unrender.diffusion.codec import encode_map, raw_map
from unrender.diffusion.conditioning import Condition, network_of
from unrender.diffusion.decoding import Memory, decode, encode
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.sampler import denoise
from unrender.diffusion.schedule import NoiseSchedule, make_schedule
from unrender.errors import UserError
from unrender.files.atomic import whole
from unrender.train.data import Batch, Stills, draw_batch
from unrender.train.losses import affine_invariant_l1, angular_loss, masked_mean, mean_squared
from unrender.train.mini import build_mini

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
MODEL_FOLDER = "model"
RECIPE_FILE = "recipe.json"
VALID_COVERAGE = 0.9


@dataclass(frozen=True)
class Stage:
    """A part of a run: its share of the steps, the side of its pictures in pixels, and how many make a batch."""

    share: float
    side: int
    batch: int


@dataclass(frozen=True)
class E2ERecipe:
    """One run, whole.

    Attributes:
        steps: optimiser steps.
        stages: one after the other, coarse first; their shares add up to 1. Small pictures teach most a second.
        rate: AdamW's learning rate after `warmup` steps; it falls exponentially to `final_rate` times that.
        decay: AdamW's weight decay.
        betas: AdamW's; a short training wants a short memory of squared gradients.
        clip: the gradient's norm is clipped here.
        average: share of the old weights in the running average that is saved.
        start: a model folder to start from, or None to start `mini` from nothing.
        train_autoencoder: True trains encoder and decoder too, as a start from nothing needs; E2E-FT keeps them.
        memory: how the decoder is run, `checkpointed` for large models.
        weights: of each map's loss.
        anchor: weight of the plain L1 beside the affine-invariant one, which keeps depth in the range of its codec.
        save_every: steps between checkpoints.
        seed: of everything.
    """

    steps: int = 7000
    stages: tuple[Stage, ...] = (Stage(0.57, 64, 16), Stage(0.29, 96, 8), Stage(0.14, 128, 8))
    rate: float = 3e-4
    warmup: int = 100
    final_rate: float = 0.05
    decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    average: float = 0.998
    start: str | None = None
    train_autoencoder: bool = True
    memory: Memory = "whole"
    weights: dict[str, float] = field(
        default_factory=lambda: {
            "base_color": 2.0,
            "normal": 1.0,
            "depth": 1.0,
            "roughness": 0.3,
            "metallic": 0.3,
            "mask": 0.5,
        }
    )
    anchor: float = 0.5
    save_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise UserError(f"recipe: the shares of its stages add up to {total}; 1 is right")


SMOKE = E2ERecipe(steps=300, stages=(Stage(1.0, 64, 4),), rate=3e-4, warmup=20, average=0.98, save_every=100)
RECIPES = {"mini": E2ERecipe(), "smoke": SMOKE}


@dataclass
class _Run:
    """What changes while training goes on."""

    checkpoint: Checkpoint
    averaged: dict[str, Tensor]
    optimiser: torch.optim.AdamW
    step: int = 0


def train(recipe: E2ERecipe, stills: Stills, out: Path, report: Callable[[int, float], None] | None = None) -> Path:
    """Trains, or goes on training, and returns the folder of the model.

    `out` receives `recipe.json`, `log.jsonl` (a line a step), `state.pt` (to go on from) and `model/`, all whole at any
    moment. The same call on the same folder goes on where it stopped and ends with the same loss curve.

    Args:
        report: called after each step with (step, loss).

    Raises:
        UserError: `out` holds a run of another recipe.
    """
    _claim(out, recipe)
    torch.manual_seed(recipe.seed)
    run = _start(recipe)
    _restore(run, out)
    _cut_log(out, run.step)
    schedule = make_schedule(run.checkpoint.card.schedule)
    while run.step < recipe.steps:
        started = time.perf_counter()
        losses = _train_step(run, schedule, stills, recipe)
        run.step += 1
        _append_log(out, run.step, losses, time.perf_counter() - started)
        if report is not None:
            report(run.step, sum(losses.values()))
        if run.step % recipe.save_every == 0 or run.step == recipe.steps:
            _save(run, out)
    model = out / MODEL_FOLDER
    if not model.exists():
        export(recipe, out, model)
    return model


def export(recipe: E2ERecipe, out: Path, folder: Path) -> None:
    """Writes the averaged weights of the last checkpoint of the run in `out` as a model folder, in half precision.

    Raises:
        UserError: the run has no checkpoint yet.
    """
    run = _start(recipe)
    if not _restore(run, out):
        raise UserError(f"{out} has no {STATE_FILE} yet; let the run reach its first checkpoint")
    _load_weights(run.checkpoint, run.averaged)
    with whole(folder) as temporary:
        save_checkpoint(run.checkpoint, temporary, torch.float16)


def predict(
    checkpoint: Checkpoint, schedule: NoiseSchedule, rgb: Tensor, memory: Memory = "whole"
) -> dict[str, Tensor]:
    """One differentiable single-step pass: photo (B, 3, H, W), linear, to every map as the network gives it,
    (B, 1 or 3, H, W) in [-1, 1]."""
    card = checkpoint.card
    photo = encode(checkpoint.autoencoder, encode_map(rgb, card.given[0].codec), card.latent_scale)
    noise = draw_noise(card.noise, (len(rgb), card.target_channels, *photo.shape[2:]), seed=0)
    tokens = checkpoint.tokens[card.prompts[0]].expand(len(rgb), -1, -1)
    network = network_of(checkpoint.unet, card, Condition(photo, tokens))
    clean = denoise(network, schedule, noise, steps=1)
    pictures = clean.unflatten(1, (len(card.pictures), card.latent_channels)).flatten(0, 1)
    decoded = decode(checkpoint.autoencoder, pictures, card.latent_scale, memory).float()
    decoded = decoded.unflatten(0, (len(rgb), len(card.pictures)))
    return {c.map: raw_map(decoded[:, i], c) for i, picture in enumerate(card.pictures) for c in picture.maps}


def task_losses(predicted: dict[str, Tensor], batch: Batch, card: ModelCard, recipe: E2ERecipe) -> dict[str, Tensor]:
    """The weighted loss of each map: angle for normals, affine-invariant L1 for depth, squared error for the rest."""
    surface = (batch.maps["mask"] > VALID_COVERAGE).float()
    losses = {}
    for codec in (codec for picture in card.pictures for codec in picture.maps):
        guess, target = predicted[codec.map], encode_map(batch.maps[codec.map], codec)
        if codec.map == "normal":
            loss = angular_loss(guess, target, surface)
        elif codec.map == "depth":
            plain = masked_mean((guess - target).abs(), surface)
            loss = affine_invariant_l1(guess, target, surface) + recipe.anchor * plain
        else:
            loss = mean_squared(guess, target, torch.ones_like(surface) if codec.map == "mask" else surface)
        losses[codec.map] = recipe.weights[codec.map] * loss
    return losses


def learning_rate(recipe: E2ERecipe, step: int) -> float:
    """Linear warm-up, then exponential decay to `final_rate` of the peak at the last step."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.rate * recipe.final_rate**progress


def stage_at(recipe: E2ERecipe, step: int) -> Stage:
    """The stage that `step` is in."""
    end = 0.0
    for stage in recipe.stages:
        end += stage.share * recipe.steps
        if step < end:
            return stage
    return recipe.stages[-1]


def _train_step(run: _Run, schedule: NoiseSchedule, stills: Stills, recipe: E2ERecipe) -> dict[str, float]:
    stage = stage_at(recipe, run.step)
    batch = draw_batch(stills, stage.side, stage.batch, recipe.seed, run.step)
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(recipe, run.step)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = predict(run.checkpoint, schedule, batch.rgb, recipe.memory)
    losses = task_losses(predicted, batch, run.checkpoint.card, recipe)
    run.optimiser.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    torch.nn.utils.clip_grad_norm_([p for g in run.optimiser.param_groups for p in g["params"]], recipe.clip)
    run.optimiser.step()
    with torch.no_grad():
        # Early on the average follows fast, or it would remember the random start.
        keep = min(recipe.average, (1 + run.step) / (10 + run.step))
        for name, value in _weights(run.checkpoint).items():
            run.averaged[name].lerp_(value, 1 - keep)
    return {name: float(loss.detach()) for name, loss in losses.items()}


def _start(recipe: E2ERecipe) -> _Run:
    checkpoint = (
        load_checkpoint(find(recipe.start, "inverse"), Compute(torch.device("cpu"), torch.float32))
        if recipe.start
        else build_mini(recipe.seed)
    )
    checkpoint.unet.train()
    checkpoint.autoencoder.train().requires_grad_(recipe.train_autoencoder)
    parameters = [p for p in (*checkpoint.unet.parameters(), *checkpoint.autoencoder.parameters()) if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, betas=recipe.betas, weight_decay=recipe.decay)
    return _Run(checkpoint, {name: value.clone() for name, value in _weights(checkpoint).items()}, optimiser)


def _weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    unet = {f"unet.{name}": value.detach() for name, value in checkpoint.unet.state_dict().items()}
    return unet | {f"vae.{name}": value.detach() for name, value in checkpoint.autoencoder.state_dict().items()}


def _load_weights(checkpoint: Checkpoint, weights: dict[str, Tensor]) -> None:
    for prefix, network in (("unet.", checkpoint.unet), ("vae.", checkpoint.autoencoder)):
        network.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})


def _save(run: _Run, out: Path) -> None:
    """The state to go on from."""
    state = {
        "step": run.step,
        "weights": _weights(run.checkpoint),
        "averaged": run.averaged,
        "optimiser": run.optimiser.state_dict(),
    }
    with whole(out / STATE_FILE) as path:
        torch.save(state, path)


def _restore(run: _Run, out: Path) -> bool:
    """Goes back to the last checkpoint in `out`; False where there is none."""
    if not (out / STATE_FILE).is_file():
        return False
    state = torch.load(out / STATE_FILE, weights_only=True)
    _load_weights(run.checkpoint, state["weights"])
    run.averaged.update(state["averaged"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.step = state["step"]
    return True


def _cut_log(out: Path, steps: int) -> None:
    """Takes away what was logged after the checkpoint that a run goes on from."""
    log = out / LOG_FILE
    lines = log.read_text().splitlines() if log.is_file() else []
    with whole(log) as path:
        path.write_text("".join(line + "\n" for line in lines[:steps]))


def _claim(out: Path, recipe: E2ERecipe) -> None:
    text = json.dumps(dataclasses.asdict(recipe), indent=2, sort_keys=True) + "\n"
    path = out / RECIPE_FILE
    if path.is_file() and path.read_text() != text:
        raise UserError(
            f"{out} holds a run of another recipe ({RECIPE_FILE} differs); give another folder or that recipe"
        )
    out.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary:
        temporary.write_text(text)


def _append_log(out: Path, step: int, losses: dict[str, float], seconds: float) -> None:
    line = {"step": step, "loss": sum(losses.values()), **losses, "seconds": round(seconds, 3)}
    with (out / LOG_FILE).open("a") as file:
        file.write(json.dumps(line) + "\n")
