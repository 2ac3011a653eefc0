"""How far walls close a picture, so that the light of an environment map comes in only through openings."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unrender.forward.surface import coverage
from unrender.scene.environment import EnvironmentMap, texel_solid_angles
from unrender.scene.gbuffer import GBuffer

FACING = 0.6
"""Least component of a normal along the picture's width that makes a surface a side wall: 37 degrees. An inverse
model guesses blurred backgrounds a little inwards: with 20 degrees it closes pictures of dice and of a portrait."""

OPEN, CLOSED = 0.3, 0.7
"""Share of the outer quarters of the picture, left and right together, that walls fill which face one another: open at
the first, closed at the second: docs/relight.md."""

DIMMED = 0.4
"""What comes into a closed room of a light's strength: into Cycles' rooms with windows 0.35 to 0.5 of what screen space
finds from true maps."""


def closure(gbuffer: GBuffer) -> Tensor:
    """How far side walls close each frame, (T, 1, 1, 1) in [0, 1]; needs normals.

    Walls on the left face right and walls on the right face left, as they do in rooms, courts and lanes, and never
    around an object on a table. That a ceiling is there cannot be told without knowing which way is up.
    """
    assert gbuffer.normal is not None
    across = gbuffer.normal[:, :1]
    there = coverage(gbuffer)
    quarter = max(1, across.shape[3] // 4)
    left = (there * (across > FACING))[..., :quarter].mean((1, 2, 3), keepdim=True)
    right = (there * (across < -FACING))[..., -quarter:].mean((1, 2, 3), keepdim=True)
    x = ((left + right - OPEN) / (CLOSED - OPEN)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def dimming(closed: float) -> float:
    """What comes in of a light's strength: 1 in the open, `DIMMED` where `closed` is 1."""
    return 1 - (1 - DIMMED) * closed


def let_in(light: EnvironmentMap, closed: float) -> EnvironmentMap:
    """`light` as it comes through openings nobody knows: the share `closed` of it from everywhere alike, and dimmed."""
    areas = texel_solid_angles(light.size).to(light.radiance).expand(1, 1, *light.size)
    mean = (light.radiance * areas).sum((2, 3), keepdim=True) / areas.sum()
    return replace(light, radiance=torch.lerp(light.radiance, mean.expand_as(light.radiance), closed) * dimming(closed))
