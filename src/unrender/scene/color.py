"""Colour: transfer curves and luminance. Linear is scene-linear Rec.709."""

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


def luminance(rgb: Tensor, dim: int = 1) -> Tensor:
    """Rec.709 luminance of linear rgb along `dim`, which is kept with size 1."""
    shape = [1] * rgb.ndim
    shape[dim] = 3
    return (rgb * rgb.new_tensor(REC709_LUMINANCE).reshape(shape)).sum(dim, keepdim=True)
