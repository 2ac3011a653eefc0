"""K environment maps as one table: one importance distribution for all of them, and all radiances by one look-up.

The bilinear look-up of `scene.environment.sample` is read as a sum of tents, one a texel. A direction picks one of the
four tents that reach it, with their weights as probabilities; a light sample picks a texel and a point under its tent.
So each sample costs one texel, the expectation is the bilinear one, and the tent's height cancels in every ratio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrender.errors import UserError
from unrender.raytrace.packed import opaque, read_record
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles

_TINY = 1e-20


@dataclass(frozen=True)
class LightTable:
    """The lights as Dr.Jit arrays.

    Attributes:
        texels: (H * W * stride,) rgb of each light, then the texel's sampling factor; see `density`.
        rows, columns: cumulative probabilities, (H,) and within each row (H * W,).
        size: (H, W) in texels.
        count: K.
    """

    texels: Any
    rows: Any
    columns: Any
    size: tuple[int, int]
    count: int

    @property
    def stride(self) -> int:
        """Numbers a texel: rgb of each light and one more, up to a multiple of four."""
        return (3 * self.count + 4) // 4 * 4


def light_table(lights: Sequence[EnvironmentMap], openings: np.ndarray | None = None) -> LightTable:
    """The table of the first frames of `lights`; UserError where there are none, or their sizes differ.

    Texels are sampled by the mean of the lights' luminances, each divided by its own mean, times solid angle; and, with
    `openings` (N, 3), outward normals times areas, times the area of windows that is seen from their direction.
    """
    import mitsuba as mi

    sizes = {light.size for light in lights}
    if len(sizes) != 1:
        listed = ", ".join(f"{h} x {w}" for h, w in sorted(sizes)) or "none at all"
        raise UserError(f"lights of the sizes {listed}; expected one or more of one size (EnvironmentMap.resized)")
    height, width = sizes.pop()
    weight = np.zeros((height, width))
    seen = 1.0 if openings is None or len(openings) == 0 else _seen_openings((height, width), openings)
    for light in lights:
        part = (luminance(light.radiance[:1])[0, 0] * texel_solid_angles(light.size)).double().numpy() * seen
        weight += part / max(part.sum(), _TINY)
    probability = weight / weight.sum() if weight.sum() > 0 else np.full_like(weight, 1 / weight.size)
    row = probability.sum(1)
    columns = np.cumsum(probability / np.maximum(row, _TINY)[:, None], 1)

    table = LightTable(None, None, None, (height, width), len(lights))
    texels = np.zeros((height, width, table.stride), np.float32)
    for k, light in enumerate(lights):
        texels[..., 3 * k : 3 * k + 3] = light.radiance[0].permute(1, 2, 0).numpy()
    texels[..., 3 * len(lights)] = probability * (weight.size / (2 * math.pi**2))
    arrays = [opaque(mi.Float, np.ravel(values)) for values in (texels, np.cumsum(row), columns)]
    return LightTable(*arrays, (height, width), len(lights))


def _seen_openings(size: tuple[int, int], openings: np.ndarray) -> np.ndarray:
    """How much area of windows each texel's direction sees from outside, (H, W)."""
    facing = texel_directions(size).double().numpy() @ openings.T
    return np.maximum(facing, 0).sum(-1)


def draw(table: LightTable, point: tuple[Any, Any]) -> tuple[Any, Any, Any]:
    """A light sample from `point` in [0, 1)^2: the texel's index, a unit world direction, and 1 / sin of its polar
    angle."""
    import mitsuba as mi

    height, width = table.size
    row, down = _invert(table.rows, mi.UInt32(0), height, point[0])
    column, across = _invert(table.columns, row * width, width, point[1])
    return row * width + column, *under_tent(table.size, (row, column), (down, across))


def under_tent(size: tuple[int, int], texel: tuple[Any, Any], point: tuple[Any, Any]) -> tuple[Any, Any]:
    """A unit world direction under the tent of `texel` (row, column) of a map of `size`, by `point` in [0, 1)^2, and
    1 / sin of its polar angle: distributed as the tent is, in (u, v)."""
    import drjit as dr
    import mitsuba as mi

    (height, width), (row, column) = size, texel
    v = dr.abs((mi.Float(row) + 0.5 + _tent(point[0])) / height)  # beyond a pole the outermost row is repeated
    v = dr.select(v > 1, 2 - v, v)
    u = (mi.Float(column) + 0.5 + _tent(point[1])) / width
    sin_phi, cos_phi = dr.sincos(2 * math.pi * u)
    sin_theta, cos_theta = dr.sincos(math.pi * v)
    direction = mi.Vector3f(sin_phi * sin_theta, cos_theta, -cos_phi * sin_theta)
    return direction, dr.rcp(dr.maximum(sin_theta, 1e-6))


def texel_towards(size: tuple[int, int], direction: Any, point: tuple[Any, Any]) -> tuple[Any, Any]:
    """One of the four texels that light from `direction` is interpolated from in a map of `size`, by `point` in
    [0, 1)^2, and 1 / sin."""
    import drjit as dr
    import mitsuba as mi

    height, width = size
    sin_theta = dr.sqrt(dr.square(direction.x) + dr.square(direction.z))
    x = dr.atan2(direction.x, -direction.z) * (width / (2 * math.pi)) + (width - 0.5)
    y = dr.atan2(sin_theta, direction.y) * (height / math.pi) - 0.5
    column = mi.UInt32(dr.floor(x + (1 - point[0]))) % width
    row = mi.UInt32(mi.Int32(dr.clip(dr.floor(y + (1 - point[1])), 0, height - 1)))
    return row * width + column, dr.rcp(dr.maximum(sin_theta, 1e-6))


def look_up(table: LightTable, texel: Any, active: Any) -> tuple[list[Any], Any]:
    """Each light's radiance (K rgb) in `texel`, and the factor that, times 1 / sin, is its `density`.

    The density per steradian is that of sampling this texel and a direction, divided by the height of the texel's tent
    there: to be compared with another density of the direction alone, which `texel_towards` gives the same factor.
    """
    import mitsuba as mi

    values = read_record(table.texels, texel, table.stride, active)
    radiance = [mi.Color3f(values[3 * k], values[3 * k + 1], values[3 * k + 2]) for k in range(table.count)]
    return radiance, values[3 * table.count]


def _invert(cumulative: Any, start: Any, count: int, x: Any) -> tuple[Any, Any]:
    """Which of `count` steps from `start` on reaches `x`, and where in the step x lies, [0, 1)."""
    import drjit as dr
    import mitsuba as mi

    index = dr.binary_search(0, count - 1, lambda i: dr.gather(mi.Float, cumulative, start + i) <= x)
    end = dr.gather(mi.Float, cumulative, start + index)
    begin = dr.select(index > 0, dr.gather(mi.Float, cumulative, start + index - 1, index > 0), 0)
    return index, dr.clip((x - begin) / dr.maximum(end - begin, _TINY), 0, 1)


def _tent(x: Any) -> Any:
    """Uniform [0, 1) to a tent on [-1, 1]."""
    import drjit as dr

    return dr.select(x < 0.5, dr.safe_sqrt(2 * x) - 1, 1 - dr.safe_sqrt(2 - 2 * x))
