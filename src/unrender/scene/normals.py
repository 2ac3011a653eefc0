"""Normals from data: normalised, flipped to the viewer, or computed from depth."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.camera import Camera, pixel_rays

SHORTEST = 0.1
"""A stored vector shorter than this is no normal (Marigold's rule for InteriorVerse)."""


def unit_normals(vectors: Tensor) -> Tensor:
    """Vectors (T, 3, H, W) of any length to unit normals; what is not finite, or shorter than `SHORTEST`, to zero."""
    length = vectors.norm(dim=1, keepdim=True)
    there = length.isfinite() & (length >= SHORTEST)
    return torch.where(there, vectors / length, torch.zeros_like(vectors))


def facing_viewer(normal: Tensor, camera: Camera) -> Tensor:
    """Camera-space unit normals (T, 3, H, W), those that point away from the viewer by more than 0.001 flipped."""
    along = (normal * functional.normalize(pixel_rays(camera), dim=1)).sum(1, keepdim=True)
    return torch.where(along > 1e-3, -normal, normal)


def normal_from_depth(depth: Tensor, camera: Camera) -> Tensor:
    """Camera-space unit normals (T, 3, H, W) of planar depth (T, 1, H, W); zero where there is
    no depth, or no neighbour with one.

    On a plane 1 / depth is linear in the pixel, so its differences give the normal exactly. Of the differences to both
    neighbours the smaller counts more, by the square of the other, so that an edge of depth does not tilt the surface
    beside it (the aim of D2NT's discontinuity-aware filter, Feng et al. 2023, which works on depth itself).
    """
    there = depth.isfinite() & (depth > 0)
    inverse = torch.where(there, 1 / depth.double(), torch.nan)
    k = camera.intrinsics.to(inverse)
    fx, fy = k[:, 0, 0].reshape(-1, 1, 1, 1), k[:, 1, 1].reshape(-1, 1, 1, 1)
    x, y, _ = pixel_rays(camera).to(inverse).split(1, dim=1)
    right, up = fx * _slope(inverse, 3), -fy * _slope(inverse, 2)
    normal = -torch.cat((right, up, right * x + up * y - inverse), dim=1)
    return functional.normalize(normal, dim=1).nan_to_num(0.0).to(depth.dtype)


def _slope(values: Tensor, dim: int) -> Tensor:
    """The change of `values` from pixel to pixel along `dim`; NaN where neither neighbour is known."""
    edge = torch.full_like(values.narrow(dim, 0, 1), torch.nan)
    steps = values.diff(dim=dim)
    after, before = torch.cat((steps, edge), dim), torch.cat((edge, steps), dim)
    after, before = torch.where(after.isnan(), before, after), torch.where(before.isnan(), after, before)
    weight = after.square() + before.square()
    mixed = (after * before.square() + before * after.square()) / weight
    return torch.where(weight > 0, mixed, after)
