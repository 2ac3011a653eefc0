"""Filling what a cut-out leaves open, so that a network sees nothing there that is not around it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.frames import Frames

_LEAST = 1e-3


def with_filled_holes(frames: Frames) -> Frames:
    """The frames with colour from around where their alpha is below 1, by so much as it is; themselves where it is
    nowhere. Colour under an alpha of 0 has no influence at all."""
    if frames.mask is None or bool((frames.mask >= 1).all()):
        return frames
    return replace(frames, rgb=fill_holes(frames.rgb, frames.mask))


def fill_holes(colour: Tensor, weight: Tensor) -> Tensor:
    """Smooth colour into holes: ever coarser averages, weighted, from which what is missing is taken (push and pull,
    Gortler et al. 1996, "The Lumigraph", section 3.4).

    Args:
        colour: (T, C, H, W).
        weight: (T, 1, H, W) in [0, 1]; 0 in a hole.

    Returns:
        (T, C, H, W): `colour` where the weight is 1; black where it is 0 everywhere.
    """
    weighted = torch.where(weight > 0, colour, torch.zeros_like(colour)) * weight
    return _pull(weighted, weight)


def _pull(weighted: Tensor, weight: Tensor) -> Tensor:
    height, width = weight.shape[2:]
    if max(height, width) == 1:
        return weighted / weight.clamp(min=_LEAST)
    # A row or column of nothing makes odd sizes even.
    even = (0, width % 2, 0, height % 2)
    smaller, small_weight = (4 * functional.avg_pool2d(functional.pad(x, even), 2) for x in (weighted, weight))
    scale = small_weight.clamp(min=1)
    coarse = _pull(smaller / scale, small_weight / scale)
    size = (height + height % 2, width + width % 2)
    coarse = functional.interpolate(coarse, size, mode="bilinear", align_corners=False)[..., :height, :width]
    return weighted + (1 - weight) * coarse
