"""One pass of path tracing that gives the picture under each of K lights, and the irradiance under each.

Camera paths do not depend on the light, so they are traced once. Light samples come from one distribution, the mean of
the lights', and are combined with BSDF samples by multiple importance sampling; each then counts for all K
lights. Every lane of the kernel traces one pixel's paths one after another and begins the next as soon as one ends, so
that no lane waits for the longest path of its neighbours, and only sums per pixel leave the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.raytrace import light_table, principled, sequences
from unrender.raytrace.intersection import Hit, is_shadowed, ray_intersect, spawn_ray
from unrender.raytrace.light_table import LightTable
from unrender.raytrace.packed import opaque, read_record
from unrender.raytrace.path_tracer_scene import EMITTER_SLOTS, EMITTER_STRIDE, PathTracerScene
from unrender.raytrace.principled import PrincipledBsdf
from unrender.raytrace.rays import CameraRays, camera_rays, tiled
from unrender.scene.environment import EnvironmentMap

_COSINE_SHARE = 0.25  # of the first bounce: irradiance needs the whole hemisphere, even on a mirror
_SALTS = (0x3C6EF372, 0x5BE0CD19, 0x1F83D9AB)  # of the three pairs of random numbers of a path vertex


@dataclass(frozen=True)
class LitFrame:
    """A frame under K lights.

    Attributes:
        rgb: (K, 3, H, W) linear radiance, the light itself where nothing is hit.
        irradiance: (K, 3, H, W) linear diffuse irradiance E = integral of L cos at what the pixel sees, about its
            shading normal, not divided by pi; shadows and interreflection included. The mean over the part of the
            pixel that the surface covers, zero where nothing is hit.
        coverage: (1, 1, H, W) in [0, 1], the share of the pixel's paths that hit a surface.
    """

    rgb: Tensor
    irradiance: Tensor
    coverage: Tensor


@dataclass(frozen=True)
class _Task:
    """The kernel's inputs, the same at every path vertex; Dr.Jit arrays of one number, or of one for each lane."""

    scene: PathTracerScene
    table: LightTable
    rays: CameraRays
    pixel: Any
    samples: Any
    max_depth: Any
    lane_seed: Any
    roughness: Any
    background: Any
    seen_faces: Any


@dataclass
class _Sums:
    """Per pixel: for each light, the radiance and irradiance that it gives; those of emitters; and hits."""

    rgb: list[Any]
    irradiance: list[Any]
    emitter_rgb: Any
    emitter_irradiance: Any
    hits: Any


@dataclass
class _Path:
    """State of a lane: sample and vertex, the next ray, throughputs of picture and irradiance, density of the ray."""

    sample: Any
    depth: Any
    origin: Any
    direction: Any
    weight: Any
    diffuse_weight: Any
    density: Any


@dataclass(frozen=True)
class _LightSample:
    """A sampled direction to a light; `radiance` is that of an area emitter, zero for the environment."""

    texel: Any
    direction: Any
    reach: Any
    on_emitter: Any
    radiance: Any
    density: Any
    over_sine: Any


