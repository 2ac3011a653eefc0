"""One pass of path tracing that gives the picture under each of K lights, and the irradiance under each.

Camera paths do not depend on the light, so they are traced once. Light samples come from one distribution, the mean of
the lights', and are joined with the surface's own samples by multiple importance sampling; each then counts for all K
lights. Every lane of the kernel walks one pixel's paths one after another and begins the next as soon as one ends, so
that no lane waits for the longest path of its neighbours, and nothing but sums per pixel leaves the kernel.
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
from unrender.raytrace.hits import Hit, find_hit, leave
from unrender.raytrace.light_table import LightTable
from unrender.raytrace.rays import CameraRays, camera_rays, tiled
from unrender.raytrace.stage import LAMP_SLOTS, LAMP_STRIDE, Stage
from unrender.scene.environment import EnvironmentMap

_COSINE_SHARE = 0.25  # of the first bounce: irradiance wants light from all around, even of a mirror
_RANDOM_PER_VERTEX = 4


@dataclass(frozen=True)
class LitFrame:
    """A frame under K lights.

    Attributes:
        rgb: (K, 3, H, W) linear radiance, the light itself where nothing is hit.
        irradiance: (K, 3, H, W) linear diffuse irradiance E = integral of L cos at what the pixel sees, about its
            shading normal, not divided by pi; shadows and interreflection included. The mean over the part of the
            pixel that the surface covers, zero where nothing is hit.
    """

    rgb: Tensor
    irradiance: Tensor


@dataclass
class _Sums:
    """Per pixel: for each light, the radiance and irradiance that it gives; those of lamps; and hits."""

    rgb: list[Any]
    irradiance: list[Any]
    lamp_rgb: Any
    lamp_irradiance: Any
    hits: Any


@dataclass
class _Path:
    """Where a lane is: sample and vertex, the next ray, throughputs of picture and irradiance, density of the ray."""

    sample: Any
    depth: Any
    origin: Any
    direction: Any
    weight: Any
    diffuse_weight: Any
    density: Any


@dataclass(frozen=True)
class _LightSample:
    """A direction towards some light; `radiance` is a lamp's, zero for the environment."""

    texel: Any
    direction: Any
    reach: Any
    lamp: Any
    radiance: Any
    density: Any
    over_sine: Any


def render_lights(
    scene: Stage, lights: Sequence[EnvironmentMap], *, samples: int, seed: int, lamps: Sequence[float] | None = None
) -> LitFrame:
    """Path traces `scene` once under each of `lights`.

    Args:
        scene: from `build_stage`.
        lights: K environment maps of one size, the first frame of each.
        samples: paths a pixel; powers of two are best spread.
        seed: of the random numbers; the same seed gives the same frame.
        lamps: what the scene's own lamps are multiplied by under each light, 1 by default.

    Raises:
        UserError: no lights or lights of several sizes; another number of lamps than of lights.
    """
    import drjit as dr
    import mitsuba as mi

    if lamps is not None and len(lamps) != len(lights):
        raise UserError(f"{len(lamps)} factors of lamps for {len(lights)} lights; one for each is right")
    table = light_table.light_table(lights)
    rays = camera_rays(scene.camera)
    order = tiled(scene.camera.size)
    numbers = [mi.UInt32(n) for n in (samples, scene.max_depth, seed)]
    pixel = mi.UInt32(order)
    dr.make_opaque(pixel, *numbers)
    sums = _trace(scene, table, rays, pixel, numbers)
    factors = np.ones(len(lights)) if lamps is None else np.asarray(lamps)
    return _frame(sums, order, scene.camera.size, samples, factors)


def _trace(scene: Stage, table: LightTable, rays: CameraRays, pixel: Any, numbers: list[Any]) -> _Sums:
    import drjit as dr
    import mitsuba as mi

    samples, _, seed = numbers
    lane_seed = sequences.hashed(pixel + sequences.hashed(seed))
    lanes = dr.width(pixel)
    black = [dr.zeros(mi.Color3f, lanes) for _ in range(2 * table.count + 2)]
    sums = _Sums(black[: table.count], black[table.count : -2], black[-2], black[-1], dr.zeros(mi.Float, lanes))
    path = _begin(rays, pixel, lane_seed, dr.zeros(mi.UInt32, lanes))

    def going_on(path: _Path, sums: _Sums) -> Any:
        return path.sample < samples

    def step(path: _Path, sums: _Sums) -> tuple[_Path, _Sums]:
        return _step(scene, table, rays, (pixel, lane_seed, numbers), path, sums)

    path, sums = dr.while_loop((path, sums), going_on, step, label="paths under all lights")
    dr.eval(sums)
    return sums


