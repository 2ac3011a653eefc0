"""Task losses of end-to-end fine-tuning. All are means over the valid pixels of a batch, in the network's [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

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


def mean_absolute(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute error where valid; (B, C, H, W) twice and (B, 1, H, W)."""
    return masked_mean((predicted - target).abs().mean(1, keepdim=True), valid)


def gradient_l1(predicted: Tensor, target: Tensor, valid: Tensor, scales: int = 3) -> Tensor:
    """Absolute difference of the gradients of two maps at several scales (MiDaS: Ranftl et al. 2022, equation 11): what
    is blurred, or has the edges of a shadow, costs, whatever its mean is.

    Args:
        predicted, target: (B, C, H, W).
        valid: (B, 1, H, W); a difference counts where both of its pixels are valid.
        scales: each half of the one before.
    """
    error, total = (predicted - target) * valid, predicted.new_zeros(())
    for scale in range(scales):
        if scale:
            error, valid = error[..., ::2, ::2], valid[..., ::2, ::2]
        for axis in (2, 3):
            if error.shape[axis] > 1:
                both = valid.narrow(axis, 1, valid.shape[axis] - 1) * valid.narrow(axis, 0, valid.shape[axis] - 1)
                total = total + masked_mean(error.diff(dim=axis).abs().mean(1, keepdim=True), both)
    return total / (2 * scales)


def structure_loss(predicted: Tensor, target: Tensor, valid: Tensor, scales: int = 3) -> Tensor:
    """1 - SSIM, the mean over several scales (Wang et al. 2003 weigh them otherwise), windows of 7 x 7 pixels.

    Args:
        predicted, target: (B, C, H, W) in about [-1, 1].
        valid: (B, 1, H, W); windows see valid pixels alone.
        scales: each half of the one before, as long as a window fits in.
    """
    total, count = predicted.new_zeros(()), 0
    # In single precision: variances are differences of squares.
    x, y, valid = (predicted.float() + 1) / 2, (target.float() + 1) / 2, valid.float()
    for _ in range(scales):
        if min(x.shape[2:]) < _WINDOW:
            break
        total = total + _dissimilarity(x, y, valid)
        count += 1
        share = avg_pool2d(valid, 2)
        x, y = (avg_pool2d(v * valid, 2) / share.clamp(min=_TINY) for v in (x, y))
        valid = (share > 0.5).float()
    return total / max(count, 1)


_WINDOW = 7


def _dissimilarity(x: Tensor, y: Tensor, valid: Tensor) -> Tensor:
    def window(values: Tensor) -> Tensor:
        return avg_pool2d(values, _WINDOW, stride=1)

    share = window(valid)
    mean_x, mean_y, xx, yy, xy = (window(v * valid) / share.clamp(min=_TINY) for v in (x, y, x * x, y * y, x * y))
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * (xy - mean_x * mean_y) + 0.03**2) / (
        (xx - mean_x**2).clamp(min=0) + (yy - mean_y**2).clamp(min=0) + 0.03**2
    )
    return masked_mean(1 - (luminance * structure).mean(1, keepdim=True), (share > 0.5).float())


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (B, 1, H, W) values where valid; 0 where nothing is."""
    return (values * valid).sum() / valid.sum().clamp(min=1)
