"""Exposure, tone mapping, and colour transfer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unrender.conventions import REC709_LUMINANCE
from unrender.scene.color import luminance

_COMPRESSION_START = 0.8
_DESATURATION = 0.15

_LMS_FROM_RGB = ((0.3811, 0.5783, 0.0402), (0.1967, 0.7244, 0.0782), (0.0241, 0.1288, 0.8444))
_OPPONENT_FROM_LMS = (
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),
    (1 / math.sqrt(6), 1 / math.sqrt(6), -2 / math.sqrt(6)),
    (1 / math.sqrt(2), -1 / math.sqrt(2), 0.0),
)


def log_average_gain(
    rgb: Tensor, key: float = 0.18, weights: Sequence[float] = REC709_LUMINANCE, *, lit_only: bool = False
) -> Tensor:
    """The factor (T, 1, 1, 1) that brings the log-average luminance of linear rgb (T, 3, H, W) to `key`.

    The "key value" of Reinhard et al. 2002, eq. 1, and RGB<->X's exposure of HDR pictures, whose luminance has
    `weights` of its own. Luminance counts from 1e-6 up, where `lit_only` that of pixels alone that are not black; a
    black frame has the gain 1.
    """
    y = luminance(rgb, weights=weights)
    counted = (y > 0).to(y) if lit_only else torch.ones_like(y)
    logs = y.clamp(min=1e-6).log() * counted
    average = (logs.sum((1, 2, 3), keepdim=True) / counted.sum((1, 2, 3), keepdim=True).clamp(min=1)).exp()
    return torch.where(y.amax((1, 2, 3), keepdim=True) > 0, key / average, torch.ones_like(average))


def percentile_gain(rgb: Tensor, percentile: float = 99.0, target: float = 1.0) -> Tensor:
    """The factor (T, 1, 1, 1) that brings the given percentile of luminance of linear rgb (T, 3, H, W) to `target`.

    A frame whose percentile is black has the gain 1.
    """
    y = luminance(rgb).flatten(1)
    rank = min(max(math.ceil(percentile / 100 * y.shape[1]), 1), y.shape[1])
    found = y.kthvalue(rank, dim=1).values[:, None, None, None]
    return torch.where(found > 0, target / found.clamp(min=1e-12), torch.ones_like(found))


def tone_map(rgb: Tensor) -> Tensor:
    """Scene-linear rgb (T, 3, H, W) >= 0 to display-linear rgb in [0, 1], for looking at.

    Khronos PBR Neutral (2024) without its Fresnel offset. What is below 0.8 stays exactly as it is, so a photograph
    stays unchanged; above, the largest channel rolls off towards 1, hue is kept, and the very bright turn white.
    """
    peak = rgb.amax(1, keepdim=True)
    room = 1 - _COMPRESSION_START
    over = (peak - _COMPRESSION_START).clamp(min=0)
    new_peak = 1 - room**2 / (over + room)
    scaled = rgb * (new_peak / peak.clamp(min=_COMPRESSION_START))
    whiteness = 1 - 1 / (_DESATURATION * (peak - new_peak).clamp(min=0) + 1)
    return torch.where(over > 0, torch.lerp(scaled, new_peak.expand_as(scaled), whiteness), rgb)


def transfer_statistics(rgb: Tensor, reference: Tensor) -> Tensor:
    """Linear rgb (T, 3, H, W) with the colour statistics of `reference` (T or 1, 3, H', W'): its palette, its contrast.

    Mean and standard deviation of every channel are matched in the decorrelated l-alpha-beta space of Reinhard et al.
    2001, "Color Transfer between Images". Results are >= 0; they need not keep below 1.
    """
    values, wanted = _opponent(rgb).flatten(2), _opponent(reference).flatten(2)
    # A flat picture has no contrast to stretch: below a thousandth of a decade it is rounding.
    spread = wanted.std(2, correction=0, keepdim=True) / values.std(2, correction=0, keepdim=True).clamp(min=1e-3)
    matched = (values - values.mean(2, keepdim=True)) * spread + wanted.mean(2, keepdim=True)
    return _from_opponent(matched.reshape(rgb.shape)).clamp(min=0)


def _opponent(rgb: Tensor) -> Tensor:
    """Linear rgb to Reinhard's l-alpha-beta, along dimension 1."""
    lms = torch.einsum("ij,tjhw->tihw", rgb.new_tensor(_LMS_FROM_RGB), rgb)
    return torch.einsum("ij,tjhw->tihw", rgb.new_tensor(_OPPONENT_FROM_LMS), lms.clamp(min=1e-5).log10())


def _from_opponent(opponent: Tensor) -> Tensor:
    """Reinhard's l-alpha-beta to linear rgb, along dimension 1; the opponent matrix is orthonormal."""
    lms = 10 ** torch.einsum("ji,tjhw->tihw", opponent.new_tensor(_OPPONENT_FROM_LMS), opponent)
    return torch.einsum("ij,tjhw->tihw", torch.linalg.inv(opponent.new_tensor(_LMS_FROM_RGB)), lms)