def _begin(rays: CameraRays, pixel: Any, lane_seed: Any, sample: Any) -> _Path:
    import mitsuba as mi

    direction = rays.direction(pixel, sequences.scrambled_pair(sample, lane_seed))
    one = mi.Color3f(1)
    return _Path(sample, mi.UInt32(0), mi.Point3f(rays.origin), direction, one, mi.Color3f(one), mi.Float(1))


def _step(
    scene: Stage, table: LightTable, rays: CameraRays, lane: tuple[Any, Any, list[Any]], path: _Path, sums: _Sums
) -> tuple[_Path, _Sums]:
    """One vertex of the path: finds it, adds the light that arrives there, and goes on or begins the next path."""
    import drjit as dr
    import mitsuba as mi

    pixel, lane_seed, (samples, max_depth, _) = lane
    vertex_seed = lane_seed + 0x632BE5AB * (1 + path.depth)
    for_light, for_bounce, for_choices = (
        sequences.scrambled_pair(path.sample, sequences.hashed(vertex_seed + i)) for i in range(3)
    )
    first = path.depth == 0
    ray = mi.Ray3f(path.origin, path.direction)
    hit = find_hit(scene, ray, coherent=False, active=path.sample < samples)
    at = principled.lobes(
        hit.normal, -path.direction, (hit.base_color, hit.roughness, hit.metallic), dr.select(first, _COSINE_SHARE, 0)
    )
    shaded = hit.front & (path.depth + 1 < max_depth)
    # A lane either leaves the scene or looks for light from a surface: either way one texel of the lights.
    aim = _aim(scene, table, hit, for_light, for_choices[1])
    out_texel, out_over_sine = light_table.texel_towards(table, path.direction, for_light)
    texel = dr.select(hit.valid, aim.texel, out_texel)
    radiance, factor = light_table.look_up(table, texel, ~hit.valid | shaded)
    factor = factor * (1 - scene.lamps.share)

    seen, seen_diffuse = _balanced(path, factor * out_over_sine), mi.Color3f(0)
    seen_diffuse = dr.select(first, mi.Color3f(0), path.diffuse_weight * seen)
    value, density, cosine = principled.evaluate(at, aim.direction)
    aimed = dr.rcp(dr.maximum(dr.select(aim.lamp, aim.density, factor * aim.over_sine) + density, 1e-20))
    worth = shaded & (cosine > 0) & (~aim.lamp | (aim.density > 0)) & (aim.lamp | (factor > 0))
    shadow = leave(hit, aim.direction)
    shadow.maxt = aim.reach
    lit = worth & ~scene.traced.ray_test(shadow, worth)
    aimed = dr.select(lit, aimed, 0)
    direct = path.weight * value * aimed
    diffuse = path.diffuse_weight * dr.select(first, mi.Color3f(cosine), value) * aimed

    outside = ~hit.valid
    to_sky = dr.select(outside, path.weight * seen, dr.select(aim.lamp, mi.Color3f(0), direct))
    to_sky_diffuse = dr.select(outside, seen_diffuse, dr.select(aim.lamp, mi.Color3f(0), diffuse))
    glow, glow_diffuse = _glow(scene, hit, path)
    sums = _Sums(
        [dr.fma(to_sky, light, total) for light, total in zip(radiance, sums.rgb, strict=True)],
        [dr.fma(to_sky_diffuse, light, total) for light, total in zip(radiance, sums.irradiance, strict=True)],
        sums.lamp_rgb + glow + direct * aim.radiance,
        sums.lamp_irradiance + glow_diffuse + diffuse * aim.radiance,
        sums.hits + dr.select(first & hit.valid, 1.0, 0.0),
    )
    bounced, alive = _bounce(
        path,
        hit,
        at,
        shaded,
        for_bounce,
        (for_choices[0], sequences.uniform(vertex_seed + 3 + path.sample * 0x01000193)),
    )
    begun = _begin(rays, pixel, lane_seed, path.sample + 1)
    return dr.select(alive, bounced, begun), sums


