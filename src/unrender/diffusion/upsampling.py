"""Small maps to large pictures, with the picture's own edges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.color import linear_to_srgb, luminance, srgb_to_linear
from unrender.scene.gbuffer import CHANNELS, GBuffer
from unrender.scene.resize import resize_gbuffer, resize_picture
from unrender.scene.strips import in_strips

RADIUS = 2
"""Pixels of the small picture around each one that its linear model is fitted to."""

EPSILON = 1e-3
"""Variance of the guide, squared encoded values, below which the map is taken to be flat."""


def upsample(gbuffer: GBuffer, size: tuple[int, int], rgb: Tensor | None, guided: Sequence[str]) -> GBuffer:
    """Brings a G-buffer to (height, width) `size`, larger or smaller.

    Args:
        gbuffer: the maps, of any size.
        rgb: (T, 3, *size) the picture, linear, for display; None where no map is guided.
        guided: maps, in [0, 1], that follow the picture's edges where they are upsampled.
    """
    if rgb is None or gbuffer.size[0] >= size[0]:
        return resize_gbuffer(gbuffer, size)
    followed = {name: _follow(gbuffer.maps[name], rgb, name) for name in guided if name in gbuffer.maps}
    others = dict.fromkeys(followed) if len(followed) < len(gbuffer.maps) else {}
    return resize_gbuffer(gbuffer.with_maps(**others), size).with_maps(**followed)


def _follow(values: Tensor, rgb: Tensor, name: str) -> Tensor:
    """One guided map: colours channel by channel on the display curve, single values along the picture's luminance."""
    if CHANNELS[name] == 1:
        guide = in_strips(lambda part: linear_to_srgb(luminance(part.clamp(0, 1))), rgb)
        return guided_upsample(values, guide).clamp_(0, 1)
    small, followed = linear_to_srgb(values), torch.empty_like(rgb)
    for index in range(rgb.shape[1]):
        one = slice(index, index + 1)
        guide = in_strips(lambda part: linear_to_srgb(part.clamp(0, 1)), rgb[:, one])
        coded = guided_upsample(small[:, one], guide)
        followed[:, one] = in_strips(lambda part: srgb_to_linear(part.clamp(0, 1)), coded)
    return followed


def guided_upsample(small: Tensor, guide: Tensor) -> Tensor:
    """Brings a map to the size of its picture, with the detail of the picture that a small one cannot hold.

    Around each pixel the small map is fitted as a linear function a g + b of the small picture, as the guided filter
    does (He et al. 2013, eq. 5); the detail that the picture loses when it is made small then comes back to the map,
    times a. What the small map says itself is kept, so nothing is blurred.

    Args:
        small: (B, C, h, w), any values.
        guide: (B, C, H, W) or (B, 1, H, W) the picture on a display curve, so that dark and bright edges count alike.

    Returns:
        (B, C, H, W).
    """
    size = (guide.shape[2], guide.shape[3])
    small_guide = resize_picture(guide, (small.shape[2], small.shape[3]))
    mean_guide, mean_map = _blur(small_guide), _blur(small)
    covariance = _blur(small_guide * small) - mean_guide * mean_map
    variance = _blur(small_guide * small_guide) - mean_guide * mean_guide
    slope = covariance / (variance + EPSILON)
    detail = guide - resize_picture(small_guide, size)
    detail *= resize_picture(slope, size)
    detail += resize_picture(small, size)
    return detail


def _blur(values: Tensor) -> Tensor:
    """Mean over the window around each pixel; at the border over the part of it that is inside."""
    side = 2 * RADIUS + 1
    return functional.avg_pool2d(values, side, stride=1, padding=RADIUS, count_include_pad=False)
