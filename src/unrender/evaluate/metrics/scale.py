"""Errors after the best scale: albedo and shading are known only up to one."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.evaluate.metrics.errors import inside, mean_squared_error, psnr, rmse
from unrender.scene.alignment import fit_scale


def align_scale(predicted: Tensor, target: Tensor, mask: Tensor, per_channel: bool = False) -> Tensor:
    """`predicted` (C, H, W) times the least-squares scale to `target` over the mask, sum(p t) / sum(p p): one for all
    channels, or one for each, which forgives a wrong white balance too. Linear values; nothing is clipped."""
    p, t = inside(predicted, mask).double(), inside(target, mask).double()
    dims = (1,) if per_channel else (0, 1)
    return predicted * fit_scale(p, t, dims=dims)[..., None].to(predicted)


def si_mse(predicted: Tensor, target: Tensor, mask: Tensor, per_channel: bool = False) -> float:
    """`mean_squared_error` after `align_scale`."""
    return mean_squared_error(align_scale(predicted, target, mask, per_channel), target, mask)


def si_rmse(predicted: Tensor, target: Tensor, mask: Tensor, per_channel: bool = False) -> float:
    """`rmse` after `align_scale`."""
    return rmse(align_scale(predicted, target, mask, per_channel), target, mask)


def si_psnr(predicted: Tensor, target: Tensor, mask: Tensor, per_channel: bool = False) -> float:
    """`psnr` after `align_scale`; the peak is 1 in the target, and the scaled values are not clipped."""
    return psnr(align_scale(predicted, target, mask, per_channel), target, mask)


def lmse(predicted: Tensor, target: Tensor, mask: Tensor, window: int = 20) -> float:
    """Local mean squared error (Grosse et al. 2009, section 4): squared errors after the best scale of each window,
    summed, over the summed squares of the target; 0 for the truth, 1 for black. Linear (C, H, W).

    Windows are `window` pixels square, half of that apart, from the top left, whole ones only; one scale a window
    serves all channels.

    Raises:
        UserError: the picture is smaller than the window.
    """
    if min(mask.shape[1:]) < window:
        raise UserError(f"LMSE of a picture of {tuple(mask.shape[1:])} in windows of {window}; expected smaller ones")
    zero = torch.zeros((), dtype=torch.float64)
    p, t = (
        torch.nn.functional.unfold(values.double().where(mask, zero)[None], window, stride=window // 2)[0]
        for values in (predicted, target)
    )  # (C window^2, windows)
    return float((fit_scale(p, t, dims=(0,)) * p - t).square().sum() / t.square().sum())
