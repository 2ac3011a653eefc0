"""How bright a relit picture is shown."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.scene.color import luminance
from unrender.scene.strips import in_strips
from unrender.scene.tone import tone_map

FLOOR = 0.01
"""Linear luminance, of a display whose white is 1, from which pixels are told apart: an 8-bit picture holds 25/255
there. Darker ones count as this: relighting lifts blacks, and what the eye takes for brightness is not in them."""

LIMIT = 2.0**20
ROUNDS = 12

SAMPLES = 2**18
"""Pixels of a frame that its brightness is taken from."""


def display_gain(photo: Tensor, relit: Tensor, weights: Tensor | None = None) -> float:
    """The factor on `relit` that shows it as bright as the photo: under the shoulder of `tone_map`, both have the same
    log-average luminance (Reinhard et al. 2002, eq. 1), frames taken together.

    Args:
        photo: (T, 3, H, W) scene-linear.
        relit: (T, 3, H, W) scene-linear, in the units of its light.
        weights: (T, 1, H, W) in [0, 1], how much each pixel counts; None for all alike.

    Returns:
        In [1 / `LIMIT`, `LIMIT`]; 1 for a black photo, a black picture, or where nothing counts.
    """
    counted = torch.ones_like(photo[:, :1]) if weights is None else weights
    photo, relit, counted = (sparse(value) for value in (photo, relit, counted))
    total = float(counted.sum())
    if total <= 0 or not float((photo * counted).amax()) > 0 or not float((relit * counted).amax()) > 0:
        return 1.0
    wanted = _log_average(in_strips(tone_map, photo), counted)
    # What is the log-average of the positive part is a good start, however bright the light.
    gain = _clamped(wanted / _log_average(relit, counted, floor=1e-9))
    for _ in range(ROUNDS):
        gain = _clamped(gain * wanted / _log_average(tone_map(relit * gain), counted))
    return gain


def sparse(values: Tensor) -> Tensor:
    """Every few pixels of a large picture (T, C, H, W), some `SAMPLES` in all, as a view: they say enough of how bright
    it is, and nothing of the size of a picture is made of them."""
    step = max(1, round((values[0, 0].numel() / SAMPLES) ** 0.5))
    return values[:, :, ::step, ::step]


def _clamped(gain: float) -> float:
    return min(max(gain, 1 / LIMIT), LIMIT)


def _log_average(rgb: Tensor, weights: Tensor, floor: float = FLOOR) -> float:
    logs = luminance(rgb).clamp(min=floor).log() * weights
    return float((logs.sum() / weights.sum().clamp(min=1e-6)).exp())
