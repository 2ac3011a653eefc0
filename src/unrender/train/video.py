"""DiffusionRenderer's two trainings (Liang et al. 2025, section 4): a clip to its buffers, one a pass; and buffers and
a light to a clip, of synthetic clips on the weights, and of labelled footage on the weights and an adapter."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from unrender.diffusion.card import Adapter
from unrender.diffusion.checkpoints.adapter import ADAPTER_FILE
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.lora import Lora, adapt
from unrender.errors import UserError
from unrender.train.denoising import DEVIATION, MEAN
from unrender.train.kept_latents import KeptLatents
from unrender.train.loop import BatchSpec, Report, run
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.video_data import VideoClip, sample_windows
from unrender.train.video_start import VideoStart, adapter_state, starting_video
from unrender.train.video_task import VideoLearner, VideoTask, known_target

INFERENCE_SHARE = 0.25
"""How much of an adapter is added at inference where nobody says; as published."""

HELD_OUT = 2


@dataclass(frozen=True)
class VideoRecipe:
    """Attributes:
    config: how long and how fast; the pictures of a batch are windows.
    start: what to start from.
    frames: of a window.
    stills: where there are single frames and clips, how often a batch is of single frames.
    dropout: of forward models, how often a window is shown neither maps nor light: what guidance guides away from.
    real: where there is labelled footage, how often a batch is of it, with the adapter on.
    lora: the adapter of labelled footage.
    adapted: whether footage is learnt with it; else by the weights that learn synthetic clips (an ablation).
    recompute: activations are computed again in the backward pass rather than kept.
    whole: pictures are not cut at random, so that each is encoded once.
    levels: mean and deviation of ln sigma, the noise that truth is hidden in.
    """

    config: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=20000, stages=(Stage(1.0, 512, 1),), lr=2e-5, accumulate=8)
    )
    start: VideoStart = field(default_factory=VideoStart)
    frames: int = 24
    stills: float = 0.3
    dropout: float = 0.05
    real: float = 0.5
    lora: Lora = field(default_factory=lambda: Lora(64, 64))
    recompute: bool = True
    adapted: bool = True
    whole: bool = False
    levels: tuple[float, float] = (MEAN, DEVIATION)


SMALL = VideoRecipe(
    TrainConfig(
        steps=3000, stages=(Stage(1.0, 64, 4),), lr=1.5e-3, warmup=50, final_lr=0.15, ema_decay=0.99, precision="no"
    ),
    frames=8,
    recompute=False,
    whole=True,
    levels=(4.0, 1.5),  # a short training learns the answer from what is given, not to denoise
)
SMOKE = VideoRecipe(
    TrainConfig(steps=4, stages=(Stage(1.0, 64, 1),), warmup=1, ema_decay=0.5, save_every=2, validate_every=0),
    frames=3,
    lora=Lora(2, 2),
    recompute=False,
)
RECIPES = {"paper": VideoRecipe(), "small": SMALL, "smoke": SMOKE}
"""None is measured. The paper says neither learning rate nor batch nor steps; `paper` takes 24 frames of 512 x 512 as
it does, and the learning rate of UniRelight, its nearest relative with a published one."""


def train_video_inverse(
    recipe: VideoRecipe,
    clips: Sequence[VideoClip],
    out: Path,
    report: Report | None = None,
    *,
    cache: Path | None = None,
) -> Path:
    """Trains an inverse video model; see `loop.run`.

    Args:
        clips: rendered ones, and single frames (`video_data.clips_of_stills`).
        cache: a folder for the latents of pictures that are not cut at random; None for none.

    Raises:
        UserError: `out` holds a run of another recipe, or there is nothing to start from, or to learn from.
    """
    checkpoint = _begun(recipe, "inverse")
    known_target(checkpoint.card.maps.targets, sample_windows(clips, 1, BatchSpec(16, len(clips), 0)), 0)
    folder = RunFolder(out)
    folder.claim(recipe)
    held_out, rest = _hold_out(clips)
    kept = KeptLatents.of(cache, checkpoint.autoencoder)
    task = VideoTask(checkpoint, held_out, partial(inverse_loss, clips=rest, recipe=recipe), recipe.frames, kept=kept)
    model = run(task, recipe.config, folder, report)
    kept.write()
    return model


def inverse_loss(
    learner: VideoLearner, spec: BatchSpec, *, clips: Sequence[VideoClip], recipe: VideoRecipe
) -> dict[str, Tensor]:
    """The error of one buffer, asked for by its row of the table."""
    device = learner.engine.compute.device
    batch = sample_windows(clips, recipe.frames, spec, recipe.stills, whole=recipe.whole).to(device)
    target = known_target(learner.checkpoint.card.maps.targets, batch, spec.seed)
    conditioning = learner.condition(batch, target)
    return {target.name: learner.error(batch, target, conditioning, spec, recipe.levels)}


def train_video_forward(
    recipe: VideoRecipe,
    clips: Sequence[VideoClip],
    out: Path,
    report: Report | None = None,
    *,
    real: Sequence[VideoClip] = (),
    cache: Path | None = None,
) -> Path:
    """Trains a forward video model; see `loop.run`.

    Args:
        clips: rendered ones, with lights.
        real: footage with labelled buffers and lights; it is learnt by the weights and an adapter together, so that
            what is not of the world in its labels is the adapter's.
        cache: as in `train_video_inverse`.

    Raises:
        UserError: as `train_video_inverse`; or a clip has no light.
    """
    if any(clip.light is None for clip in (*clips, *real)):
        raise UserError("a forward model learns from clips with lights; expected folders of `unrender synth`")
    if not recipe.adapted and not real:
        raise UserError("without an adapter, and without footage that would be learnt with it; expected --real DIR")
    checkpoint = _begun(recipe, "forward")
    folder = RunFolder(out)
    folder.claim(recipe)
    adapted = bool(real) and recipe.adapted
    if adapted:
        torch.manual_seed(recipe.config.seed)
        adapt(checkpoint.unet, recipe.lora)
        checkpoint.unet.requires_grad_(True)
    held_out, rest = _hold_out(clips)
    loss = partial(forward_loss, clips=rest, recipe=recipe, real=real)
    finish = _with_adapter if adapted else _as_it_is
    kept = KeptLatents.of(cache, checkpoint.autoencoder)
    model = run(VideoTask(checkpoint, held_out, loss, recipe.frames, finish, kept), recipe.config, folder, report)
    kept.write()
    return model


def forward_loss(
    learner: VideoLearner,
    spec: BatchSpec,
    *,
    clips: Sequence[VideoClip],
    recipe: VideoRecipe,
    real: Sequence[VideoClip] = (),
) -> dict[str, Tensor]:
    """The error of the picture: f of synthetic clips, or f + its adapter of labelled footage.

    A batch is one or the other, so that the adapter is on or off for the backward pass too.
    """
    generator = spec.generator(5)
    labelled = bool(real) and float(torch.rand((), generator=generator)) < recipe.real
    unet, adapted = learner.checkpoint.unet, bool(real) and recipe.adapted
    if adapted:
        unet.enable_adapters() if labelled else unet.disable_adapters()
        unet.requires_grad_(True)  # which peft takes away from an adapter that is off
    device = learner.engine.compute.device
    chosen = real if labelled else clips
    batch = sample_windows(chosen, recipe.frames, spec, recipe.stills, whole=recipe.whole).to(device)
    (target,) = learner.checkpoint.card.maps.targets
    conditioning = learner.condition(batch, target)
    windows = len(batch) // batch.frames
    shown = (torch.rand(windows, generator=generator) >= recipe.dropout).repeat_interleave(batch.frames).to(device)
    assert conditioning.latents is not None
    conditioning = replace(
        conditioning,
        latents=conditioning.latents * shown[:, None, None, None],
        tokens=tuple(level * shown[:, None, None] for level in conditioning.tokens),
    )
    losses = {"real" if labelled else "synthetic": learner.error(batch, target, conditioning, spec, recipe.levels)}
    if adapted:  # parameters of an adapter that is off have a gradient too, of nothing: several processes wait for it
        idle = sum(value.sum() for name, value in unet.named_parameters() if "lora_" in name)
        losses["idle"] = 0.0 * torch.as_tensor(idle)
    return losses


def _begun(recipe: VideoRecipe, task: str) -> Checkpoint:
    checkpoint = starting_video(recipe.start, recipe.config.seed)
    if checkpoint.card.task != task:
        raise UserError(f"{checkpoint.card.id} is no {task} renderer; expected one to start from")
    if recipe.recompute:
        checkpoint.unet.enable_gradient_checkpointing()
    return checkpoint


def _hold_out(clips: Sequence[VideoClip]) -> tuple[Sequence[VideoClip], Sequence[VideoClip]]:
    """The last few clips of more than a frame for validation, and all others; of only a handful, all for both."""
    long = [clip for clip in clips if len(clip) > 1] or list(clips)
    held_out = long[-HELD_OUT:]
    if len(long) <= 2 * HELD_OUT:
        return held_out, clips
    kept = {id(clip) for clip in held_out}
    return held_out, [clip for clip in clips if id(clip) not in kept]


def _as_it_is(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    return checkpoint


def _with_adapter(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """The checkpoint without its adapter, which is written beside it."""
    adapter = Adapter(scale=INFERENCE_SHARE)
    (folder / adapter.folder).mkdir(parents=True)
    state = {name: value.half().contiguous() for name, value in adapter_state(checkpoint.unet).items()}
    safetensors.torch.save_file(state, folder / adapter.folder / ADAPTER_FILE)
    plain = copy.deepcopy(checkpoint.unet)
    plain.unload_lora()
    return replace(checkpoint, unet=plain, card=replace(checkpoint.card, adapter=adapter))
