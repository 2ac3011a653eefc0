"""Metrics, one picture at a time: (C, H, W) against (C, H, W) where a boolean (1, H, W) mask is true. All give floats;
NaN where the mask is empty."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def psnr(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of values whose peak is 1."""
    error = mean_squared_error(predicted, target, mask)
    return math.inf if error == 0 else -10 * math.log10(error)


def rmse(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Root of the mean squared error over the mask and all channels."""
    return math.sqrt(mean_squared_error(predicted, target, mask))


def mean_squared_error(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Mean squared error over the mask and all channels."""
    return float((_inside(predicted, mask) - _inside(target, mask)).square().mean())


def angular_errors(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Angles in degrees between two fields of vectors of any length, (N,) for the N pixels of the mask. A vector of
    length zero counts as 90 degrees off."""
    a = torch.nn.functional.normalize(_inside(predicted, mask).double(), dim=0)
    b = torch.nn.functional.normalize(_inside(target, mask).double(), dim=0)
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b, dim=0).norm(dim=0), (a * b).sum(0))).where(
        a.norm(dim=0) > 0, torch.tensor(90.0, dtype=torch.float64)
    )


def align_depth(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`predicted` (1, H, W) after the least-squares scale and shift to `target` over the mask (Ranftl et al. 2022),
    kept at or above 1e-3 of the target's median, since depth is positive."""
    p, t = _inside(predicted, mask).double().flatten(), _inside(target, mask).double().flatten()
    design = torch.stack((p, torch.ones_like(p)), dim=1)
    # gelsd copes with a flat prediction, whose scale no least squares can tell.
    scale, shift = torch.linalg.lstsq(design, t[:, None], driver="gelsd").solution[:, 0]
    return (scale * predicted + shift).clamp(min=float(t.median()) * 1e-3).to(predicted)


def absrel(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Mean of |predicted - target| / target, of depths (1, H, W)."""
    p, t = _inside(predicted, mask), _inside(target, mask)
    return float(((p - t).abs() / t).mean())


def delta1(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Share of pixels whose depth is within a factor of 1.25."""
    p, t = _inside(predicted, mask), _inside(target, mask)
    return float((torch.maximum(p / t, t / p) < 1.25).double().mean())


def _inside(values: Tensor, mask: Tensor) -> Tensor:
    """(C, N) of the N pixels of the mask."""
    return values[:, mask[0]]
