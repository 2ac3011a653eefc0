"""What objects do to the light that falls on their surroundings: the shadow ratio of a Lambertian stand-in.

ratio = radiance of the stand-in with the objects / without them, direct light only (DiPIR, Liang et al. 2024). Both are
summed over the same random directions: where nothing is in the way, the ratio is 1 without noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrender.raytrace import bounce, light_table, sequences
from unrender.raytrace.intersection import Hit, ray_intersect, spawn_ray
from unrender.raytrace.packed import opaque
from unrender.raytrace.path_tracer_scene import PathTracerScene
from unrender.raytrace.products import row_product
from unrender.raytrace.rays import camera_rays, tiled
from unrender.raytrace.transport import check_size, chunks, first_direction, lane_seeds
from unrender.scene.environment import EnvironmentMap

_DARK = 1e-12  # a stand-in that gets less irradiance than this has no shadows
_SALTS = (0x3C6EF372, 0x5BE0CD19)


@dataclass(frozen=True)
class ShadowTransport:
    """From texels to the irradiance of the stand-in, and to what the objects keep from it; both on one scale.

    Attributes:
        open: (N, P) half precision, without the objects; P pixels where the objects keep any light away.
        blocked: (N, P) half precision, the part of `open` that the objects keep away.
        pixel: (P,) int64 indices y * width + x.
        size: (height, width) of the picture.
        light_size: (height, width) in texels.
    """

    open: Tensor
    blocked: Tensor
    pixel: Tensor
    size: tuple[int, int]
    light_size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of the matrices."""
        return 2 * self.open.numel() * self.open.element_size()

    def render(self, radiance: Tensor) -> Tensor:
        """The shadow ratio under a light of `radiance` (3, *light_size): (1, 3, H, W) in [0, 1], 1 where there is no
        shadow. Differentiable in `radiance`."""
        blocked, whole = (
            torch.stack([row_product(light.flatten(), rows) for light in radiance])
            for rows in (self.blocked, self.open)
        )
        ratio = (1 - blocked / whole.clamp(min=_DARK)).clamp(0, 1)
        picture = ratio.new_ones(3, self.size[0] * self.size[1])
        return picture.index_copy(1, self.pixel, ratio).reshape(1, 3, *self.size)


def trace_shadows(
    objects: PathTracerScene,
    stand_in: PathTracerScene,
    light_size: tuple[int, int],
    *,
    samples: int = 16,
    seed: int = 0,
) -> ShadowTransport:
    """Traces the transport of shadows that `objects` cast on `stand_in`, both seen by the camera of `objects`.

    Args:
        objects: what casts shadows.
        stand_in: what receives them, taken as Lambertian: a plane, or any mesh, which also shades itself.
        light_size: (height, width) of the environment maps to come, in texels.
        samples: rays a pixel, and directions under each texel's tent from what they see.
        seed: of the random numbers.

    Raises:
        UserError: the matrices would be larger than `transport.MOST_BYTES`.
    """
    texels = light_size[0] * light_size[1]
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    total = 0
    for _, part in chunks(tiled(objects.camera.size), 8 * texels):
        whole, blocked = _trace_pixels((objects, stand_in), light_size, part, samples, seed)
        some = blocked.any(0)
        total += int(some.sum())
        check_size(4 * texels * total, objects.camera.size)
        kept.append((whole[:, some].astype(np.float16), blocked[:, some].astype(np.float16), part[some]))
    whole, blocked = (torch.from_numpy(np.concatenate([rows[i] for rows in kept], 1)) for i in (0, 1))
    pixel = torch.from_numpy(np.concatenate([rows[2] for rows in kept]).astype(np.int64))
    return ShadowTransport(whole, blocked, pixel, objects.camera.size, light_size)


def shadow_ratio(
    objects: PathTracerScene,
    stand_in: PathTracerScene,
    lights: Sequence[EnvironmentMap],
    *,
    samples: int,
    seed: int,
) -> Tensor:
    """The shadow ratio under each of K `lights` of any one size: (K, 3, H, W) in [0, 1], 1 where there is no shadow.

    Directions come from the mean of the lights (see `light_table`) and from the cosine, by multiple importance
    sampling. Where the objects themselves are seen through all of a pixel it is 1.
    """
    whole, blocked = _irradiances(objects, stand_in, lights, samples=samples, seed=seed, bounced=False)
    return _share(whole - blocked, whole, 1.0).clamp(0, 1)


