"""Normals and depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.evaluate.metrics.errors import inside
from unrender.scene.alignment import fit_scale_shift


@dataclass(frozen=True)
class Angles:
    """A field of angular errors in a few numbers, NaN where there are none.

    Attributes:
        mean, median: degrees; the median of an even number is between the middle two.
        within_11, within_22, within_30: shares in [0, 1] below 11.25, 22.5 and 30 degrees (Fouhey et al. 2013).
    """

    mean: float
    median: float
    within_11: float
    within_22: float
    within_30: float


def angles(predicted: Tensor, target: Tensor, mask: Tensor) -> Angles:
    """The angular errors of (3, H, W) vectors in short; see `angular_errors`."""
    errors = angular_errors(predicted, target, mask)
    if not len(errors):
        return Angles(*[math.nan] * 5)
    ordered, count = errors.sort().values, len(errors)
    median = float(ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    shares = (float((errors < limit).double().mean()) for limit in (11.25, 22.5, 30))
    return Angles(float(errors.mean()), median, *shares)


def angular_errors(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Angles in degrees between two fields of vectors of any length, (N,) for the N pixels of the mask. A vector of
    length zero counts as 90 degrees off."""
    a = torch.nn.functional.normalize(inside(predicted, mask).double(), dim=0)
    b = torch.nn.functional.normalize(inside(target, mask).double(), dim=0)
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b, dim=0).norm(dim=0), (a * b).sum(0))).where(
        a.norm(dim=0) > 0, torch.tensor(90.0, dtype=torch.float64)
    )


def align_depth(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`predicted` (1, H, W) after the least-squares scale and shift to `target` over the mask (Ranftl et al. 2022),
    kept at or above 1e-3 of the target's median, since depth is positive. As it is where the mask is empty."""
    p, t = inside(predicted, mask).double().flatten(), inside(target, mask).double().flatten()
    if not len(p):
        return predicted
    scale, shift = fit_scale_shift(p, t, torch.ones_like(p), dims=(0,))
    return (scale * predicted + shift).clamp(min=float(t.median()) * 1e-3).to(predicted)


def absrel(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Mean of |predicted - target| / target, of depths (1, H, W)."""
    p, t = inside(predicted, mask), inside(target, mask)
    return float(((p - t).abs() / t).mean())


def delta1(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Share of pixels whose depth is within a factor of 1.25."""
    p, t = inside(predicted, mask), inside(target, mask)
    return float((torch.maximum(p / t, t / p) < 1.25).double().mean())