def render_lights(
    scene: PathTracerScene,
    lights: Sequence[EnvironmentMap],
    *,
    samples: int,
    seed: int,
    emitters: Sequence[float] | None = None,
    indirect_roughness: float = 0.0,
    openings: np.ndarray | None = None,
    seen_faces: int | None = None,
) -> LitFrame:
    """Path traces `scene` once under each of `lights`.

    Args:
        scene: from `build_path_tracer_scene`.
        lights: K environment maps of one size, the first frame of each.
        samples: paths a pixel; powers of two are best spread.
        seed: of the random numbers; the same seed gives the same frame.
        emitters: factors on the scene's own area emitters under each light, 1 by default.
        indirect_roughness: the least roughness of surfaces that are seen indirectly. 0 is exact; 0.3 spreads the
            caustics of polished surfaces, whose few bright paths are fireflies, and keeps their energy.
        openings: (N, 3) outward normal times area of the windows that the lights come in by; they change where light
            is sampled, and so the noise, but not the expectation. None or no rows: light comes from all around.
        seen_faces: the camera sees the first so many faces alone, neither others, which hide, light and shade them all
            the same, nor the light itself: rgb is the radiance of those faces, multiplied by their coverage. None for
            all faces, before the light.

    Raises:
        UserError: no lights or lights of several sizes; another number of emitters than of lights.
    """
    import mitsuba as mi

    if emitters is not None and len(emitters) != len(lights):
        raise UserError(f"{len(emitters)} emitter factors for {len(lights)} lights; expected one for each")
    order = tiled(scene.camera.size)
    pixel = opaque(mi.UInt32, order)
    task = _Task(
        scene=scene,
        table=light_table.light_table(lights, openings),
        rays=camera_rays(scene.camera),
        pixel=pixel,
        samples=opaque(mi.UInt32, samples),
        max_depth=opaque(mi.UInt32, scene.max_depth),
        lane_seed=sequences.hashed(opaque(mi.UInt32, seed)) + pixel,
        roughness=opaque(mi.Float, indirect_roughness),
        background=opaque(mi.Float, float(seen_faces is None)),
        seen_faces=opaque(mi.UInt32, len(scene.surface.faces) if seen_faces is None else seen_faces),
    )
    sums = _trace(task)
    factors = np.ones(len(lights)) if emitters is None else np.asarray(emitters)
    return _frame(sums, order, scene.camera.size, samples, factors)


def _trace(task: _Task) -> _Sums:
    import drjit as dr
    import mitsuba as mi

    lanes, count = dr.width(task.pixel), task.table.count
    black = [dr.zeros(mi.Color3f, lanes) for _ in range(2 * count + 2)]
    sums = _Sums(black[:count], black[count:-2], black[-2], black[-1], dr.zeros(mi.Float, lanes))
    _, sums = dr.while_loop(
        (_begin(task, dr.zeros(mi.UInt32, lanes)), sums),
        lambda path, sums: path.sample < task.samples,
        lambda path, sums: _step(task, path, sums),
        label="paths under all lights",
    )
    dr.eval(sums)
    return sums


def _begin(task: _Task, sample: Any) -> _Path:
    import mitsuba as mi

    rays = task.rays
    direction = rays.direction(task.pixel, sequences.scrambled_pair(sample, sequences.hashed(task.lane_seed)))
    one = mi.Color3f(1)
    return _Path(sample, mi.UInt32(0), mi.Point3f(rays.origin), direction, one, mi.Color3f(one), mi.Float(1))


def _step(task: _Task, path: _Path, sums: _Sums) -> tuple[_Path, _Sums]:
    """One path vertex: intersects, adds the light that arrives there, and continues or begins the next path."""
    import drjit as dr
    import mitsuba as mi

    scene, first = task.scene, path.depth == 0
    vertex_seed = task.lane_seed + 0x632BE5AB * (1 + path.depth)
    for_light, for_bounce, (lobe, kind) = (
        sequences.scrambled_pair(path.sample, sequences.hashed(vertex_seed ^ salt)) for salt in _SALTS
    )
    luck = sequences.uniform(sequences.hashed(vertex_seed) + path.sample)
    passing = sequences.uniform(sequences.hashed(vertex_seed ^ _SALTS[0]) + path.sample)
    ray = mi.Ray3f(path.origin, path.direction)
    hit = ray_intersect(scene, ray, coherent=False, active=path.sample < task.samples, luck=passing)
    rough = dr.select(first, hit.roughness, dr.maximum(hit.roughness, task.roughness))
    material = (hit.base_color, rough, hit.metallic)
    at = principled.bsdf(hit.normal, -path.direction, material, dr.select(first, _COSINE_SHARE, 0), scene.shading)
    seen = ~first | (hit.face < task.seen_faces)
    shaded = hit.front & seen & (path.depth + 1 < task.max_depth)

    sums.emitter_rgb, sums.emitter_irradiance = (
        total + glow
        for total, glow in zip(
            (sums.emitter_rgb, sums.emitter_irradiance), _emitted(scene, (hit, seen), path), strict=True
        )
    )
    _gather(task, path, (hit, at, shaded), _sample_emitter(task, hit, for_light, kind), for_light, sums)
    sums.hits = sums.hits + dr.select(first & hit.valid & seen, 1.0, 0.0)
    bounced, alive = _sample_bsdf(path, hit, at, for_bounce, (lobe, luck))
    return dr.select(shaded & alive, bounced, _begin(task, path.sample + 1)), sums