def sent_ratio(
    objects: PathTracerScene,
    stand_in: PathTracerScene,
    lights: Sequence[EnvironmentMap],
    *,
    samples: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """What the objects send on to their surroundings (`bounce`) under each of K `lights`, as a part of what those get
    without the objects: (K, 3, H, W) from 0 to 1, to be added to the shadow ratio; and (1, 1, H, W) bool, where the
    surroundings are seen at all."""
    whole, _, sent = _irradiances(objects, stand_in, lights, samples=samples, seed=seed, bounced=True)
    return _share(sent, whole, 0.0).clamp(0, 1), (whole > _DARK).any(0, keepdim=True).any(1, keepdim=True)


def _share(part: Tensor, whole: Tensor, nothing: float) -> Tensor:
    return torch.where(whole > _DARK, part / whole.clamp(min=_DARK), nothing)


def _irradiances(
    objects: PathTracerScene,
    stand_in: PathTracerScene,
    lights: Sequence[EnvironmentMap],
    *,
    samples: int,
    seed: int,
    bounced: bool,
) -> list[Tensor]:
    """Of the stand-in without the objects, what they keep away of it, and where `bounced` what they send on; each
    (K, 3, H, W) on one scale."""
    import drjit as dr
    import mitsuba as mi

    order = tiled(objects.camera.size)
    pixel, rays = opaque(mi.UInt32, order), camera_rays(objects.camera)
    table, most = light_table.light_table(lights), opaque(mi.UInt32, samples)
    lane_seed, lanes, count = lane_seeds(pixel, seed), len(order), len(lights)
    lit = bounce.BounceScene(objects, stand_in, table, bounce.Ball.about(objects))

    def step(sample: Any, sums: list[Any]) -> tuple[Any, list[Any]]:
        ray = mi.Ray3f(rays.origin, first_direction(rays, pixel, sample, lane_seed))
        hit, seen = _seen(objects, stand_in, ray)
        aim, spread = (
            sequences.scrambled_pair(sample, sequences.hashed((lane_seed + 0x632BE5AB) ^ salt)) for salt in _SALTS
        )
        by_cosine = mi.Frame3f(hit.normal).to_world(mi.warp.square_to_cosine_hemisphere(mi.Point2f(*spread)))
        texel, towards, over_sine = light_table.draw(table, aim)
        other, other_sine = light_table.texel_towards(table.size, by_cosine, aim)
        for index, direction, over in ((texel, towards, over_sine), (other, by_cosine, other_sine)):
            radiance, factor = light_table.look_up(table, index, seen)
            cosine = dr.dot(hit.normal, direction)
            share = dr.select(cosine > 0, cosine / (factor * over + cosine / math.pi), 0)
            open_, hidden = _visibility(objects, stand_in, hit, direction, seen & (cosine > 0))
            weights = [dr.select(open_, share, 0)] * count + [dr.select(hidden, share, 0)] * count
            direct = [dr.fma(light, w, old) for light, w, old in zip(radiance * 2, weights, sums, strict=False)]
            sums = [*direct, *sums[2 * count :]]
        if bounced:
            found = bounce.sent_on(lit, hit, sample, lane_seed, seen)
            sums = [*sums[: 2 * count], *(old + new for old, new in zip(sums[2 * count :], found, strict=True))]
        return sample + 1, sums

    groups = 3 if bounced else 2
    state = (dr.zeros(mi.UInt32, lanes), [dr.zeros(mi.Color3f, lanes) for _ in range(groups * count)])
    _, sums = dr.while_loop(state, lambda sample, _: sample < most, step, label="shadow ratio")
    dr.eval(sums)
    place = np.argsort(order)
    pictures = [
        np.stack([np.array(value)[:, place] for value in sums[k * count : (k + 1) * count]]) for k in range(groups)
    ]
    return [torch.from_numpy(part.reshape(count, 3, *objects.camera.size).astype(np.float32)) for part in pictures]


def _seen(objects: PathTracerScene, stand_in: PathTracerScene, ray: Any) -> tuple[Hit, Any]:
    """Where `ray` meets the stand-in, and whether it is seen there, no object being in front."""
    import mitsuba as mi

    hit = ray_intersect(stand_in, ray, coherent=True, active=mi.Bool(True), luck=mi.Float(0.5))
    before = mi.Ray3f(ray.o, ray.d)
    before.maxt = hit.distance
    return hit, hit.front & ~objects.traced.ray_test(before, hit.front)


def _visibility(
    objects: PathTracerScene, stand_in: PathTracerScene, hit: Hit, direction: Any, active: Any
) -> tuple[Any, Any]:
    """Whether light from `direction` reaches the stand-in without the objects, and whether they then keep it away."""
    ray = spawn_ray(hit, direction)
    open_ = active & ~stand_in.traced.ray_test(ray, active)
    return open_, open_ & objects.traced.ray_test(ray, open_)


def _trace_pixels(
    scenes: tuple[PathTracerScene, PathTracerScene],
    light_size: tuple[int, int],
    pixels: np.ndarray,
    samples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """`open` and `blocked` (N, P) float32 of some pixels."""
    import drjit as dr
    import mitsuba as mi

    texels, lanes = light_size[0] * light_size[1], len(pixels)
    pixel, rays = opaque(mi.UInt32, pixels), camera_rays(scenes[0].camera)
    lane_seed, wide = lane_seeds(pixel, seed), opaque(mi.UInt32, lanes)
    sums = [dr.zeros(mi.Float, texels * lanes) for _ in range(2)]
    dr.make_opaque(sums)
    for index in range(samples):
        sample, lane = opaque(mi.UInt32, index), dr.arange(mi.UInt32, lanes)
        ray = mi.Ray3f(rays.origin, first_direction(rays, pixel, sample, lane_seed))
        hit, seen = _seen(*scenes, ray)

        def step(texel: Any, hit: Any = hit, seen: Any = seen, sample: Any = sample, lane: Any = lane) -> tuple[Any]:
            at = (texel // light_size[1], texel % light_size[1])
            pair = sequences.scrambled_pair(sample, sequences.hashed(lane_seed ^ (texel * 0x9E3779B9)))
            towards, over_sine = light_table.under_tent(light_size, at, pair)
            cosine = dr.dot(hit.normal, towards)
            open_, hidden = _visibility(*scenes, hit, towards, seen & (cosine > 0))
            # On the scale of a mean over the hemisphere: half precision holds what is far from 1 badly.
            value = cosine / (over_sine * (texels / (2 * math.pi))) / samples
            for total, active in zip(sums, (open_, hidden), strict=True):
                place = texel * wide + lane
                dr.scatter_reduce(dr.ReduceOp.Add, total, value, place, active, dr.ReduceMode.NoConflicts)
            return (texel + 1,)

        begin = dr.zeros(mi.UInt32, lanes)
        dr.while_loop((begin,), lambda texel, seen=seen: seen & (texel < texels), step, label="shadow transport")
        dr.eval(*sums)
    whole, blocked = (np.array(total).reshape(texels, lanes) for total in sums)
    return whole, blocked
