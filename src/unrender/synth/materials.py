"""Random physically based materials: procedural patterns that choose between colours, roughnesses and heights."""

from __future__ import annotations

import colorsys
import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unrender.files.textures import read_texture
from unrender.raytrace.assets import height_of
from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array
from unrender.synth.patterns import HELD_OUT, PATTERNS, fbm

Random = np.random.Generator

WIDE, SMALL = 512, 256
"""Texels of the textures of grounds, floors and walls, and of all other things."""


METALS = (
    (0.91, 0.92, 0.92),  # aluminium
    (0.95, 0.64, 0.54),  # copper
    (1.00, 0.77, 0.34),  # gold
    (0.56, 0.57, 0.58),  # iron
    (0.66, 0.61, 0.53),  # nickel
    (0.97, 0.96, 0.91),  # silver
    (0.55, 0.56, 0.55),  # chromium
    (0.89, 0.76, 0.45),  # brass
)
WOODS = ((0.38, 0.20, 0.09), (0.55, 0.33, 0.16), (0.18, 0.08, 0.04), (0.62, 0.45, 0.26), (0.30, 0.17, 0.10))
SKINS = ((0.70, 0.42, 0.30), (0.80, 0.55, 0.43), (0.33, 0.16, 0.09), (0.52, 0.28, 0.17))


def random_material(rng: Random, size: int, *, test: bool, metal_share: float = 0.25) -> Material:
    """Samples a material with textures of `size` x `size` texels.

    Args:
        rng: the random generator.
        size: of each texture, in texels.
        test: whether its pattern is plain or one of `HELD_OUT`, or else one of the others.
        metal_share: the probability of a metal.
    """
    names = ["plain", *HELD_OUT] if test else [name for name in PATTERNS if name not in HELD_OUT]
    weights = np.array([PATTERNS[name][1] for name in names])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    pattern = PATTERNS[name][0](rng, size).astype(np.float32)
    metal = rng.random() < metal_share
    first = _metal_color(rng) if metal else _color(rng, name)
    second = _second_color(rng, first, metal)
    base = first.astype(np.float32) + (second - first).astype(np.float32) * pattern[..., None]
    if rng.random() < (0.6 if name != "plain" else 0.4):
        base *= 1 + rng.uniform(0, 0.25) * (fbm(rng, size, rng.uniform(0.4, 1.6), 2.0)[..., None] - 0.5)
    rough = _roughness(rng, pattern, metal)
    metallic = np.full((size, size), metal, np.float32)
    if rng.random() < 0.06 and name != "plain":
        metallic = (pattern > 0.5).astype(np.float32)
    finish = (
        ("polished" if rough.mean() < 0.2 else "brushed") if metal else ("glossy" if rough.mean() < 0.3 else "matte")
    )
    return Material(
        np.clip(base, 0.005, 1).astype(np.float32),
        np.clip(rough, 0.05, 1).astype(np.float32),
        metallic,
        f"{finish} {name}" + (" metal" if metal else ""),
        _bump(rng, name, pattern),
    )


def paint(rng: Random, size: int = 8) -> Material:
    """A light plain paint, matte, as on ceilings, window frames and many walls: flat, so few texels do."""
    color = rng.uniform(0.55, 0.9) * rng.uniform(0.9, 1.0, 3)
    return Material(
        np.broadcast_to(color.astype(np.float32), (size, size, 3)),
        np.full((size, size), rng.uniform(0.4, 1.0), np.float32),
        np.zeros((size, size), np.float32),
        "matte plain",
        np.zeros((size, size), np.float32),
    )


