"""Ray-scene intersection with surface attributes, for path tracing and G-buffers alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unrender.raytrace.packed import read_record
from unrender.raytrace.path_tracer_scene import FACE_STRIDE, TEXEL_STRIDE, PathTracerScene

_LEAST_FACING = 0.01
_OFFSET = 9e-5  # 1500 rounding errors, as Mitsuba's
_PAST = 2e-5  # how far past a surface a ray goes on that was not stopped, per distance and at least
_MOST_LAYERS = 12  # that one ray goes through


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


def ray_intersect(scene: PathTracerScene, ray: Any, *, coherent: bool, active: Any, luck: Any) -> Hit:
    """What `ray` (a Mitsuba Ray3f, unit direction) meets first. `luck` in [0, 1) decides whether a surface that is
    partly there stops it: those that are there by more do."""
    import drjit as dr
    import mitsuba as mi

    met = _first_met(scene, ray, coherent, active, luck)
    valid, b1, b2 = met.valid, met.b1, met.b2
    f = read_record(scene.faces, met.face, FACE_STRIDE, valid)
    b0 = 1 - b1 - b2
    geometric = mi.Normal3f(f[16], f[17], f[18])
    smooth = dr.normalize(mi.Normal3f(*(b0 * f[i] + b1 * f[i + 3] + b2 * f[i + 6] for i in range(3))))
    u, v = (b0 * f[i] + b1 * f[i + 2] + b2 * f[i + 4] for i in (9, 10))
    material = _texels(scene, u, v, valid)
    rising = (mi.Vector3f(f[19], f[20], f[21]), mi.Vector3f(f[22], f[23], f[24]))
    return Hit(
        valid=valid,
        front=valid & (dr.dot(geometric, ray.d) < 0),
        point=dr.fma(ray.d, met.distance, ray.o),
        distance=met.distance,
        geometric=geometric,
        normal=_facing(_bumped(smooth, rising, material[5:7]), -ray.d),
        base_color=mi.Color3f(*material[:3]),
        roughness=material[3],
        metallic=material[4],
        radiance=mi.Color3f(f[25], f[26], f[27]),
        density=f[28],
        face=met.face,
    )


def is_shadowed(scene: PathTracerScene, ray: Any, active: Any, luck: Any) -> Any:
    """Whether `ray` meets anything within its reach; `luck` as in `ray_intersect`."""
    if not scene.sheer:
        return scene.traced.ray_test(ray, active)
    return active & _first_met(scene, ray, False, active, luck).valid


@dataclass
class _Met:
    """What a ray meets: whether anything, how far along, the face, and where on it (barycentric)."""

    valid: Any
    distance: Any
    face: Any
    b1: Any
    b2: Any


def _first_met(scene: PathTracerScene, ray: Any, coherent: bool, active: Any, luck: Any) -> _Met:
    import drjit as dr
    import mitsuba as mi

    if not scene.sheer:
        found = scene.traced.ray_intersect_preliminary(ray, coherent, active=active)
        return _Met(found.is_valid(), found.t, found.prim_index, found.prim_uv.x, found.prim_uv.y)

    def step(layer: Any, seeking: Any, start: Any, met: _Met) -> tuple[Any, Any, Any, _Met]:
        rest = mi.Ray3f(dr.fma(ray.d, start, ray.o), ray.d)
        rest.maxt = ray.maxt - start
        found = scene.traced.ray_intersect_preliminary(rest, coherent, active=seeking)
        valid = seeking & found.is_valid()
        b1, b2 = found.prim_uv.x, found.prim_uv.y
        stops = valid & _stops(scene, ray, found.prim_index, (b1, b2), luck + 0.618034 * mi.Float(layer), valid)
        here = _Met(stops, start + found.t, found.prim_index, b1, b2)
        after = dr.fma(start + found.t, 1 + _PAST, _PAST)
        return layer + 1, valid & ~stops & (layer < _MOST_LAYERS), after, dr.select(stops, here, met)

    width = dr.width(ray.d)
    none = _Met(
        dr.full(mi.Bool, False, width),
        dr.full(mi.Float, dr.inf, width),
        dr.zeros(mi.UInt32, width),
        dr.zeros(mi.Float, width),
        dr.zeros(mi.Float, width),
    )
    seeking = mi.Bool(active) & dr.full(mi.Bool, True, width)
    state = (dr.zeros(mi.UInt32, width), seeking, dr.zeros(mi.Float, width), none)
    return dr.while_loop(state, lambda _, seeking, *__: seeking, step, label="through what is sheer")[3]


def _stops(scene: PathTracerScene, ray: Any, face: Any, place: tuple[Any, Any], luck: Any, active: Any) -> Any:
    """Whether a face stops a ray: its front where it is there by more than chance asks, its back where it is solid."""
    import drjit as dr
    import mitsuba as mi

    f = read_record(scene.faces, face, FACE_STRIDE, active)
    b1, b2 = place
    b0 = 1 - b1 - b2
    u, v = (b0 * f[i] + b1 * f[i + 2] + b2 * f[i + 4] for i in (9, 10))
    there = _texels(scene, u, v, active)[7]
    front = dr.dot(mi.Vector3f(f[16], f[17], f[18]), ray.d) < 0
    return (there > 0.999) | (front & (there > luck - dr.floor(luck)))


def spawn_ray(hit: Hit, direction: Any) -> Any:
    """A ray from the surface in `direction`, its origin offset along the normal."""
    import drjit as dr
    import mitsuba as mi

    reach = _OFFSET * (1 + dr.max(dr.abs(hit.point)))
    side = dr.mulsign(mi.Vector3f(hit.geometric), dr.dot(hit.geometric, direction))
    return mi.Ray3f(dr.fma(side, reach, hit.point), direction)


def _texels(scene: PathTracerScene, u: Any, v: Any, active: Any) -> list[Any]:
    """The atlas at (u, v), bilinear between texel centres, its edge texels repeated: 8 numbers."""
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
    a, b, c, d = ([texel[i] for i in range(TEXEL_STRIDE)] for texel in four)
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
