"""Lamps, as 3D programs have them, seen from one place: distant light on an environment map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles

SIZE = (256, 512)


@dataclass(frozen=True)
class DistantLamp:
    """A round light at a distance.

    Attributes:
        direction: world direction towards it, of any length.
        irradiance: linear rgb on a surface that faces it.
        width: degrees from edge to edge; narrower than a texel it is one.
    """

    direction: tuple[float, float, float]
    irradiance: tuple[float, float, float]
    width: float = 0.5


def lamps_to_environment(
    lamps: Sequence[DistantLamp], base: EnvironmentMap | None = None, size: tuple[int, int] = SIZE
) -> EnvironmentMap:
    """Lamps as a map, on top of another light's; each has its irradiance exactly, on whatever texels it falls.

    Args:
        lamps: any number.
        base: what is there already, one frame, brought to `size`; darkness by default.
        size: (height, width) in texels.

    Raises:
        UserError: a lamp without a direction, or with numbers that are not finite or below 0.
    """
    if base is not None and len(base) != 1:
        raise UserError(f"the light {base.name} has {len(base)} frames; expected one under lamps")
    radiance = torch.zeros(1, 3, *size) if base is None else base.resized(size).radiance.clone()
    directions, solid_angles = texel_directions(size), texel_solid_angles(size)
    for lamp in lamps:
        radiance[0] += _disc(lamp, directions, solid_angles)
    name = "lamps" if base is None else f"{base.name} and lamps"
    return EnvironmentMap(radiance, name) if base is None else replace(base, radiance=radiance, name=name, grid=False)


def _disc(lamp: DistantLamp, directions: Tensor, solid_angles: Tensor) -> Tensor:
    """Radiance (3, H, W) of one lamp, its edge a texel soft."""
    axis, rgb = torch.tensor(lamp.direction), torch.tensor(lamp.irradiance)
    length = float(axis.norm())
    if not (math.isfinite(length) and length > 0 and 0 <= lamp.width <= 180):
        raise UserError(f"a lamp of {lamp.width} degrees in the direction {lamp.direction}; expected 0 to 180, and one")
    if not bool((rgb.isfinite() & (rgb >= 0)).all()):
        raise UserError(f"a lamp with the irradiance {lamp.irradiance}; expected finite numbers, 0 or more")
    texel = math.pi / directions.shape[0]
    cosine = (directions @ (axis / length)).clamp(-1, 1)
    half = max(math.radians(lamp.width) / 2, texel)
    shape = ((half - torch.acos(cosine)) / texel + 0.5).clamp(0, 1)
    received = (shape * solid_angles * cosine.clamp(min=0)).sum()
    return rgb[:, None, None] * (shape / received)
