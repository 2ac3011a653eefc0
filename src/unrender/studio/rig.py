"""The light that is set on the page, as a map."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from unrender.scene.color import srgb_to_linear
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gaussians import SphericalGaussians, integral, to_environment
from unrender.studio.look import Lamp, Rig

LAMP_SIZE = (128, 256)
"""Texels that lamps are drawn on; the narrowest is twice as wide as one."""


def light_of(rig: Rig, base: EnvironmentMap | None) -> tuple[EnvironmentMap, float]:
    """The light of a rig, and the degrees that it is still to be turned by.

    Args:
        rig: what is set.
        base: the map that it names; None for none.
    """
    if base is not None and not rig.lit:
        return base.exposed(rig.strength) if rig.strength else base, rig.yaw
    size = LAMP_SIZE if base is None else (max(base.size[0], LAMP_SIZE[0]), max(base.size[0], LAMP_SIZE[0]) * 2)
    radiance = torch.zeros(1, 3, *size)
    if base is not None:
        radiance = base.rotated(rig.yaw).exposed(rig.strength).resized(size).radiance
    if rig.lit:
        radiance = radiance + to_environment(lamps_as_lobes(rig.lit), size).radiance
    return EnvironmentMap(radiance, name="studio light"), 0.0


def lamps_as_lobes(lamps: list[Lamp]) -> SphericalGaussians:
    """Lamps as spherical Gaussians in the axes of a level camera."""
    azimuth, elevation = (
        torch.deg2rad(torch.tensor([getattr(lamp, name) for lamp in lamps])) for name in ("azimuth", "elevation")
    )
    level = torch.cos(elevation)
    axis = torch.stack((torch.sin(azimuth) * level, torch.sin(elevation), -torch.cos(azimuth) * level), dim=1)
    codes = torch.tensor([[int(lamp.color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for lamp in lamps])
    sigma = torch.deg2rad(torch.tensor([lamp.width for lamp in lamps]))
    lobes = SphericalGaussians(srgb_to_linear(codes), axis, sigma)
    power = torch.tensor([lamp.power for lamp in lamps])[:, None]
    return replace(lobes, amplitude=math.pi * power * lobes.amplitude**2 / integral(lobes).clamp(min=1e-9))