def _gather(
    task: _Task,
    path: _Path,
    here: tuple[Hit, PrincipledBsdf, Any],
    aim: _LightSample,
    point: tuple[Any, Any],
    sums: _Sums,
) -> None:
    """Adds to `sums` the lights' contribution at this vertex, or to a path that has left the scene.

    A lane does one or the other, so that one texel of the lights serves both.
    """
    import drjit as dr
    import mitsuba as mi

    (hit, at, shaded), first, black = here, path.depth == 0, mi.Color3f(0)
    texel, over_sine = light_table.texel_towards(task.table.size, path.direction, point)
    texel = dr.select(hit.valid, aim.texel, texel)
    radiance, factor = light_table.look_up(task.table, texel, ~hit.valid | shaded)
    factor = factor * (1 - task.scene.emitters.share)
    found = path.weight * _mis_weight(path, factor * over_sine) * dr.select(first, task.background, 1)
    found_diffuse = dr.select(first, black, path.diffuse_weight * _mis_weight(path, factor * over_sine))

    value, density, cosine = principled.evaluate(at, aim.direction)
    aimed = dr.select(aim.on_emitter, aim.density, factor * aim.over_sine)
    worth = shaded & (cosine > 0) & (aimed > 0)
    shadow = spawn_ray(hit, aim.direction)
    shadow.maxt = aim.reach
    # The same chance as for the path's own ray, turned: sheets between here and the light are others.
    lit = worth & ~is_shadowed(task.scene, shadow, worth, point[0] + 0.5)
    share = dr.select(lit, dr.rcp(dr.maximum(aimed + density, 1e-20)), 0)
    direct = path.weight * value * share
    diffuse = path.diffuse_weight * dr.select(first, mi.Color3f(cosine), value) * share

    to_sky = dr.select(hit.valid, dr.select(aim.on_emitter, black, direct), found)
    to_sky_diffuse = dr.select(hit.valid, dr.select(aim.on_emitter, black, diffuse), found_diffuse)
    sums.rgb = [dr.fma(to_sky, light, total) for light, total in zip(radiance, sums.rgb, strict=True)]
    sums.irradiance = [
        dr.fma(to_sky_diffuse, light, total) for light, total in zip(radiance, sums.irradiance, strict=True)
    ]
    sums.emitter_rgb = dr.fma(direct, aim.radiance, sums.emitter_rgb)
    sums.emitter_irradiance = dr.fma(diffuse, aim.radiance, sums.emitter_irradiance)


