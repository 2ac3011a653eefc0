"""Placement: rotations, poses, and positions without intersections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unrender.raytrace.mesh import Array

Random = np.random.Generator

_ANGLES = np.arange(8) * np.pi / 8
_DIRECTIONS = np.stack((np.sin(_ANGLES), 0 * _ANGLES, np.cos(_ANGLES)), 1)
GAP = 0.02
"""The least distance between two things that stand beside each other."""


@dataclass(frozen=True)
class Extent:
    """How far a thing reaches along eight horizontal directions, 22.5 degrees apart, and along +Y.

    Two bodies that do not overlap along one direction do not intersect (separating axis), so `apart` is never true for
    intersecting things. It may be false for separate ones: a cup under a table's edge, say.

    Attributes:
        low: (9,) least coordinates.
        high: (9,) greatest.
    """

    low: Array
    high: Array

    @staticmethod
    def of(vertices: Array) -> Extent:
        """The extent of points (N, 3)."""
        x, y, z = vertices.T
        along = [x * right + z * back for right, _, back in _DIRECTIONS] + [y]
        return Extent(np.array([values.min() for values in along]), np.array([values.max() for values in along]))

    def moved(self, offset: Array) -> Extent:
        """The extent of the same thing moved by `offset` (3,)."""
        shift = np.append(_DIRECTIONS @ offset, offset[1])
        return Extent(self.low + shift, self.high + shift)

    def apart(self, other: Extent) -> bool:
        """Whether a plane separates the two: vertical, with `GAP` between them, or horizontal, touching."""
        between = np.maximum(self.low - other.high, other.low - self.high)
        return bool((between[:8] >= GAP).any() or between[8] >= -1e-9)


def free_spot(rng: Random, extent: Extent, taken: Sequence[Extent]) -> Array:
    """A random offset (3,) along y = 0 that moves `extent` clear of all of `taken`, near the first of them."""
    if not taken:
        return np.zeros(3)
    first = taken[0]
    middle = (first.low[[4, 0]] + first.high[[4, 0]]) / 2
    reach = 0.42 * float((first.high - first.low)[:8].max() + (extent.high - extent.low)[:8].max())
    while True:
        angle, distance = rng.uniform(0, 2 * np.pi), reach * rng.uniform(1.0, 1.4)
        offset = np.array([middle[0] + distance * np.sin(angle), 0.0, middle[1] + distance * np.cos(angle)])
        moved = extent.moved(offset)
        if all(moved.apart(other) for other in taken):
            return offset
        reach *= 1.05


def posed(rotation: Array, scale: float = 1.0, position: Array | Sequence[float] = (0.0, 0.0, 0.0)) -> Array:
    """The pose (4, 4) that turns by `rotation` (3, 3), scales, then moves."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation * scale, position
    return pose


def about_y(angle: float) -> Array:
    """The rotation (3, 3) by `angle` radians about +Y, right-handed."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def any_rotation(rng: Random) -> Array:
    """A uniformly random rotation (3, 3) from a random quaternion (Shoemake 1992)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
