"""Random environment maps: built-in or user files, rotated; procedural skies, studios, lamps and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import torch

from unrender.errors import UserError
from unrender.files.environments import read_environment
from unrender.files.exr import read_channels
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles
from unrender.synth.patterns import fbm

Array = np.ndarray
Random = np.random.Generator

SIZE = (128, 256)
TRAIN_WORLDS = ("city", "forest", "night", "studio", "sunrise")
TEST_WORLDS = ("courtyard", "interior", "sunset")
_INDOORS = ("studio", "interior")  # of these
PEAK = 2000.0  # times the mean radiance: a limit on suns, which keeps fireflies rare


@functools.cache
def _world(name: str) -> Array:
    """A built-in map (128, 256, 3), each texel the mean of a block.

    Its lossy compression rings below zero round bright texels: clamped after the mean, not before as for
    viewing, it loses no energy.
    """
    with as_file(files("unrender.files") / "worlds" / f"{name}.exr") as path:
        channels = read_channels(path).channels
    pixels = np.stack([channels[letter] for letter in "RGB"], -1).astype(np.float32)
    height, width = SIZE
    blocks = pixels.reshape(height, pixels.shape[0] // height, width, pixels.shape[1] // width, 3)
    return np.maximum(blocks.mean((1, 3)), 0)


@functools.lru_cache(maxsize=256)
def _user_map(path: Path) -> Array:
    """A user's environment map at `SIZE`, (128, 256, 3)."""
    light = read_environment(path)
    if not light.hdr:
        raise UserError(f"{path} is a display picture, whose highlights are clipped; expected a light in .hdr or .exr")
    return light.resized(SIZE).radiance[0].permute(1, 2, 0).numpy()


@functools.cache
def _solid_angles() -> Array:
    """Of the texels of each row, in steradians, (128, 1, 1)."""
    return texel_solid_angles(SIZE).numpy()[..., None]


@functools.cache
def _directions() -> Array:
    """Unit world directions of the texels, (128, 256, 3)."""
    return texel_directions(SIZE).numpy()


def sky(rng: Random) -> Array:
    """A clear sky: a gradient towards the horizon, a sun with its glow, a dull ground."""
    d = _directions()
    zenith = np.array([0.15, 0.3, 0.75]) * rng.uniform(0.4, 1.2)
    horizon = np.array([0.8, 0.85, 0.9]) * rng.uniform(0.5, 1.3)
    height = rng.beta(1.5, 2.0) * 1.3 + 0.05
    sun = _unit(rng, height)
    warm = np.array([1.0, 0.55 + 0.4 * min(1, height), 0.25 + 0.65 * min(1, height)])
    up = np.clip(d[..., 1:2], 0, 1) ** rng.uniform(0.3, 0.8)
    light = horizon * warm**0.5 + (zenith - horizon * warm**0.5) * up
    ground = np.array([0.25, 0.22, 0.18]) * rng.uniform(0.3, 1.2)
    light = np.where(d[..., 1:2] > 0, light, ground)
    cosine = (d @ sun)[..., None]
    glow = rng.uniform(0.2, 2.0) * np.exp((cosine - 1) * rng.uniform(8, 60))
    disc = np.exp((cosine - 1) / 0.0008) * rng.uniform(100, 1500)
    return light + warm * (glow + disc) * (d[..., 1:2] > -0.05)


