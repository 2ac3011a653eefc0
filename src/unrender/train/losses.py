"""Task losses of end-to-end fine-tuning. All are means over the valid pixels of a batch, in the network's [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.scene.alignment import fit_scale_shift

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
    scale, shift = fit_scale_shift(predicted, target, valid, ridge=_TINY)
    return masked_mean((scale * predicted + shift - target).abs(), valid)


def affine_invariant_squared(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Squared error of irradiance after the best scale and shift of each channel of each picture (Ouroboros, section
    3.2); (B, C, H, W) twice and (B, 1, H, W)."""
    apart = [values.flatten(0, 1)[:, None] for values in (predicted, target, valid.expand_as(predicted))]
    scale, shift = fit_scale_shift(*apart, ridge=_TINY)
    return masked_mean((scale * apart[0] + shift - apart[1]).square(), apart[2])


def mean_squared(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error where valid; (B, C, H, W) twice and (B, 1, H, W)."""
    return masked_mean((predicted - target).square().mean(1, keepdim=True), valid)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (B, 1, H, W) values where valid; 0 where nothing is."""
    return (values * valid).sum() / valid.sum().clamp(min=1)
