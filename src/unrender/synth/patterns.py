"""Procedural patterns: fields over a texture that choose between two colours, two roughnesses, or heights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Random = np.random.Generator


def fbm(rng: Random, size: int, slope: float = 1.8, low: float = 1.0, stretch: float = 1.0) -> Array:
    """Periodic fractal noise, (size, size) float32 in [0, 1], flat histogram tails: spectrum 1 / f^slope above `low`
    cycles, `stretch` times as fast across as down."""
    fy = np.fft.fftfreq(size, 1 / size).astype(np.float32)[:, None]
    fx = np.fft.rfftfreq(size, 1 / size).astype(np.float32)[None] * np.float32(stretch)
    f2 = np.maximum(fx * fx + fy * fy, np.float32(low * low))
    amplitude = f2 ** np.float32(-slope / 2)
    amplitude[0, 0] = 0
    # Gaussian coefficients: a stationary Gaussian field, and cheaper than exp(i phase).
    spectrum = np.empty(f2.shape, np.complex64)
    spectrum.real = amplitude * rng.standard_normal(f2.shape, np.float32)
    spectrum.imag = amplitude * rng.standard_normal(f2.shape, np.float32)
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return np.clip(0.5 + noise / (4 * noise.std()), 0, 1)


def plain(rng: Random, size: int) -> Array:
    """One value all over."""
    return np.full((size, size), rng.random(), np.float32)


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
    return ((np.floor(x * n) + np.floor(y * m)) % 2).astype(np.float32)


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
    from scipy.ndimage import zoom
    from scipy.spatial import KDTree

    # Evaluated at no more than 256 x 256 points: the nearest-neighbour search dominates the time.
    grain = max(1, size // 256)
    y, x = _grid(size // grain)
    points = rng.random((int(rng.integers(15, 250)), 2))
    distance, index = KDTree(points, boxsize=1.0).query(np.stack((x, y), -1).reshape(-1, 2), k=2)
    kind = rng.integers(3)
    if kind == 0:
        value = rng.random(len(points))[index[:, 0]]
    elif kind == 1:
        value = np.clip((distance[:, 1] - distance[:, 0]) * np.sqrt(len(points)) * 4, 0, 1)
    else:
        value = np.clip((0.4 - distance[:, 0] * np.sqrt(len(points))) * 8, 0, 1)
    return zoom(value.reshape(x.shape), grain, order=1, mode="grid-wrap", grid_mode=True)


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


def tiles(rng: Random, size: int) -> Array:
    """Square, long or hexagonal tiles of nearly one tone between joints of 0."""
    y, x = _grid(size)
    rows = int(rng.integers(2, 11))
    gap = rng.uniform(0.02, 0.06)
    if rng.random() < 0.25:
        return np.where(_to_hexagon(x * 2 * rows, y * rows) < gap, 0.0, 0.9)
    columns = rows if rng.random() < 0.6 else max(1, rows // 2)
    tone = rng.random((rows, columns))[(y * rows).astype(int), (x * columns).astype(int)]
    joint = np.minimum(_to_edge(x * columns) * rows / columns, _to_edge(y * rows)) < gap
    return np.where(joint, 0.0, 0.75 + rng.choice([0.0, 0.05, 0.25]) * tone)


def woven(rng: Random, size: int) -> Array:
    """Ribbons over and under each other."""
    y, x = _grid(size)
    n = int(rng.integers(2, 12)) * 2
    over = (np.floor(x * n) + np.floor(y * n)) % 2 == 0
    across, along = (x * n) % 1 - 0.5, (y * n) % 1 - 0.5
    bulge = np.where(over, np.cos(np.pi * along), np.cos(np.pi * across))
    side = np.where(over, np.abs(across), np.abs(along))
    return bulge * np.clip((0.48 - side) * 12, 0, 1)


PATTERNS: dict[str, tuple[Callable[[Random, int], Array], float]] = {
    "plain": (plain, 4.0),
    "cloudy": (cloudy, 2.5),
    "marble": (marble, 1.2),
    "checked": (checker, 0.8),
    "striped": (stripes, 1.0),
    "wooden": (wood, 2.0),
    "scratched": (scratched, 1.0),
    "tiled": (tiles, 1.2),
    "spotted": (spots, 2.0),
    "brick": (bricks, 2.0),
    "woven": (woven, 1.5),
}
"""Every pattern with its sampling weight: (size, size), about [0, 1], 0 the first colour and 1 the second."""

HELD_OUT = ("spotted", "brick", "woven")
"""Patterns that training never sees; the test split samples its patterns from these and plain ones."""


def _grid(size: int) -> tuple[Array, Array]:
    """Texel centres (y, x), each (size, size) in (0, 1)."""
    ticks = ((np.arange(size) + 0.5) / size).astype(np.float32)
    y, x = np.meshgrid(ticks, ticks, indexing="ij")
    return y, x


def _to_edge(value: Array) -> Array:
    """Distance to the nearest integer, [0, 0.5]."""
    part = value % 1.0
    return np.minimum(part, 1 - part)


def _to_hexagon(x: Array, y: Array) -> Array:
    """Distance to the sides of hexagons of unit width, [0, 0.5]: centres on two lattices of cells 1 wide and, in `y`,
    1 high, which stands for sqrt(3)."""
    inside = []
    for shift in (0.0, 0.5):
        a, b = np.abs((x + shift) % 1 - 0.5), np.abs((y + shift) % 1 - 0.5) * np.float32(3**0.5)
        inside.append(0.5 - np.maximum(a, a / 2 + b * np.float32(3**0.5 / 2)))
    return np.maximum(*inside)
