"""Random light from all around: the shipped worlds turned and tinted, skies, studios, lamps and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.resources import as_file, files

import numpy as np
import torch

from unrender.files.exr import read_channels
from unrender.scene.environment import EnvironmentMap, texel_directions

Array = np.ndarray
Random = np.random.Generator

SIZE = (128, 256)
TRAIN_WORLDS = ("city", "forest", "night", "studio", "sunrise")
TEST_WORLDS = ("courtyard", "interior", "sunset")
PEAK = 2000.0  # times the mean radiance: what a bright sun keeps, so that no pixel waits for one lucky path


@functools.cache
def _world(name: str) -> Array:
    """A shipped world (128, 256, 3), each texel the mean of a block.

    Its lossy compression rings below zero round bright texels: clamped after the mean, not before as for looking at,
    it loses no energy.
    """
    with as_file(files("unrender.files") / "worlds" / f"{name}.exr") as path:
        channels = read_channels(path).channels
    pixels = np.stack([channels[letter] for letter in "RGB"], -1).astype(np.float32)
    height, width = SIZE
    blocks = pixels.reshape(height, pixels.shape[0] // height, width, pixels.shape[1] // width, 3)
    return np.maximum(blocks.mean((1, 3)), 0)


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
    "clear sky": (sky, 0.3),
    "overcast sky": (overcast, 0.12),
    "studio boxes": (studio, 0.28),
    "lamps": (lamps, 0.15),
    "coloured light": (gradient, 0.15),
}
"""Every procedural light with the probability that it is drawn with: linear radiance (128, 256, 3) of any scale."""


def random_light(rng: Random, *, test: bool, world_share: float = 0.5) -> EnvironmentMap:
    """Draws a light of 128 x 256 texels whose mean radiance over the sphere is about 1, turned at random.

    Args:
        rng: what to draw from.
        test: whether shipped worlds come from `TEST_WORLDS` or from `TRAIN_WORLDS`.
        world_share: the probability of a shipped world; else the light is procedural.
    """
    if rng.random() < world_share:
        worlds = TEST_WORLDS if test else TRAIN_WORLDS
        name = str(rng.choice(worlds))
        radiance = _world(name) * (1 + rng.uniform(-0.12, 0.12, 3))
    else:
        names = list(PROCEDURAL)
        name = names[rng.choice(len(names), p=[PROCEDURAL[n][1] for n in names])]
        radiance = PROCEDURAL[name][0](rng)
    radiance = np.roll(radiance, int(rng.integers(SIZE[1])), axis=1)
    mean = float((radiance * np.sin(np.pi * (np.arange(SIZE[0]) + 0.5) / SIZE[0])[:, None, None]).mean() * np.pi / 2)
    radiance = np.clip(radiance / max(mean, 1e-6), 0, PEAK).astype(np.float32)
    return EnvironmentMap(torch.from_numpy(radiance).permute(2, 0, 1)[None].contiguous(), name=name)


def _unit(rng: Random, elevation: float) -> Array:
    """A unit direction (3,) at `elevation` radians above the horizon, at a random azimuth."""
    azimuth = rng.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    return np.array([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)])
