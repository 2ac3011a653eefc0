"""Colour: transfer curves and luminance. Linear is scene-linear Rec.709; every curve is differentiable."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unrender.conventions import REC709_LUMINANCE


def srgb_to_linear(srgb: Tensor) -> Tensor:
    """sRGB-encoded values, any shape, to linear (IEC 61966-2-1); values above 1 follow the curve."""
    low = srgb / 12.92
    high = ((srgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb <= 0.04045, low, high)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Linear values >= 0, any shape, to sRGB-encoded (IEC 61966-2-1); values above 1 follow the curve."""
    low = linear * 12.92
    high = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, low, high)


def power_to_linear(encoded: Tensor, gamma: float = 2.2) -> Tensor:
    """Values >= 0 under a pure power curve, any shape, to linear: encoded ** gamma."""
    return encoded.clamp(min=0) ** gamma


def linear_to_power(linear: Tensor, gamma: float = 2.2) -> Tensor:
    """Linear values >= 0, any shape, under a pure power curve: linear ** (1 / gamma).

    The slope at 0 is infinite; below 1e-8 the gradient is 0 instead.
    """
    return torch.where(linear > 1e-8, linear.clamp(min=1e-8) ** (1 / gamma), torch.zeros_like(linear))


def log_to_linear(encoded: Tensor, peak: float) -> Tensor:
    """Values in [0, 1] under the logarithmic curve of `linear_to_log`, any shape, to linear."""
    return torch.expm1(encoded * math.log1p(peak))


def linear_to_log(linear: Tensor, peak: float) -> Tensor:
    """Linear values >= 0, any shape, to log(1 + x) / log(1 + peak): 0 at 0 and 1 at `peak`."""
    return torch.log1p(linear) / math.log1p(peak)


def reinhard(linear: Tensor, white: float) -> Tensor:
    """Linear values >= 0, any shape, to [0, 1] by x (1 + x / white^2) / (1 + x), which reaches 1 at `white`.

    Extended Reinhard for each value alone (Reinhard et al. 2002, eq. 4); clipped above `white`.
    """
    return (linear * (1 + linear / white**2) / (1 + linear)).clamp(max=1)


def luminance(rgb: Tensor, dim: int = 1, weights: Sequence[float] = REC709_LUMINANCE) -> Tensor:
    """Luminance of linear rgb along `dim`, which is kept with size 1; Rec.709's but for other `weights`."""
    shape = [1] * rgb.ndim
    shape[dim] = 3
    return (rgb * rgb.new_tensor(weights).reshape(shape)).sum(dim, keepdim=True)
