"""Errors as they are, without any alignment."""

from __future__ import annotations

import math

from torch import Tensor


def psnr(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of values whose peak is 1; infinite where they are equal."""
    error = mean_squared_error(predicted, target, mask)
    return math.inf if error == 0 else -10 * math.log10(error)


def rmse(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Root of the mean squared error over the mask and all channels."""
    return math.sqrt(mean_squared_error(predicted, target, mask))


def mean_squared_error(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Mean squared error over the mask and all channels."""
    return float((inside(predicted, mask) - inside(target, mask)).square().mean())


def inside(values: Tensor, mask: Tensor) -> Tensor:
    """(C, N) of the N pixels of the mask."""
    return values[:, mask[0]]