def _aim(scene: Stage, table: LightTable, hit: Hit, point: tuple[Any, Any], choice: Any) -> _LightSample:
    """A direction towards the environment, or towards a point of a lamp."""
    import drjit as dr
    import mitsuba as mi

    lamps = scene.lamps
    use_lamp = choice < lamps.share
    texel, sky, over_sine = light_table.draw(table, point)

    slot = mi.UInt32(point[0] * LAMP_SLOTS)
    lamp = dr.gather(mi.ArrayXf, lamps.slots, slot, use_lamp, shape=(LAMP_STRIDE, dr.width(choice)))
    corner, one, two, normal = (mi.Vector3f(lamp[i], lamp[i + 1], lamp[i + 2]) for i in (0, 3, 6, 9))
    inside = mi.warp.square_to_uniform_triangle(mi.Point2f(choice / dr.maximum(lamps.share, 1e-6), point[1]))
    away = corner + one * inside.x + two * inside.y - hit.point
    distance2 = dr.maximum(dr.squared_norm(away), 1e-12)
    distance = dr.sqrt(distance2)
    towards = away / distance
    facing = -dr.dot(normal, towards)
    density = dr.select(facing > 1e-6, lamps.share * lamp[15] * distance2 / dr.maximum(facing, 1e-6), 0)
    return _LightSample(
        texel=texel,
        direction=dr.select(use_lamp, towards, sky),
        reach=dr.select(use_lamp, distance * (1 - 1e-3), dr.inf),
        lamp=use_lamp,
        radiance=dr.select(use_lamp, mi.Color3f(lamp[12], lamp[13], lamp[14]), mi.Color3f(0)),
        density=density,
        over_sine=over_sine,
    )


def _balanced(path: _Path, density: Any) -> Any:
    """Weight of what the path's own ray found, beside light samples of `density` (balance heuristic)."""
    import drjit as dr

    return dr.select(path.depth == 0, 1, path.density / (path.density + density))


def _glow(scene: Stage, hit: Hit, path: _Path) -> tuple[Any, Any]:
    """What a lamp that the path's own ray met adds to picture and irradiance."""
    import drjit as dr
    import mitsuba as mi

    cosine = dr.maximum(dr.abs(dr.dot(hit.geometric, path.direction)), 1e-6)
    share = _balanced(path, scene.lamps.share * hit.density * dr.square(hit.distance) / cosine)
    glow = dr.select(hit.front, hit.radiance * share, mi.Color3f(0))
    return path.weight * glow, dr.select(path.depth == 0, mi.Color3f(0), path.diffuse_weight * glow)


def _bounce(
    path: _Path, hit: Hit, at: principled.Lobes, shaded: Any, point: tuple[Any, Any], choices: tuple[Any, Any]
) -> tuple[_Path, Any]:
    """The path after a bounce, and whether it goes on (Russian roulette from the second bounce)."""
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
    alive = shaded & (matters > 0) & (choices[1] < chance)
    ray = leave(hit, direction)
    scale = dr.rcp(dr.maximum(chance, 1e-6))
    after = _Path(path.sample, path.depth + 1, ray.o, direction, weight * scale, diffuse * scale, density)
    return after, alive


def _frame(sums: _Sums, order: np.ndarray, size: tuple[int, int], samples: int, lamps: np.ndarray) -> LitFrame:
    place = np.empty_like(order)
    place[order] = np.arange(len(order), dtype=order.dtype)
    hits = np.maximum(np.array(sums.hits), 1)

    def pictures(lights: list[Any], lamp: Any, count: Any) -> Tensor:
        own = np.array(lamp)
        stack = np.stack(
            [(np.array(light) + own * np.float32(k)) / count for light, k in zip(lights, lamps, strict=True)]
        )
        return torch.from_numpy(stack[..., place].reshape(len(lights), 3, *size).astype(np.float32))

    return LitFrame(pictures(sums.rgb, sums.lamp_rgb, samples), pictures(sums.irradiance, sums.lamp_irradiance, hits))
