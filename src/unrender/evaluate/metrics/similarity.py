"""Structural similarity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from unrender.errors import UserError

RADIUS, SIGMA = 5, 1.5  # the 11 x 11 Gaussian of Wang et al. 2004
K1, K2 = 0.01, 0.03


def ssim(predicted: Tensor, target: Tensor, mask: Tensor) -> float:
    """Mean structural similarity (Wang et al. 2004, eq. 13) of values whose peak is 1, mean over the channels.

    Gaussian windows of 11 x 11 pixels, sigma 1.5, population variances. The mean goes over the pixels of the mask whose
    window lies inside the picture; their windows see only pixels of the mask, so that nothing outside it counts. With a
    full mask that is the original's figure, and scikit-image's with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1`.

    Raises:
        UserError: the picture is smaller than a window.
    """
    if min(mask.shape[1:]) <= 2 * RADIUS:
        raise UserError(f"SSIM of a picture of {tuple(mask.shape[1:])}; expected at least {2 * RADIUS + 1} pixels")
    zero = torch.zeros((), dtype=torch.float64)
    x, y = (values.double().where(mask, zero) for values in (predicted, target))
    weight = _blur(mask.double())
    mean_x, mean_y, xx, yy, xy = (_blur(values) / weight for values in (x, y, x * x, y * y, x * y))
    c1, c2 = K1**2, K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    counted = mask[0, RADIUS:-RADIUS, RADIUS:-RADIUS]
    return float((luminance * structure)[:, counted].mean())


def _blur(values: Tensor) -> Tensor:
    """(C, H, W) under the Gaussian window, (C, H - 10, W - 10)."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=values.dtype, device=values.device)
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = window / window.sum()
    return conv2d(conv2d(values[:, None], window[None, None, :, None]), window[None, None, None, :])[:, 0]