def sunny(rng: Random) -> Array:
    """A blue sky and a small sun with a sharp rim, which gives 55 to 90 % of all the light: hard cast shadows.

    The sun is as small as `PEAK` lets it be for what it gives, 2 to 3 degrees in radius.
    """
    d = _directions()
    height = rng.uniform(0.15, 1.25)
    sun = _unit(rng, height)
    warm = np.array([1.0, 0.6 + 0.35 * min(1, height), 0.3 + 0.6 * min(1, height)])
    blue = np.array([0.2, 0.4, 0.9]) * rng.uniform(0.6, 1.2)
    up = np.clip(d[..., 1:2], 0, 1) ** rng.uniform(0.3, 0.7)
    haze = np.array([0.7, 0.78, 0.85]) * warm**0.3
    light = np.where(d[..., 1:2] > 0, haze + (blue - haze) * up, np.array([0.2, 0.18, 0.15]) * rng.uniform(0.4, 1.5))
    share = rng.uniform(0.55, 0.9)
    flux = float((light.mean(-1, keepdims=True) * _solid_angles()).sum())
    given = flux * share / (1 - share)
    radius = np.arccos(1 - given / (0.8 * PEAK * (flux + given) / (4 * np.pi)) / (2 * np.pi))
    # Texels on the rim count in part.
    texel = np.pi / SIZE[0]
    disc = np.clip((radius - np.arccos(np.clip(d @ sun, -1, 1))) / texel + 0.5, 0, 1)[..., None] * warm / warm.mean()
    return light + disc * given / max(float((disc.mean(-1, keepdims=True) * _solid_angles()).sum()), 1e-9)


def clouded(rng: Random) -> Array:
    """A blue sky with clouds, lit by the sun or before it: drawn in the plane of the clouds, which meet the horizon."""
    light = sunny(rng) if rng.random() < 0.6 else sky(rng)
    d = _directions()
    up = np.maximum(d[..., 1:2], 0.04)
    field = fbm(rng, 256, rng.uniform(1.4, 2.2), rng.uniform(1, 3))
    place = np.floor((d[..., [0, 2]] / up * rng.uniform(10, 40)) % 256).astype(int)
    cover = np.clip((field[place[..., 0], place[..., 1]] - rng.uniform(0.3, 0.65)) * rng.uniform(2, 10), 0, 1)[
        ..., None
    ]
    cover = cover * (d[..., 1:2] > 0) * np.clip(d[..., 1:2] * 12, 0, 1)
    base = float(np.median(light.mean(-1)[d[..., 1] > 0]))
    cloud = base * rng.uniform(0.6, 3.0) * (0.6 + 0.4 * field[place[..., 1], place[..., 0]])[..., None]
    return light * (1 - 0.95 * cover) + cloud * cover


def overcast(rng: Random) -> Array:
    """The CIE overcast sky, brighter overhead, with soft clouds."""
    d = _directions()
    tint = 1 + rng.uniform(-0.12, 0.12, 3)
    clouds = 1 + rng.uniform(0, 0.4) * np.sin(d @ (rng.normal(size=(3, 3)) * 3)).mean(-1, keepdims=True)
    dome = (1 + 2 * np.clip(d[..., 1:2], 0, 1)) / 3 * clouds
    return np.where(d[..., 1:2] > 0, dome, rng.uniform(0.05, 0.4)) * tint


def studio(rng: Random) -> Array:
    """Soft boxes in a dark or grey room."""
    d = _directions()
    light = np.full((*SIZE, 3), rng.choice([0.02, 0.1, 0.3])) * (1 + 0.5 * d[..., 1:2])
    for _ in range(int(rng.integers(1, 5))):
        center = _unit(rng, rng.uniform(0.0, 1.4))
        right = np.cross(center, [0.0, 1.0, 0.001])
        right /= np.linalg.norm(right)
        above = np.cross(right, center)
        front = d @ center
        x, y = (d @ right) / np.maximum(front, 1e-3), (d @ above) / np.maximum(front, 1e-3)
        w, h, soft = rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.8), rng.uniform(20, 80)
        box = 1 / (1 + np.exp(np.clip(soft * np.maximum(np.abs(x) - w, np.abs(y) - h), -50, 50)))
        color = 1 + rng.uniform(-0.25, 0.25, 3) * rng.choice([0.3, 1.0])
        light = light + (np.where(front > 0.05, box, 0) * rng.uniform(1, 15) / (w * h + 0.1))[..., None] * color * 0.5
    return light