def _sample_emitter(task: _Task, hit: Hit, point: tuple[Any, Any], choice: Any) -> _LightSample:
    """Samples a direction to the environment, or to a point on an area emitter."""
    import drjit as dr
    import mitsuba as mi

    emitters = task.scene.emitters
    use_emitter = choice < emitters.share
    texel, sky, over_sine = light_table.draw(task.table, point)
    slot = mi.UInt32(point[0] * EMITTER_SLOTS)
    record = read_record(emitters.slots, slot, EMITTER_STRIDE, use_emitter)
    corner, one, two, normal = (mi.Vector3f(record[i], record[i + 1], record[i + 2]) for i in (0, 3, 6, 9))
    inside = mi.warp.square_to_uniform_triangle(mi.Point2f(choice / dr.maximum(emitters.share, 1e-6), point[1]))
    away = corner + one * inside.x + two * inside.y - hit.point
    distance2 = dr.maximum(dr.squared_norm(away), 1e-12)
    distance = dr.sqrt(distance2)
    towards = away / distance
    facing = -dr.dot(normal, towards)
    density = dr.select(facing > 1e-6, emitters.share * record[15] * distance2 / dr.maximum(facing, 1e-6), 0)
    return _LightSample(
        texel=texel,
        direction=dr.select(use_emitter, towards, sky),
        reach=dr.select(use_emitter, distance * (1 - 1e-3), dr.inf),
        on_emitter=use_emitter,
        radiance=dr.select(use_emitter, mi.Color3f(record[12], record[13], record[14]), mi.Color3f(0)),
        density=density,
        over_sine=over_sine,
    )


def _mis_weight(path: _Path, density: Any) -> Any:
    """MIS weight of a BSDF sample that hit a light, beside light samples of `density` (balance heuristic)."""
    import drjit as dr

    return dr.select(path.depth == 0, 1, path.density / (path.density + density))


def _emitted(scene: PathTracerScene, met: tuple[Hit, Any], path: _Path) -> tuple[Any, Any]:
    """What a lamp that the path's own ray met, and may see, adds to picture and irradiance."""
    import drjit as dr
    import mitsuba as mi

    hit, seen = met
    cosine = dr.maximum(dr.abs(dr.dot(hit.geometric, path.direction)), 1e-6)
    share = _mis_weight(path, scene.emitters.share * hit.density * dr.square(hit.distance) / cosine)
    glow = dr.select(hit.front & seen, hit.radiance * share, mi.Color3f(0))
    return path.weight * glow, dr.select(path.depth == 0, mi.Color3f(0), path.diffuse_weight * glow)


def _sample_bsdf(
    path: _Path, hit: Hit, at: PrincipledBsdf, point: tuple[Any, Any], choices: tuple[Any, Any]
) -> tuple[_Path, Any]:
    """The path after a bounce, and whether it continues (Russian roulette from the second bounce)."""
    import drjit as dr
    import mitsuba as mi

    first = path.depth == 0
    direction = principled.sample(at, choices[0], point)
    value, density, cosine = principled.evaluate(at, direction)
    over = dr.select(density > 0, dr.rcp(dr.maximum(density, 1e-20)), 0)
    weight = path.weight * value * over
    diffuse = path.diffuse_weight * dr.select(first, mi.Color3f(cosine), value) * over
    matters = dr.maximum(dr.max(weight), dr.max(diffuse) / math.pi)
    chance = dr.select(first, 1, dr.minimum(matters, 0.95))
    alive = (matters > 0) & (choices[1] < chance)
    ray = spawn_ray(hit, direction)
    scale = dr.rcp(dr.maximum(chance, 1e-6))
    after = _Path(path.sample, path.depth + 1, ray.o, direction, weight * scale, diffuse * scale, density)
    return after, alive


def _frame(sums: _Sums, order: np.ndarray, size: tuple[int, int], samples: int, emitters: np.ndarray) -> LitFrame:
    place = np.empty_like(order)
    place[order] = np.arange(len(order), dtype=order.dtype)
    count = np.array(sums.hits)
    hits = np.maximum(count, 1)

    def pictures(lights: list[Any], emitted: Any, share: Any) -> Tensor:
        own = np.array(emitted)
        stack = np.stack(
            [(np.array(light) + own * np.float32(k)) / share for light, k in zip(lights, emitters, strict=True)]
        )
        return torch.from_numpy(stack[..., place].reshape(len(lights), 3, *size).astype(np.float32))

    coverage = torch.from_numpy((count[place] / samples).reshape(1, 1, *size).astype(np.float32))
    return LitFrame(
        pictures(sums.rgb, sums.emitter_rgb, samples),
        pictures(sums.irradiance, sums.emitter_irradiance, hits),
        coverage,
    )
