"""Detail kept by ratio transfer: out = relit * (photo / re-rendered) ** `STRENGTH`, of its colour less."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.color import luminance
from unrender.scene.resize import resize_picture
from unrender.scene.strips import in_strips

DARK = 0.02
"""Linear luminance under which a re-rendering says too little to be divided by; an 8-bit picture holds 39/255 there."""

SMALLEST_RATIO, LARGEST_RATIO = 1 / 16, 4.0
"""Beyond these a ratio is a fault of the re-rendering, not detail of the photo."""

STRENGTH = 0.8
"""Exponent of the ratio. The whole ratio (1) also brings the old shadows and every fault of the estimated light; none
(0) loses texture. Chosen by measurement under a second light: docs/relight.md."""

COLOUR_STRENGTH = 0.6
"""The same of what sets the channels of the ratio apart: the estimated light is wrong in colour more than in strength,
and paints casts."""

LARGEST_GAIN = LARGEST_RATIO**STRENGTH
"""3.03, or 1.6 stops: no detail makes a rendering brighter than this."""

NEIGHBOURHOOD = 24
"""Of a soft edge: the longer side of the picture divided by this."""


def detail_gain(photo: Tensor, rerendered: Tensor, trust: Tensor | None = None) -> Tensor:
    """What the photo has and its re-rendering under its own light has not, as a factor for what is relit.

    The quotient of both, within `SMALLEST_RATIO` and `LARGEST_RATIO`, to the power of `STRENGTH` (its channels' mean of
    logarithms, weighted as luminance; what sets them apart, to `COLOUR_STRENGTH`): what the G-buffer
    missed (texture finer than the network sees, soft errors of base colour) comes back, most of it, and what is left of
    the old light comes along less. Where the luminance of `rerendered` falls under `DARK` the quotient would be noise,
    so the gain fades to 1: the relit rendering as it is. At a soft edge of the surface, where a pixel is in part of
    something else, the gain fades to that of the surface around it: no more than the neighbourhood supports.

    Args:
        photo: (T, 3, H, W) scene-linear.
        rerendered: (T, 3, H, W) scene-linear, the photo's G-buffer under the photo's own light.
        trust: (T, 1, H, W) in [0, 1], how much of each pixel is surface; None for all of it.

    Returns:
        (T, 3, H, W) in [`SMALLEST_RATIO` ** `STRENGTH`, `LARGEST_GAIN`].

    Source: the quotient image (Riklin-Raviv and Shashua, PAMI 2001, eq. 3) between two renderings of one G-buffer.
    """
    gain = in_strips(_gain, photo, rerendered)
    if trust is None or not bool(((trust > 0) & (trust < 1)).any()):
        return gain
    around = _around(gain, trust)
    size = (gain.shape[2], gain.shape[3])
    for index in range(gain.shape[1]):  # one channel at a time: of a large picture all at once would be another copy
        wide = resize_picture(around[:, index : index + 1], size)
        gain[:, index : index + 1] = torch.lerp(wide, gain[:, index : index + 1], trust.to(gain))
    return gain


def _gain(photo: Tensor, rerendered: Tensor) -> Tensor:
    ratio = (photo / rerendered.clamp(min=DARK / 10)).clamp(SMALLEST_RATIO, LARGEST_RATIO).log()
    grey = luminance(ratio)
    # One trust for all three channels: a shadow that kept its red but not its faint blue would turn blue.
    trust = (luminance(rerendered) / DARK).clamp(0, 1)
    return (trust * (COLOUR_STRENGTH * ratio + (STRENGTH - COLOUR_STRENGTH) * grey)).exp()


def _around(gain: Tensor, trust: Tensor) -> Tensor:
    """The mean gain of the surface around each pixel, (T, 3, h, w) of a small size: weighted by trust, 1 where there is
    none at all."""
    height, width = gain.shape[2:]
    side = max(1, max(height, width) // NEIGHBOURHOOD)
    small = (max(1, height // side), max(1, width // side))
    weight = functional.adaptive_avg_pool2d(trust, small)
    channels = [functional.adaptive_avg_pool2d(part * trust, small) for part in gain.split(1, dim=1)]
    sums = functional.avg_pool2d(torch.cat([*channels, weight], dim=1), 3, stride=1, padding=1, count_include_pad=False)
    return (sums[:, :3] + 1e-3) / (sums[:, 3:] + 1e-3)
