"""Task losses of end-to-end fine-tuning. All are means over the valid pixels of a batch, in the network's [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-6


def angular_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean angle between normals in radians (E2E-FT, eq. 5).

    Written as atan2(|a x b|, a . b), whose gradient is finite at 0 and at pi, where that of arccos is not.

    Args:
        predicted: (B, 3, H, W), any length.
        target: (B, 3, H, W), unit.
        valid: (B, 1, H, W), 1 where there is a normal.
    """
    direction = predicted / (predicted.square().sum(1, keepdim=True) + _TINY).sqrt()
    sine = (torch.linalg.cross(direction, target, dim=1).square().sum(1, keepdim=True) + _TINY).sqrt()
    cosine = (direction * target).sum(1, keepdim=True)
    return masked_mean(torch.atan2(sine, cosine), valid)


def affine_invariant_l1(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """L1 between depth and the prediction after the best scale and shift of each picture (E2E-FT, eq. 3; Ranftl et al.
    2022). `target` should be normalised to about [-1, 1], so that pictures weigh the same. All (B, 1, H, W)."""
    scale, shift = align(predicted, target, valid)
    return masked_mean((scale * predicted + shift - target).abs(), valid)


def affine_invariant_squared(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Squared error of irradiance after the best scale and shift of each channel of each picture (Ouroboros, section
    3.2); (B, C, H, W) twice and (B, 1, H, W)."""
    apart = [values.flatten(0, 1)[:, None] for values in (predicted, target, valid.expand_as(predicted))]
    scale, shift = align(*apart)
    return masked_mean((scale * apart[0] + shift - apart[1]).square(), apart[2])


def align(predicted: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares scale and shift, (B, 1, 1, 1) each, of `predicted` to `target` where valid; all
    (B, 1, H, W). Where the prediction is flat the scale is 0."""
    dims = (1, 2, 3)
    count = valid.sum(dims, keepdim=True).clamp(min=1)
    mean_p = (predicted * valid).sum(dims, keepdim=True) / count
    mean_t = (target * valid).sum(dims, keepdim=True) / count
    centred = (predicted - mean_p) * valid
    variance = centred.square().sum(dims, keepdim=True) / count
    scale = (centred * (target - mean_t)).sum(dims, keepdim=True) / count / (variance + _TINY)
    return scale, mean_t - scale * mean_p


def mean_squared(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error where valid; (B, C, H, W) twice and (B, 1, H, W)."""
    return masked_mean((predicted - target).square().mean(1, keepdim=True), valid)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (B, 1, H, W) values where valid; 0 where nothing is."""
    return (values * valid).sum() / valid.sum().clamp(min=1)
