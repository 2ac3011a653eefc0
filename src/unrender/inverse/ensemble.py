"""Several answers of one model, from different noise, brought together (Marigold: Ke et al. 2024, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.alignment import fit_scale_shift
from unrender.scene.gbuffer import GBuffer

ROUNDS = 3
"""Depths are fitted to their median, whose own errors each round makes smaller."""

AFFINE = ("depth", "disparity")


def ensemble(members: Sequence[GBuffer]) -> GBuffer:
    """One G-buffer of several that say the same maps of one picture, pixel by pixel: of normals the one closest to the
    mean direction, which is never a blur of two surfaces; of relative depth and disparity the median, after each was
    fitted to it in scale and shift; of everything else the median."""
    first = members[0]
    stacked = {name: torch.stack([member.maps[name] for member in members]) for name in first.maps}
    return first.with_maps(**{name: _together(name, values, first) for name, values in stacked.items()})


def _together(name: str, values: Tensor, first: GBuffer) -> Tensor:
    """(N, T, C, H, W) to (T, C, H, W)."""
    if name == "normal":
        return closest_to_mean(values)
    if name in AFFINE and (name == "disparity" or first.depth_kind == "relative"):
        return aligned_median(values)
    return values.median(dim=0).values


def closest_to_mean(normals: Tensor) -> Tensor:
    """Unit normals (N, T, 3, H, W): at every pixel the one with the smallest angle to their mean, (T, 3, H, W)."""
    mean = functional.normalize(normals.mean(0), dim=1)
    best = (normals * mean).sum(2, keepdim=True).argmax(0, keepdim=True)
    return torch.gather(normals, 0, best.expand(-1, -1, 3, -1, -1))[0]


def aligned_median(values: Tensor) -> Tensor:
    """Values known up to scale and shift, (N, T, 1, H, W), +inf where there are none: their median (T, 1, H, W) on the
    scale of the plain one, after least-squares fits of each to it, frame by frame."""
    median = values.median(dim=0).values
    for _ in range(ROUNDS):
        median = torch.stack([_fitted(member, median) for member in values]).median(dim=0).values
    return median


def _fitted(values: Tensor, target: Tensor) -> Tensor:
    """s x + t, (T, 1, H, W), with the s and t of each frame that bring it closest to `target` where both are finite."""
    both = (values.isfinite() & target.isfinite()).to(values)
    scale, shift = fit_scale_shift(values.nan_to_num(posinf=0.0), target.nan_to_num(posinf=0.0), both)
    return scale * values + shift
