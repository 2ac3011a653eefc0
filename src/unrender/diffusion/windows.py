"""Clips by windows: how networks that see a few frames at a time make a clip of any length, without seams.

Every window begins with the last frames of the one before. There it starts from what that one found, mixed with noise
(Ouroboros, Sun et al. 2025, section 3.4, after Lotus), and the two answers are faded into one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import ModelCard, TargetPicture
from unrender.errors import UserError
from unrender.scene.alignment import fit_scale_shift
from unrender.scene.gbuffer import GBuffer

Temporal = Literal["attention", "none"]

GAMMA = 0.1
"""Share of the latents of the window before in what a window starts from, where both see a frame."""


WINDOW, VIDEO_WINDOW = 8, 24
"""Frames of a window."""


@dataclass(frozen=True)
class ClipOptions:
    """How a clip is cut, and what its frames know of one another.

    Attributes:
        temporal: `attention`: the frames of a window see one another, by the model's own temporal layers, or by
            attention over the patches of all of them (`networks.inflation`); and maps are held steady along the photo's
            motion (`inverse.steady`). `none`: every frame by itself.
        window: frames that are seen together.
        overlap: frames that a window shares with the one before.
        steady: whether maps are held steady.

    Raises:
        UserError: a window without frames, or an overlap that is not in [0, window).
    """

    temporal: Temporal = "attention"
    window: int = WINDOW
    overlap: int = WINDOW // 2
    steady: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.window:
            raise UserError(f"windows of {self.window} frames that overlap by {self.overlap}; expected fewer, or more")

    @classmethod
    def of(
        cls,
        card: ModelCard | None,
        temporal: Temporal = "attention",
        window: int | None = None,
        overlap: int | None = None,
    ) -> ClipOptions:
        """What suits a model, where nobody says otherwise: a network that is made for clips sees as many frames
        as it was trained on (`VIDEO_WINDOW`, as Stable Video Diffusion's kin, where its card does not say), and any
        other `WINDOW`."""
        grouping = card.sampling.grouping if card is not None else None
        trained = (grouping.window or VIDEO_WINDOW) if grouping is not None and grouping.joins_frames else WINDOW
        window = window or trained
        return cls(temporal, window, window // 2 if overlap is None else overlap)

    @property
    def spans(self) -> tuple[int, int]:
        """Window and overlap, of one frame and none where every frame is by itself."""
        return (self.window, self.overlap) if self.temporal == "attention" else (1, 0)

    def parts(self, frames: int) -> list[tuple[int, int]]:
        """The frames that are finished with each window of a clip, as (first, the one after the last)."""
        window, overlap = self.spans
        stride = window - overlap
        starts = [0, *range(stride, max(frames - overlap, 1), stride)] if overlap else range(0, frames, window)
        return [(a, b) for a, b in zip(starts, [*starts[1:], frames], strict=True) if a < b]


def overlap_start(noise: Tensor, previous: Tensor | None, card: ModelCard, targets: Sequence[TargetPicture]) -> Tensor:
    """What the frames of a window start from: of the first ones g z + (1 - g) e, with g = `GAMMA`, the latents z that
    the window before found and the noise e; of the others the noise.

    Args:
        noise: (F, C, h, w) as `Engine.noise_shape` has it: of all targets side by side, or one for all.
        previous: (N, targets x C, h, w), N <= F, of `targets`; None in the first window.
        card: of the model. One that sees no noise, or was only ever given zeros in its place, starts as it always
            does: anything else in that place costs `mini` accuracy.
        targets: that are denoised.

    Returns:
        (F, all targets x C, h, w), or the noise as it is.
    """
    if previous is None or card.sampling.noise in ("none", "zeros"):
        return noise
    channels, count = card.latents.channels, len(card.maps.targets)
    start = noise.repeat(1, count, 1, 1) if noise.shape[1] == channels and count > 1 else noise.clone()
    places = [card.maps.targets.index(target) for target in targets]
    index = torch.cat([torch.arange(place * channels, (place + 1) * channels) for place in places])
    known = previous.to(start)
    start[: len(known), index] = GAMMA * known + (1 - GAMMA) * start[: len(known), index]
    return start


def cross_fade(before: Tensor, after: Tensor) -> Tensor:
    """(N, C, H, W) that go from the end of one window to the beginning of the next: frame i of N has i + 1 parts of
    N + 1 of the next one's."""
    count = len(before)
    share = (torch.arange(count, device=before.device) + 1) / (count + 1)
    return torch.lerp(before, after, share.to(before)[:, None, None, None])


def align_depth(depth: Tensor, known: Tensor) -> Tensor:
    """The depth of a window (T, 1, H, W) on the scale of the window before: by the one scale and shift that bring its
    first frames closest to what that one found for them, `known` (N, 1, H, W). So a clip has one scale and shift.

    Where the two contradict one another, so that the scale would be negative, it is left as it is.
    """
    first = depth[: len(known)]
    there = first.isfinite() & known.isfinite()
    values, target = (torch.where(there, one, 0.0) for one in (first, known))
    scale, shift = fit_scale_shift(values, target, there.to(values), dims=(0, 1, 2, 3))
    return depth if float(scale) <= 0 else scale * depth + shift


def join_windows(before: GBuffer | None, after: GBuffer) -> GBuffer:
    """The maps of a window, whose first frames the window before has already: relative depth on its scale, and what
    both have faded from one to the other."""
    if before is None:
        return after
    count = len(before)
    depth = after.depth
    if depth is not None and before.depth is not None and after.depth_kind == "relative":
        after = after.with_maps(depth=align_depth(depth, before.depth))
    faded = {}
    for name, values in after.maps.items():
        mixed = cross_fade(before.maps[name], values[:count])
        if name == "normal":
            mixed = functional.normalize(mixed, dim=1)
        faded[name] = torch.cat((mixed, values[count:]))
    return after.with_maps(**faded)
