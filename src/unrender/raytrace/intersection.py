"""Ray-scene intersection with surface attributes, for path tracing and G-buffers alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unrender.raytrace.packed import read_record
from unrender.raytrace.path_tracer_scene import FACE_STRIDE, TEXEL_STRIDE, PathTracerScene

_LEAST_FACING = 0.01
_OFFSET = 9e-5  # 1500 rounding errors, as Mitsuba's


@dataclass(frozen=True)
class Hit:
    """A point of the surface; Dr.Jit arrays, all of them meaningless where `valid` is not set.

    Attributes:
        valid: whether the ray hit anything.
        front: whether it hit a front side; backs are black.
        point: world position.
        distance: how far along the ray.
        geometric: unit normal of the face.
        normal: unit shading normal, bumps included; turned to face the ray where it would face away.
        base_color, roughness, metallic: the material.
        radiance, density: emitted radiance of the face, and its sampling density per area among the emitters.
        face: index.
    """

    valid: Any
    front: Any
    point: Any
    distance: Any
    geometric: Any
    normal: Any
    base_color: Any
    roughness: Any
    metallic: Any
    radiance: Any
    density: Any
    face: Any


def ray_intersect(scene: PathTracerScene, ray: Any, *, coherent: bool, active: Any) -> Hit:
    """What `ray` (a Mitsuba Ray3f, unit direction) meets first."""
    import drjit as dr
    import mitsuba as mi

    found = scene.traced.ray_intersect_preliminary(ray, coherent, active=active)
    valid = found.is_valid()
    f = read_record(scene.faces, found.prim_index, FACE_STRIDE, valid)
    b1, b2 = found.prim_uv.x, found.prim_uv.y
    b0 = 1 - b1 - b2
    geometric = mi.Normal3f(f[16], f[17], f[18])
    smooth = dr.normalize(mi.Normal3f(*(b0 * f[i] + b1 * f[i + 3] + b2 * f[i + 6] for i in range(3))))
    u, v = (b0 * f[i] + b1 * f[i + 2] + b2 * f[i + 4] for i in (9, 10))
    material = _texels(scene, u, v, valid)
    rising = (mi.Vector3f(f[19], f[20], f[21]), mi.Vector3f(f[22], f[23], f[24]))
    return Hit(
        valid=valid,
        front=valid & (dr.dot(geometric, ray.d) < 0),
        point=dr.fma(ray.d, found.t, ray.o),
        distance=found.t,
        geometric=geometric,
        normal=_facing(_bumped(smooth, rising, material[5:7]), -ray.d),
        base_color=mi.Color3f(*material[:3]),
        roughness=material[3],
        metallic=material[4],
        radiance=mi.Color3f(f[25], f[26], f[27]),
        density=f[28],
        face=found.prim_index,
    )


def spawn_ray(hit: Hit, direction: Any) -> Any:
    """A ray from the surface in `direction`, its origin offset along the normal."""
    import drjit as dr
    import mitsuba as mi

    reach = _OFFSET * (1 + dr.max(dr.abs(hit.point)))
    side = dr.mulsign(mi.Vector3f(hit.geometric), dr.dot(hit.geometric, direction))
    return mi.Ray3f(dr.fma(side, reach, hit.point), direction)


def _texels(scene: PathTracerScene, u: Any, v: Any, active: Any) -> list[Any]:
    """The atlas at (u, v), bilinear between texel centres, its edge texels repeated: 7 numbers."""
    import drjit as dr
    import mitsuba as mi

    width, height = scene.atlas_size
    x, y = (dr.fma(t, mi.Float(n), -0.5) for t, n in ((u, width), (v, height)))
    x0, y0 = dr.floor(x), dr.floor(y)
    wx, wy = x - x0, y - y0
    columns, rows = (
        [mi.UInt32(mi.Int32(dr.clip(t + i, 0, mi.Float(n) - 1))) for i in (0, 1)]
        for t, n in ((x0, width), (y0, height))
    )
    four = [read_record(scene.atlas, row * width + column, TEXEL_STRIDE, active) for row in rows for column in columns]
    a, b, c, d = ([texel[i] for i in range(TEXEL_STRIDE - 1)] for texel in four)
    return [dr.lerp(dr.lerp(p, q, wx), dr.lerp(r, s, wx), wy) for p, q, r, s in zip(a, b, c, d, strict=True)]


def _bumped(normal: Any, rising: tuple[Any, Any], slope: list[Any]) -> Any:
    """`normal` of a surface that rises by `slope` along u and v: it leans away from where the height grows."""
    import drjit as dr

    for towards, rise in zip(rising, slope, strict=True):
        flat = towards - normal * dr.dot(normal, towards)
        normal = normal - flat * rise * dr.rsqrt(dr.maximum(dr.squared_norm(flat), 1e-12))
    return dr.normalize(normal)


def _facing(normal: Any, view: Any) -> Any:
    """`normal`, turned towards `view` just far enough to face it: a back-facing shading normal would be black."""
    import drjit as dr

    facing = dr.dot(normal, view)
    return dr.normalize(normal + view * dr.maximum(_LEAST_FACING - facing, 0))
