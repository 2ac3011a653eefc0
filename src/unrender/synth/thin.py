"""Thin things: rods, wires, branches, leaves and fences; about 1 unit large, standing on y = 0 more or less."""

from __future__ import annotations

import numpy as np

from unrender.raytrace.mesh import Array, Mesh, merge, transformed
from unrender.synth.furniture import board
from unrender.synth.placement import any_rotation, posed
from unrender.synth.shapes import displaced_sphere, tube

Random = np.random.Generator


def rods(rng: Random) -> Mesh:
    """A few sticks, pens or spoons' handles, lying and leaning."""
    parts = []
    for _ in range(int(rng.integers(2, 8))):
        radius, length = rng.uniform(0.006, 0.03), rng.uniform(0.4, 1.0)
        path = np.stack((np.linspace(-length, length, 8), np.zeros(8), np.zeros(8)), 1)
        rod = tube(path, np.full(8, radius) * rng.uniform(0.6, 1.0, 8).clip(0.8), 10)
        parts.append(transformed(rod, posed(any_rotation(rng), 1.0, rng.uniform(-0.4, 0.4, 3))))
    return merge(parts)


def wire(rng: Random) -> Mesh:
    """A cable in waves and coils, in a plane that is then tipped."""
    t = np.linspace(0, 1, 90)
    turns, reach = rng.uniform(0.5, 3.0), rng.uniform(0.2, 0.6)
    path = np.stack(
        (2 * t - 1 + reach * np.cos(2 * np.pi * turns * t), reach * np.sin(2 * np.pi * turns * t), 0 * t), 1
    )
    return transformed(tube(path, np.full(90, rng.uniform(0.008, 0.025)), 10), posed(any_rotation(rng)))


def plant(rng: Random) -> Mesh:
    """A stem that forks, with leaves."""
    parts: list[Mesh] = []
    leaf = _leaf(rng)
    _grow(rng, parts, leaf, np.zeros(3), np.array([0.0, 1.0, 0.0]), 0.55, int(rng.integers(2, 4)))
    return merge(parts)


def fence(rng: Random) -> Mesh:
    """Upright and lying bars."""
    count, high, thick = int(rng.integers(6, 20)), rng.uniform(0.4, 0.8), rng.uniform(0.006, 0.02)
    xs = np.linspace(-1, 1, count)
    parts = [board((float(x), high / 2, 0), (thick, high / 2, thick)) for x in xs]
    parts += [board((0, high * y, 0), (1.0, thick, thick)) for y in (0.15, 0.85)]
    return merge(parts)


def _grow(rng: Random, parts: list[Mesh], leaf: Mesh, start: Array, along: Array, length: float, depth: int) -> None:
    end = start + along * length
    parts.append(_stick(start, end, 0.035 * length))
    for _ in range(int(rng.integers(2, 4)) if depth else int(rng.integers(2, 5))):
        bent = along + rng.normal(size=3) * (0.6 if depth else 1.0)
        bent /= np.linalg.norm(bent)
        if depth:
            _grow(rng, parts, leaf, start + (end - start) * rng.uniform(0.6, 1.0), bent, length * 0.65, depth - 1)
        else:
            pose = posed(any_rotation(rng), rng.uniform(0.6, 1.2), end + 0.03 * bent)
            parts.append(transformed(leaf, pose))


def _stick(start: Array, end: Array, radius: float) -> Mesh:
    length = float(np.linalg.norm(end - start))
    path = np.stack((np.linspace(0, length, 3), np.zeros(3), np.zeros(3)), 1)
    mesh = tube(path, np.full(3, radius), 8)
    x = (end - start) / max(length, 1e-9)
    other = np.array([0.0, 0.0, 1.0]) if abs(x[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    y = np.cross(other, x)
    y /= np.linalg.norm(y)
    return transformed(mesh, posed(np.stack((x, y, np.cross(x, y)), 1), 1.0, start))


def _leaf(rng: Random) -> Mesh:
    ball = displaced_sphere(lambda d: np.ones(d.shape[:-1]), 7, 10)
    half = np.array([rng.uniform(0.05, 0.14), 0.006, rng.uniform(0.02, 0.08)])
    return Mesh((ball.vertices + [1, 0, 0]) * half, ball.uv, ball.faces)