def embossed(rng: Random, material: Material, path: Path) -> Material:
    """`material` with the relief of a normal map, as often across it as fits, gentle to as steep as the map is."""
    size = len(material.roughness)
    tiles = int(rng.choice([1, 2, 4]))
    height = np.tile(_height(path, size // tiles), (tiles, tiles)) / tiles
    bump = np.zeros_like(material.bump)
    bump[: height.shape[0], : height.shape[1]] = height * np.float32(rng.uniform(0.3, 1.0))
    return replace(material, bump=material.bump + bump)


@functools.lru_cache(maxsize=128)
def _height(path: Path, side: int) -> Array:
    """The height (side, side) of a normal map's file, in multiples of the texture's side."""
    normal = torch.nn.functional.normalize(read_texture(path) * 2 - 1, dim=0)
    height = height_of(normal, side)
    return torch.nn.functional.interpolate(height[None], (side, side), mode="bilinear")[0, 0].numpy()


def relief(height: Array, slope: float) -> Array:
    """A height field (H, W) scaled to a root mean square slope of `slope`, in multiples of the texture's side.

    Softened over three texels, periodic, and no higher than 3 % of the side. A flat field stays flat.
    """
    soft = (height + np.roll(height, 1, 0) + np.roll(height, -1, 0)) / 3
    soft = (soft + np.roll(soft, 1, 1) + np.roll(soft, -1, 1)) / 3
    rows, columns = height.shape
    down, right = (np.roll(soft, -1, 0) - soft) * rows, (np.roll(soft, -1, 1) - soft) * columns
    steep, high = float(np.sqrt((down**2 + right**2).mean())), float(np.ptp(soft))
    if high < 1e-9:
        return np.zeros(height.shape, np.float32)
    return ((soft - soft.min()) * min(slope / steep, 0.03 / high)).astype(np.float32)


def _bump(rng: Random, name: str, pattern: Array) -> Array:
    """Joints lie low; other patterns stand out, or not, and some surfaces have an independent bumpiness."""
    kind, slope = rng.random(), rng.uniform(0.03, 0.2)
    if name == "plain":
        return np.zeros(pattern.shape, np.float32)
    if name in ("tiled", "brick", "woven"):
        return relief(np.minimum(pattern, 0.6) if name != "woven" else pattern, slope)
    if kind < 0.4:
        return relief(pattern * rng.choice([-1.0, 1.0]), slope)
    if kind < 0.55:
        return relief(fbm(rng, len(pattern), rng.uniform(1.0, 2.0), 4.0), slope)
    return np.zeros(pattern.shape, np.float32)


def _color(rng: Random, pattern: str) -> Array:
    kind = rng.random()
    if pattern == "wooden" and kind < 0.8:
        return np.array(WOODS[rng.integers(len(WOODS))]) * rng.uniform(0.7, 1.3)
    if kind < 0.2:
        return rng.uniform(0.55, 0.9) * rng.uniform(0.93, 1.0, 3)  # white to light grey
    if kind < 0.28:
        return rng.uniform(0.01, 0.06) * rng.uniform(0.8, 1.2, 3)  # black
    if kind < 0.38:
        return rng.uniform(0.08, 0.5) * rng.uniform(0.95, 1.05, 3)  # greys
    if kind < 0.46:
        return np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.8, 1.15)
    if kind < 0.58:
        return np.array(WOODS[rng.integers(len(WOODS))]) * rng.uniform(0.7, 1.5)
    saturation = rng.uniform(0.1, 0.65) if kind < 0.88 else rng.uniform(0.7, 1.0)
    srgb = np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.3, 0.95)))
    return srgb**2.2


def _metal_color(rng: Random) -> Array:
    return np.clip(
        np.array(METALS[rng.integers(len(METALS))]) * rng.uniform(0.8, 1.05) * rng.uniform(0.95, 1.05, 3), 0, 1
    )


def _second_color(rng: Random, first: Array, metal: bool) -> Array:
    kind = rng.random()
    if metal or kind < 0.55:
        return first * rng.choice([rng.uniform(0.3, 0.85), rng.uniform(1.1, 1.6)])
    if kind < 0.7:
        return np.full(3, rng.choice([0.03, 0.75]))
    return _color(rng, "any")


def _roughness(rng: Random, pattern: Array, metal: bool) -> Array:
    level = rng.beta(1.2, 1.8) * 0.8 + 0.05 if metal else rng.choice([rng.uniform(0.05, 0.3), rng.uniform(0.2, 1.0)])
    kind = rng.random()
    if kind < 0.45:
        return np.full(pattern.shape, level, np.float32)
    if kind < 0.75:
        return level + rng.uniform(-0.4, 0.4) * pattern
    return level + rng.uniform(0.1, 0.5) * (fbm(rng, len(pattern), rng.uniform(0.8, 2.0), 2.0) - 0.5)
