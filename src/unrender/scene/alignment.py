"""What is known up to a scale, or up to scale and shift, brought to a target by least squares.

Batched, weighted and differentiable in everything: losses, metrics, ensembles and cycles all fit by these two.
"""

from __future__ import annotations

import torch
from torch import Tensor

PICTURE = (1, 2, 3)
"""Dimensions that one fit goes over: each picture of (T, C, H, W) by itself, its channels together."""


def fit_scale(
    values: Tensor, target: Tensor, weight: Tensor | None = None, *, dims: tuple[int, ...] = PICTURE
) -> Tensor:
    """The s that makes sum w (s x - y)^2 least: sum w x y / sum w x^2, `dims` kept with size 1.

    Args:
        values: x, finite.
        target: y, finite; broadcasts with x.
        weight: w >= 0, broadcasts with x; None for 1 everywhere.
        dims: what is summed over.

    Returns:
        s, of any sign; 1 where x is black, for no scale helps it.
    """
    product, energy = values * target, values.square()
    if weight is not None:
        product, energy = product * weight, energy * weight
    energy = energy.sum(dims, keepdim=True)
    black = energy == 0
    # Divided by 1 there: what is discarded below would still make the gradient NaN.
    scale = product.sum(dims, keepdim=True) / torch.where(black, 1.0, energy)
    return torch.where(black, 1.0, scale)


def fit_scale_shift(
    values: Tensor, target: Tensor, weight: Tensor, *, dims: tuple[int, ...] = PICTURE, ridge: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The s and t that make sum w (s x + t - y)^2 least (Ranftl et al. 2022, eq. 5), `dims` kept with size 1.

    Args:
        values: x, finite also where its weight is 0.
        target: y, as x.
        weight: w >= 0, broadcasts with x.
        dims: what is summed over.
        ridge: added to the variance of x, in its units squared. It bounds the gradient of s where x is nearly flat, as
            a network's answer is at first, and pulls s towards 0.

    Returns:
        s and t. Where x is flat (or has no weight) no s is better than another: it is 1, or with a ridge 0.
    """
    total = weight.sum(dims, keepdim=True)
    total = torch.where(total > 0, total, 1.0)
    mean_x = (values * weight).sum(dims, keepdim=True) / total
    mean_y = (target * weight).sum(dims, keepdim=True) / total
    centred = (values - mean_x) * weight
    variance = (centred * (values - mean_x)).sum(dims, keepdim=True) / total
    covariance = (centred * (target - mean_y)).sum(dims, keepdim=True) / total
    if ridge:
        scale = covariance / (variance + ridge)
    else:
        # A constant has a variance of rounding errors.
        flat = variance <= (4 * torch.finfo(variance.dtype).eps * mean_x).square()
        scale = torch.where(flat, 1.0, covariance / torch.where(flat, 1.0, variance))
    return scale, mean_y - scale * mean_x
