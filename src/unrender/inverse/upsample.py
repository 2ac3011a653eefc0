"""Small maps to large pictures, with the picture's own edges."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from unrender.scene.resize import resize_picture

RADIUS = 3
"""Pixels of the small picture around each one that its linear model is fitted to."""

EPSILON = 3e-3
"""Variance of the guide, squared encoded values, below which the map is taken to be flat."""


def guided_upsample(small: Tensor, guide: Tensor) -> Tensor:
    """Brings a map to the size of its picture, following the picture's edges: the fast guided filter (He & Sun 2015).

    Around each pixel of the small map it is fitted as a linear function of the guide, a g + b (He et al. 2013, eq. 5,
    6); a and b vary slowly, so they are what is enlarged, and the large guide brings the detail.

    Args:
        small: (B, C, h, w), any values.
        guide: (B, C, H, W) or (B, 1, H, W) the picture on a display curve, so that dark and bright edges count alike.

    Returns:
        (B, C, H, W).
    """
    small_guide = resize_picture(guide, (small.shape[2], small.shape[3]))
    mean_guide, mean_map = _blur(small_guide), _blur(small)
    covariance = _blur(small_guide * small) - mean_guide * mean_map
    variance = _blur(small_guide * small_guide) - mean_guide * mean_guide
    slope = covariance / (variance + EPSILON)
    offset = mean_map - slope * mean_guide
    size = (guide.shape[2], guide.shape[3])
    return resize_picture(_blur(slope), size) * guide + resize_picture(_blur(offset), size)


def _blur(values: Tensor) -> Tensor:
    """Mean over the window around each pixel; at the border over the part of it that is inside."""
    side = 2 * RADIUS + 1
    return functional.avg_pool2d(values, side, stride=1, padding=RADIUS, count_include_pad=False)
