"""Random physically based materials: procedural patterns that choose between colours and between roughnesses."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

Array = np.ndarray
Random = np.random.Generator


@dataclass(frozen=True)
class Material:
    """Textures of one surface: base_color (H, W, 3) linear, roughness and metallic (H, W), all float32 in [0, 1]."""

    base_color: Array
    roughness: Array
    metallic: Array
    name: str


def fbm(rng: Random, size: int, slope: float = 1.8, low: float = 1.0, stretch: float = 1.0) -> Array:
    """Periodic fractal noise, (size, size) in [0, 1], flat histogram tails: spectrum 1 / f^slope above `low` cycles."""
    fy = np.fft.fftfreq(size, 1 / size)[:, None]
    fx = np.fft.rfftfreq(size, 1 / size)[None] * stretch
    f = np.sqrt(fx * fx + fy * fy)
    amplitude = np.where(f > 0, np.maximum(f, low) ** -slope, 0)
    spectrum = amplitude * np.exp(2j * np.pi * rng.random(f.shape))
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return np.clip(0.5 + noise / (4 * noise.std()), 0, 1)


def plain(rng: Random, size: int) -> Array:
    """One value all over."""
    return np.full((size, size), rng.random())


def cloudy(rng: Random, size: int) -> Array:
    """Soft noise."""
    return fbm(rng, size, rng.uniform(1.0, 2.2), rng.uniform(1, 8))


def marble(rng: Random, size: int) -> Array:
    """Thin dark veins along warped waves."""
    y, x = _grid(size)
    a, b = rng.integers(1, 5, 2)
    warp = fbm(rng, size, 1.9, 2.0) * rng.uniform(1, 4)
    veins = np.abs(np.sin(np.pi * (a * x + b * y) + 2 * np.pi * warp))
    return veins ** rng.uniform(0.2, 0.7)


def checker(rng: Random, size: int) -> Array:
    """Squares or bricks of 0 and 1 in turn."""
    y, x = _grid(size)
    n, m = rng.integers(2, 12, 2) * 2
    m = n if rng.random() < 0.6 else m
    return ((np.floor(x * n) + np.floor(y * m)) % 2).astype(float)


def stripes(rng: Random, size: int) -> Array:
    """Waves or hard stripes, straight or a little bent."""
    y, x = _grid(size)
    a, b = (rng.integers(2, 24), 0) if rng.random() < 0.5 else (0, rng.integers(2, 24))
    if rng.random() < 0.3:
        a, b = rng.integers(1, 10, 2)
    wave = np.sin(2 * np.pi * (a * x + b * y) + rng.uniform(0, 1.5) * (fbm(rng, size, 2.2) - 0.5) * 4)
    return np.clip(0.5 + wave * rng.choice([0.5, 8.0]), 0, 1)


def spots(rng: Random, size: int) -> Array:
    """Voronoi cells of random points (Worley noise), wrapped."""
    y, x = _grid(size)
    points = rng.random((int(rng.integers(15, 250)), 2))
    distance, index = KDTree(points, boxsize=1.0).query(np.stack((x, y), -1).reshape(-1, 2), k=2)
    kind = rng.integers(3)
    if kind == 0:
        value = rng.random(len(points))[index[:, 0]]
    elif kind == 1:
        value = np.clip((distance[:, 1] - distance[:, 0]) * np.sqrt(len(points)) * 4, 0, 1)
    else:
        value = np.clip((0.4 - distance[:, 0] * np.sqrt(len(points))) * 8, 0, 1)
    return value.reshape(size, size)


def wood(rng: Random, size: int) -> Array:
    """Planks with rings and grain."""
    _, x = _grid(size)
    planks = int(rng.choice([1, 3, 5, 8]))
    shift = rng.random(planks)[np.minimum((x * planks).astype(int), planks - 1)]
    warp = fbm(rng, size, 2.0, 1.0, stretch=rng.uniform(3, 8))
    rings = (x * rng.uniform(3, 14) + rng.uniform(1, 4) * warp + 7 * shift) % 1.0
    grain = fbm(rng, size, 0.7, 4.0, stretch=0.12)
    seam = np.where(np.abs((x * planks) % 1.0) < 0.012 * planks / 3, 0.35, 1.0) if planks > 1 else 1.0
    return np.clip(0.55 * rings**1.5 + 0.3 * grain + 0.3 * shift, 0, 1) * seam


def bricks(rng: Random, size: int) -> Array:
    """Rows of bricks of many tones between joints of 0."""
    y, x = _grid(size)
    rows = int(rng.integers(3, 9)) * 2
    columns = max(2, rows // int(rng.choice([1, 2, 3])))
    offset = rng.choice([0.0, 0.5])
    row = np.floor(y * rows)
    across = x * columns + offset * (row % 2)
    tone = rng.random((rows, columns))[row.astype(int), np.floor(across).astype(int) % columns]
    gap = rng.uniform(0.02, 0.06)
    joint = np.minimum(_to_edge(across) * rows / columns, _to_edge(y * rows)) < gap
    return np.where(joint, 0.0, 0.5 + 0.4 * tone + 0.1 * fbm(rng, size, 1.0, 8.0))


def scratched(rng: Random, size: int) -> Array:
    """Noise drawn out in one direction over soft noise."""
    lines = fbm(rng, size, 0.6, 6.0, stretch=rng.choice([0.05, 20.0]))
    return np.clip(0.6 * lines + 0.4 * fbm(rng, size, 1.8, 2.0), 0, 1)


PATTERNS: dict[str, tuple[Callable[[Random, int], Array], float]] = {
    "plain": (plain, 4.0),
    "cloudy": (cloudy, 2.5),
    "marble": (marble, 1.2),
    "checked": (checker, 0.8),
    "striped": (stripes, 1.0),
    "wooden": (wood, 2.0),
    "scratched": (scratched, 1.0),
    "spotted": (spots, 2.0),
    "brick": (bricks, 2.0),
}
"""Every pattern with the weight it is drawn with: (size, size), about [0, 1], 0 the first colour and 1 the second."""

HELD_OUT = ("spotted", "brick")
"""Patterns that training never sees; the test split draws its patterns from these and plain ones."""

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
    """Draws a material with textures of `size` x `size` texels.

    Args:
        rng: what to draw from.
        size: of each texture, in texels.
        test: whether its pattern is plain or one of `HELD_OUT`, or else one of the others.
        metal_share: the probability of a metal.
    """
    names = ["plain", *HELD_OUT] if test else [name for name in PATTERNS if name not in HELD_OUT]
    weights = np.array([PATTERNS[name][1] for name in names])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    pattern = PATTERNS[name][0](rng, size)
    metal = rng.random() < metal_share
    first = _metal_color(rng) if metal else _color(rng, name)
    second = _second_color(rng, first, metal)
    base = first + (second - first) * pattern[..., None]
    if name != "plain" or rng.random() < 0.4:
        base = base * (1 + rng.uniform(0, 0.25) * (fbm(rng, size, rng.uniform(0.4, 1.6), 2.0)[..., None] - 0.5))
    rough = _roughness(rng, pattern, metal)
    metallic = np.full((size, size), float(metal))
    if rng.random() < 0.06 and name != "plain":
        metallic = (pattern > 0.5).astype(float)
    finish = (
        ("polished" if rough.mean() < 0.2 else "brushed") if metal else ("glossy" if rough.mean() < 0.3 else "matte")
    )
    return Material(
        np.clip(base, 0.005, 1).astype(np.float32),
        np.clip(rough, 0.05, 1).astype(np.float32),
        metallic.astype(np.float32),
        f"{finish} {name}" + (" metal" if metal else ""),
    )


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
        return np.full(pattern.shape, level)
    if kind < 0.75:
        return level + rng.uniform(-0.4, 0.4) * pattern
    return level + rng.uniform(0.1, 0.5) * (fbm(rng, len(pattern), rng.uniform(0.8, 2.0), 2.0) - 0.5)


def _grid(size: int) -> tuple[Array, Array]:
    """Texel centres (y, x), each (size, size) in (0, 1)."""
    ticks = (np.arange(size) + 0.5) / size
    y, x = np.meshgrid(ticks, ticks, indexing="ij")
    return y, x


def _to_edge(value: Array) -> Array:
    """Distance to the nearest integer, [0, 0.5]."""
    part = value % 1.0
    return np.minimum(part, 1 - part)
