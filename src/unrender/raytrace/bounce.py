"""Light that objects send on to what they stand on: a second bounce, aimed at the objects alone.

Directions are drawn within the cone that holds the objects, so far ground, for which they are small, gets its little
light without noise; within their bounding sphere, over the whole hemisphere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrender.raytrace import light_table, principled, sequences
from unrender.raytrace.intersection import Hit, is_shadowed, ray_intersect, spawn_ray
from unrender.raytrace.light_table import LightTable
from unrender.raytrace.packed import opaque
from unrender.raytrace.path_tracer_scene import PathTracerScene

SOFTEST = 0.5
"""The least roughness of what is seen by the ground: no caustics, whose few bright paths are fireflies; their energy
is spread wider."""

_SALTS = (0x1F83D9AB, 0x6A09E667, 0xBB67AE85, 0x510E527F)  # of pairs of random numbers


@dataclass(frozen=True)
class Ball:
    """A sphere about objects; Dr.Jit.

    Attributes:
        middle: Point3f.
        radius: Float.
    """

    middle: Any
    radius: Any

    @staticmethod
    def about(scene: PathTracerScene) -> Ball:
        """The sphere about the middle of the scene's box that holds all of it."""
        import mitsuba as mi

        points = scene.surface.vertices
        middle = (points.min(0) + points.max(0)) / 2
        radius = float(np.linalg.norm(points - middle, axis=1).max())
        return Ball(mi.Point3f(*(opaque(mi.Float, value) for value in middle)), opaque(mi.Float, radius))


def towards(ball: Ball, hit: Hit, point: tuple[Any, Any]) -> tuple[Any, Any]:
    """A unit direction from `hit` to what is in the ball, by `point` in [0, 1)^2, and 1 / its density."""
    import drjit as dr
    import mitsuba as mi

    away = ball.middle - hit.point
    q = dr.square(ball.radius) / dr.maximum(dr.squared_norm(away), 1e-20)
    outside = q < 1
    cap = q / (1 + dr.safe_sqrt(1 - q))  # 1 - the cosine of the cone's half angle
    cosine = 1 - point[0] * cap
    sine = dr.safe_sqrt(1 - dr.square(cosine))
    sin_phi, cos_phi = dr.sincos(2 * math.pi * point[1])
    within = mi.Frame3f(dr.normalize(away)).to_world(mi.Vector3f(sine * cos_phi, sine * sin_phi, cosine))
    spread = mi.Frame3f(hit.normal).to_world(mi.warp.square_to_cosine_hemisphere(mi.Point2f(*point)))
    by_cosine = math.pi / dr.maximum(dr.dot(hit.normal, spread), 1e-6)
    return dr.select(outside, within, spread), dr.select(outside, 2 * math.pi * cap, by_cosine)


@dataclass(frozen=True)
class BounceScene:
    """What light bounces between, and the lights.

    Attributes:
        objects: whose light is looked for.
        stand_in: what they stand on, Lambertian, of its own base colour.
        table: of the lights.
        ball: about the objects.
    """

    objects: PathTracerScene
    stand_in: PathTracerScene
    table: LightTable
    ball: Ball


def sent_on(lit: BounceScene, hit: Hit, sample: Any, seed: Any, active: Any) -> list[Any]:
    """What each of the lights gives the stand-in at `hit` by way of the objects, straight or from the stand-in up to
    them: irradiance, rgb, by one sample."""
    import drjit as dr
    import mitsuba as mi

    aims = [sequences.scrambled_pair(sample, sequences.hashed((seed + 0x632BE5AB) ^ salt)) for salt in _SALTS]
    luck = sequences.uniform(sequences.hashed(seed) + sample)
    direction, over = towards(lit.ball, hit, aims[0])
    cosine = dr.dot(hit.normal, direction)
    ray = spawn_ray(hit, direction)
    met = ray_intersect(lit.objects, ray, coherent=False, active=active & (cosine > 0), luck=luck)
    before = mi.Ray3f(ray)
    before.maxt = met.distance
    seen = met.front & (cosine > 0) & ~lit.stand_in.traced.ray_test(before, met.front)
    material = (met.base_color, dr.maximum(met.roughness, SOFTEST), met.metallic)
    at = principled.bsdf(met.normal, -direction, material, 0, lit.objects.shading)
    weight = dr.select(seen, cosine * over, 0)

    def value(towards_light: Any) -> tuple[Any, Any]:
        found, _, falling = principled.evaluate(at, towards_light)
        return found, falling

    straight = _arriving(lit, met, aims[1], luck, seen, value)
    # What the ground sends up at the object, as if that were as bright seen from everywhere: of a mirror, one sample
    # tells little.
    up = mi.Frame3f(met.normal).to_world(mi.warp.square_to_cosine_hemisphere(mi.Point2f(*aims[2])))
    ray = spawn_ray(met, up)
    ground = ray_intersect(lit.stand_in, ray, coherent=False, active=seen, luck=luck)
    before = mi.Ray3f(ray)
    before.maxt = ground.distance
    back = ground.front & ~lit.objects.traced.ray_test(before, ground.front)
    back_weight = met.base_color * ground.base_color / math.pi

    def lambert(towards_light: Any) -> tuple[Any, Any]:
        cosine = dr.dot(ground.normal, towards_light)
        return mi.Color3f(cosine), cosine

    returned = _arriving(lit, ground, aims[3], luck, back, lambert)
    return [
        weight * (one + dr.select(back, back_weight * other, mi.Color3f(0)))
        for one, other in zip(straight, returned, strict=True)
    ]


def _arriving(
    lit: BounceScene, hit: Hit, aim: tuple[Any, Any], luck: Any, active: Any, value: Callable[[Any], tuple[Any, Any]]
) -> list[Any]:
    """The sum over directions of each light times `value`, at a point that objects and stand-in may shade, by one
    sample of the lights. `value` gives rgb with its cosine, and the cosine."""
    import drjit as dr
    import mitsuba as mi

    texel, sky, over_sine = light_table.draw(lit.table, aim)
    rgb, falling = value(sky)
    radiance, factor = light_table.look_up(lit.table, texel, active)
    density = factor * over_sine
    open_ = active & (falling > 0) & (density > 0)
    ray = spawn_ray(hit, sky)
    open_ = open_ & ~is_shadowed(lit.objects, ray, open_, luck + 0.5) & ~lit.stand_in.traced.ray_test(ray, open_)
    share = dr.select(open_, dr.rcp(dr.maximum(density, 1e-20)), 0)
    return [dr.select(open_, light * rgb * share, mi.Color3f(0)) for light in radiance]
