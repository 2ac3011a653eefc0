"""Training clips: ground truth of several frames with their motion, in memory, and random windows of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.diffusion.card import LightTokens
from unrender.diffusion.codec import PERCENTILE, relative_depth
from unrender.errors import UserError
from unrender.evaluate.motion import known_motion
from unrender.files.shards import Clip
from unrender.forward.lighting import LightConditioning, light_conditioning
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.gbuffer import CHANNELS, GBuffer
from unrender.scene.motion import pixel_centres
from unrender.scene.tone import percentile_gain
from unrender.train.data import EXTRAS, TARGETS, Batch, Lit
from unrender.train.loop import BatchSpec

GRAIN = 0.04
"""Largest deviation of the noise that the frames of a window get, on a display's curve."""


@dataclass(frozen=True)
class TrainingClip:
    """A clip of T frames with ground truth, in half precision.

    Attributes:
        maps: by name, (T, 1 or 3, H, W), exposed and scaled alike in all frames: `rgb`, linear, and its known maps.
        flow: (T - 1, 2, H, W), pixels.
        visible: (T - 1, 1, H, W) boolean.
        lit: the light conditioning of its frames, for forward models.
    """

    maps: dict[str, Tensor]
    flow: Tensor
    visible: Tensor
    lit: Lit | None = None

    def __len__(self) -> int:
        return len(self.flow) + 1


@dataclass(frozen=True)
class ClipBatch:
    """One window of a clip: its frames, as a batch that a `Learner` takes, and how they move.

    Attributes:
        frames: F frames.
        flow, visible: of F - 1 pairs, as in `TrainingClip`.
    """

    frames: Batch
    flow: Tensor
    visible: Tensor


def load_training_clips(clips: Iterable[Clip], tokens: LightTokens | None = None) -> list[TrainingClip]:
    """Clips of `unrender synth` with their motion; stills are passed over.

    Args:
        tokens: how a forward model is told the light; None for inverse models.

    Raises:
        UserError: there is no clip of several frames, or one lacks a map.
    """
    loaded = [_training_clip(clip, tokens) for clip in clips if len(clip.gbuffer) > 1]
    if not loaded:
        raise UserError("no clip has several frames to learn motion from; expected data of `unrender synth --frames 8`")
    return loaded


def sample_window(clips: list[TrainingClip], frames: int, spec: BatchSpec) -> ClipBatch:
    """The random window of `spec`: a clip, where it starts, and a square of its pixels; every frame with grain of its
    own, as much in each."""
    generator = spec.generator(0)

    def draw(count: int) -> int:
        return int(torch.randint(count, (), generator=generator))

    clip = clips[draw(len(clips))]
    frames = min(frames, len(clip))
    start = draw(len(clip) - frames + 1)
    height, width = clip.flow.shape[2:]
    side = min(spec.side, height, width)
    top, left = draw(height - side + 1), draw(width - side + 1)

    def view(values: Tensor, count: int = frames) -> Tensor:
        return values[start : start + count, :, top : top + side, left : left + side].float()

    maps = {name: view(values) for name, values in clip.maps.items()}
    flow = view(clip.flow, frames - 1)
    x, y = (pixel_centres(flow) + flow.movedim(1, -1)).movedim(-1, 1).split(1, dim=1)
    inside = (x > 0) & (x < side) & (y > 0) & (y < side)
    coded = linear_to_srgb(maps["rgb"].clamp(0, 1))
    grain = float(torch.rand((), generator=generator)) * GRAIN
    photo = srgb_to_linear((coded + grain * torch.randn(coded.shape, generator=generator)).clamp(0, 1))
    known = {name: torch.full((frames,), name in maps) for name in ("rgb", *TARGETS, *EXTRAS)}
    unknown = {name: torch.zeros(frames, CHANNELS[name], side, side) for name in known if name not in maps}
    maps |= unknown
    lit = clip.lit and clip.lit.part(start, start + frames)
    if lit is not None:
        hint, rgb = (one[..., top : top + side, left : left + side].float() for one in (lit.radiance_hint, lit.rgb))
        lit = replace(lit, radiance_hint=hint, rgb=rgb, picture=lit.picture.float())
    return ClipBatch(Batch(photo, maps, known, lit), flow, view(clip.visible, frames - 1).bool() & inside)


def _training_clip(clip: Clip, tokens: LightTokens | None) -> TrainingClip:
    truth = clip.gbuffer
    truth.require("rgb", *TARGETS, by="training")
    motion = known_motion(truth)
    maps = {name: values for name, values in truth.maps.items() if name in ("rgb", *TARGETS, *EXTRAS)}
    maps["depth"] = _as_one(relative_depth(_as_row(maps["depth"]), _as_row(maps["mask"])), maps["depth"])
    if "irradiance" in maps:
        maps["irradiance"] = maps["irradiance"] * percentile_gain(_as_row(maps["irradiance"]), *PERCENTILE)
    shown = None if tokens is None else _lit(clip, truth, tokens)
    halves = {name: values.clamp(max=65504).half() for name, values in maps.items()}
    return TrainingClip(halves, motion.flow.half(), motion.visible, shown)


def _lit(clip: Clip, truth: GBuffer, tokens: LightTokens) -> Lit:
    shown = [_conditioning(clip, truth, index, tokens) for index in range(len(truth))]
    rgb = [truth.maps["rgb"][i : i + 1] * one.gain * one.covered for i, one in enumerate(shown)]
    hint, picture = (torch.cat([getattr(one, name) for one in shown]) for name in ("radiance_hint", "picture"))
    return Lit(*(values.clamp(max=65504).half() for values in (hint, torch.cat(rgb), picture)), tokens.encoding)


def _conditioning(clip: Clip, truth: GBuffer, index: int, tokens: LightTokens) -> LightConditioning:
    return light_conditioning(truth.frame(index), clip.light_of(index), size=tokens.size, encoding=tokens.encoding)


def _as_row(values: Tensor) -> Tensor:
    """(T, C, H, W) to (1, C, T x H, W): all frames as one picture, so that what is found of it counts for all."""
    return values.transpose(0, 1).flatten(1, 2)[None]


def _as_one(row: Tensor, like: Tensor) -> Tensor:
    """What `_as_row` made a row, as frames again."""
    return row[0].unflatten(1, (len(like), like.shape[2])).transpose(0, 1)
