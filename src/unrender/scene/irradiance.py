"""Diffuse irradiance: an environment map convolved with the cosine of the angle of arrival."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.scene.environment import EnvironmentMap, resize, sample, texel_directions, texel_solid_angles

BEAMS = (24, 48)
"""The grid of beams into which a map is gathered: (height, width)."""


def irradiance_map(light: EnvironmentMap, size: tuple[int, int] = (32, 64)) -> Tensor:
    """Diffuse irradiance by world normal, (T, 3, *size), linear, laid out as an environment map.

    E(n) = integral of L(w) max(0, n . w) dw over the sphere, no division by pi: a white map gives pi, and a Lambertian
    surface of albedo a sends out a E / pi. The light of each cell of a `BEAMS` grid acts as one beam, its vector
    irradiance V = integral of L(w) w dw: E(n) = sum max(0, n . V). That is exact but for cells cut by the horizon
    of n, and exact there too when the cell's light is a single sun.
    """
    normals = texel_directions(size).reshape(-1, 3).to(light.radiance)
    frames = [torch.stack([(normals @ beams).clamp(min=0).sum(1) for beams in frame]) for frame in _beams(light)]
    return torch.stack(frames).reshape(len(light), 3, *size)


def irradiance(light: EnvironmentMap, normal: Tensor) -> Tensor:
    """Diffuse irradiance at world normals (..., 3), any length > 0: (T, 3, ...), linear; see `irradiance_map`.

    Looked up in a 48 x 96 irradiance map: within 1 % of the brightest normal's, 0.3 % on average, under shipped worlds.
    """
    return sample(irradiance_map(light, (48, 96)), normal)


def _beams(light: EnvironmentMap) -> Tensor:
    """Vector irradiance of the cells of a `BEAMS` grid, by colour channel: (T, 3, 3 [xyz], cells)."""
    fine = (max(light.size[0], BEAMS[0]), max(light.size[1], BEAMS[1]))
    directions = texel_directions(fine).permute(2, 0, 1).to(light.radiance)
    vectors = resize(light.radiance, fine)[:, :, None] * directions
    cells = resize(vectors.flatten(1, 2), BEAMS) * texel_solid_angles(BEAMS).to(light.radiance)
    return cells.reshape(len(light), 3, 3, -1)
