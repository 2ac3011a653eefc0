"""Metrics, one picture at a time: (C, H, W) against (C, H, W) where a boolean (1, H, W) mask is true. All give floats;
NaN where the mask is empty. Nothing here clips, encodes or aligns unless its name says so. `docs/metrics.md` has the
formulas.

`lpips`, `frechet` and `inception` (weight files) and `temporal` (clips) are modules of their own.
"""

from unrender.evaluate.metrics.errors import mean_squared_error, psnr, rmse
from unrender.evaluate.metrics.geometry import Angles, absrel, align_depth, angles, angular_errors, delta1
from unrender.evaluate.metrics.scale import align_scale, lmse, si_mse, si_psnr, si_rmse
from unrender.evaluate.metrics.similarity import ssim

__all__ = [
    "Angles",
    "absrel",
    "align_depth",
    "align_scale",
    "angles",
    "angular_errors",
    "delta1",
    "lmse",
    "mean_squared_error",
    "psnr",
    "rmse",
    "si_mse",
    "si_psnr",
    "si_rmse",
    "ssim",
]
