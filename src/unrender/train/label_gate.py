"""The gate for labelled footage: what makes a segment no training data."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from unrender.forward import DeferredRenderer
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

COVERED = 0.05
"""Least share of a segment that is surface."""

CLIPPED, BLACK, DARK = 0.4, 0.6, 0.004
"""Largest shares of a segment that are white, and that are darker than the third."""

CUT, ALIKE = 0.12, 0.6
"""Change of the display luminance from one frame to the next, at a size of 16 pixels, and correlation of the two, above
and below which there is a cut between them: no camera moves so."""

EXPLAINED = 0.2
"""Least correlation between the logarithms of a segment and of its maps rendered under its light."""


def gate(gbuffer: GBuffer, light: EnvironmentMap) -> str:
    """The reason why a labelled segment is no training data; "" where there is none."""
    maps = gbuffer.maps
    rgb = maps["rgb"]
    mask = maps["mask"] if "mask" in maps else torch.ones_like(rgb[:, :1])
    if not bool(light.radiance.isfinite().all()) or float(light.radiance.amax()) <= 0:
        return "its light is black or not finite"
    if (share := float((mask > 0.5).float().mean())) < COVERED:
        return f"surfaces fill {share:.1%} of it, less than {COVERED:.0%}"
    grey = luminance(rgb)
    if (share := float((grey >= 0.99).float().mean())) > CLIPPED:
        return f"{share:.0%} of it is white, more than {CLIPPED:.0%}"
    if (share := float((grey < DARK).float().mean())) > BLACK:
        return f"{share:.0%} of it is black, more than {BLACK:.0%}"
    if (frame := _first_cut(grey)) is not None:
        return f"it has a cut after its frame {frame}"
    if (agreement := _agreement(gbuffer, light, mask)) < EXPLAINED:
        return f"its maps and light do not explain it: a correlation of {agreement:.2f}, less than {EXPLAINED}"
    return ""


def _first_cut(grey: Tensor) -> int | None:
    """The number of the first frame, from 1, of a clip's luminance (T, 1, H, W) after which there is a cut."""
    small = (functional.adaptive_avg_pool2d(grey.clamp(0, 1), 16) ** (1 / 2.2)).flatten(1)
    for number, (one, other) in enumerate(pairwise(small), 1):
        if float((one - other).abs().mean()) > CUT and _correlation(one, other) < ALIKE:
            return number
    return None


def _agreement(gbuffer: GBuffer, light: EnvironmentMap, mask: Tensor) -> float:
    """Correlation of log-luminance between the middle frame and its rendering under `light`, over its surface."""
    middle = len(gbuffer) // 2
    still = gbuffer.frame(middle)
    rendered = DeferredRenderer(background=False)(still.with_maps(mask=None), light, 0.0).surface
    assert still.rgb is not None
    there = (mask[middle : middle + 1] > 0.5)[0, 0]
    logs = [(luminance(picture) + 1e-3).log()[0, 0][there] for picture in (still.rgb, rendered)]
    return _correlation(*logs)


def _correlation(one: Tensor, other: Tensor) -> float:
    """Of two vectors; 0 where one is constant."""
    one, other = one - one.mean(), other - other.mean()
    spread = one.norm() * other.norm()
    return float((one * other).sum() / spread) if float(spread) > 1e-6 else 0.0