def lamps(rng: Random) -> Array:
    """A few small lamps in a dim room."""
    d = _directions()
    light = np.full((*SIZE, 3), 0.05) * (1.2 + d[..., 1:2]) * (1 + rng.uniform(-0.3, 0.3, 3))
    for _ in range(int(rng.integers(1, 6))):
        size = rng.uniform(0.002, 0.03)
        lobe = np.exp((d @ _unit(rng, rng.uniform(-0.1, 1.5)) - 1) / size)[..., None]
        warm = np.array([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.3, 1.1)])
        light = light + lobe * warm * rng.uniform(0.1, 0.6) / size
    return light


def gradient(rng: Random) -> Array:
    """Colourful light: wide coloured lobes on a grey ground."""
    d = _directions()
    light = np.full((*SIZE, 3), rng.uniform(0.05, 0.3))
    for _ in range(int(rng.integers(2, 6))):
        lobe = np.exp((d @ _unit(rng, rng.uniform(-0.5, 1.5)) - 1) * rng.uniform(1, 12))[..., None]
        light = light + lobe * rng.uniform(0.1, 1.0, 3) ** rng.uniform(0.7, 2) * rng.uniform(0.5, 3)
    return light


PROCEDURAL: dict[str, tuple[Callable[[Random], Array], float]] = {
    "sun and sky": (sunny, 0.24),
    "clear sky": (sky, 0.14),
    "clouded sky": (clouded, 0.18),
    "overcast sky": (overcast, 0.1),
    "studio boxes": (studio, 0.14),
    "lamps": (lamps, 0.1),
    "coloured light": (gradient, 0.1),
}
"""Every procedural light with its sampling probability: linear radiance (128, 256, 3) of any scale."""

OUTDOORS = ("sun and sky", "clear sky", "clouded sky", "overcast sky")
"""The procedural lights that may be outside the windows of a room."""


def random_light(
    rng: Random, *, test: bool, world_share: float = 0.45, user_maps: Sequence[Path] = (), outdoors: bool = False
) -> EnvironmentMap:
    """Samples a light of 128 x 256 texels whose mean radiance over the sphere is about 1, randomly rotated.

    Args:
        rng: the random generator.
        test: whether built-in maps come from `TEST_WORLDS` or from `TRAIN_WORLDS`.
        world_share: the probability of a built-in or user map; else the light is procedural.
        user_maps: .hdr and .exr files of the user, which replace the built-in maps; not tinted.
        outdoors: whether it is outside windows: procedural lights are of `OUTDOORS` alone, and built-in maps are not
            those of interiors.

    Raises:
        UserError: a file cannot be read as a light, or is a display picture.
    """
    if rng.random() < world_share:
        if user_maps:
            path = user_maps[int(rng.integers(len(user_maps)))]
            name, radiance = path.stem, _user_map(path)
        else:
            worlds = TEST_WORLDS if test else TRAIN_WORLDS
            name = str(rng.choice([world for world in worlds if not (outdoors and world in _INDOORS)]))
            radiance = _world(name) * (1 + rng.uniform(-0.12, 0.12, 3))
    else:
        names = list(OUTDOORS if outdoors else PROCEDURAL)
        weights = np.array([PROCEDURAL[n][1] for n in names])
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        radiance = PROCEDURAL[name][0](rng)
    radiance = np.roll(radiance, int(rng.integers(SIZE[1])), axis=1)
    mean = float((radiance * _solid_angles()).sum() / (3 * 4 * np.pi))
    radiance = np.clip(radiance / max(mean, 1e-6), 0, PEAK).astype(np.float32)
    return EnvironmentMap(torch.from_numpy(radiance).permute(2, 0, 1)[None].contiguous(), name=name)


def _unit(rng: Random, elevation: float) -> Array:
    """A unit direction (3,) at `elevation` radians above the horizon, at a random azimuth."""
    azimuth = rng.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    return np.array([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)])
