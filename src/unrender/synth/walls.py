"""Walls with rectangular holes, their reveals, and the frames and bars of windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from unrender.raytrace.mesh import Mesh
from unrender.synth.shapes import plain_box


@dataclass(frozen=True)
class Wall:
    """A wall in its own plane: x along it from 0 to `length`, y up, seen from +z; `turn` is its side of the room."""

    length: float
    height: float
    thickness: float
    holes: tuple[tuple[float, float, float, float], ...]  # left, bottom, right, top


def wall_mesh(wall: Wall) -> Mesh:
    """The wall's face with its holes, and their reveals, which extend behind it."""
    xs = np.unique([0.0, wall.length, *(x for hole in wall.holes for x in (hole[0], hole[2]))])
    ys = np.unique([0.0, wall.height, *(y for hole in wall.holes for y in (hole[1], hole[3]))])
    quads = []
    for x0, x1 in pairwise(xs):
        for y0, y1 in pairwise(ys):
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            if not any(a < x < c and b < y < d for a, b, c, d in wall.holes):
                quads.append([[x0, y0, 0], [x1, y0, 0], [x1, y1, 0], [x0, y1, 0]])
    deep = -wall.thickness
    for a, b, c, d in wall.holes:
        quads.append([[a, b, deep], [c, b, deep], [c, b, 0], [a, b, 0]])  # sill, facing up
        quads.append([[a, d, 0], [c, d, 0], [c, d, deep], [a, d, deep]])  # facing down
        quads.append([[a, b, deep], [a, b, 0], [a, d, 0], [a, d, deep]])  # facing right
        quads.append([[c, b, 0], [c, b, deep], [c, d, deep], [c, d, 0]])  # facing left
    vertices = np.array(quads, float).reshape(-1, 3)
    # The reveals continue the texture round the corner.
    uv = vertices[:, :2] + vertices[:, 2:] * 0.5
    uv = np.clip(uv, 0, [wall.length, wall.height]) / max(wall.length, wall.height)
    start = 4 * np.arange(len(quads))[:, None]
    faces = np.concatenate((start + [0, 1, 2], start + [0, 2, 3]))
    return Mesh(vertices, uv * [1, -1] + [0, 1], faces)


def window_bars(hole: tuple[float, float, float, float], count: tuple[int, int], thickness: float) -> list[Mesh]:
    """A frame round a window and `count` bars (upright, lying) across it, half way through the wall."""
    a, b, c, d = hole
    thin, z = 0.03, -thickness / 2
    upright = [a + thin, c - thin, *np.linspace(a, c, count[0] + 2)[1:-1]]
    lying = [b + thin, d - thin, *np.linspace(b, d, count[1] + 2)[1:-1]]
    bars = [plain_box((float(x), (b + d) / 2, z), (thin, (d - b) / 2, thin)) for x in upright]
    return bars + [plain_box(((a + c) / 2, float(y), z), ((c - a) / 2, thin, thin)) for y in lying]
