"""Light transport by path tracing: the matrix from the texels of a small environment map to the pixels of an object.

Traced once, every later picture under another light is a product, without noise and with exact gradients. Light is
sampled texel by texel, each with the same number of directions under its tent (the bilinear look-up of
`scene.environment.sample` read as a sum of tents, see `light_table`), joined with samples of the surface by multiple
importance sampling: no texel is left to chance, whatever light is to come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.raytrace import light_table, principled, sequences
from unrender.raytrace.intersection import ray_intersect, spawn_ray
from unrender.raytrace.packed import opaque
from unrender.raytrace.path_tracer_scene import PathTracerScene
from unrender.raytrace.products import row_product
from unrender.raytrace.rays import CameraRays, camera_rays, tiled

MOST_BYTES = 1 << 30
"""Of one matrix as it is kept; a picture that would need more is to be traced smaller."""

_CHUNK_BYTES = 1 << 28  # of float32 sums in flight
_COMB = 2
_SALTS = (0x3C6EF372, 0x5BE0CD19, 0x1F83D9AB)
_PASSING = 0x2545F491  # of what decides whether a surface that is partly there stops a path


@dataclass(frozen=True)
class ForegroundTransport:
    """From texels to what is seen of an object, multiplied by its coverage.

    Attributes:
        matrix: (3, N, P) half precision; N = light_size[0] * light_size[1] texels, P pixels that see the object.
        pixel: (P,) int64 indices y * width + x.
        coverage: (1, 1, H, W) in [0, 1], the share of each pixel that the object covers.
        light_size: (height, width) in texels.
    """

    matrix: Tensor
    pixel: Tensor
    coverage: Tensor
    light_size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix."""
        return self.matrix.numel() * self.matrix.element_size()

    def render(self, radiance: Tensor) -> Tensor:
        """The object under a light of `radiance` (3, *light_size), (1, 3, H, W) linear, multiplied by its coverage.
        Differentiable in `radiance`."""
        pairs = zip(radiance, self.matrix, strict=True)
        values = torch.stack([row_product(light.flatten(), rows) for light, rows in pairs])
        return _scattered(values, self.pixel, self.coverage.shape[-2:], 0.0)


def trace_foreground(
    scene: PathTracerScene, light_size: tuple[int, int], *, samples: int = 16, seed: int = 0
) -> ForegroundTransport:
    """Traces the transport of `scene`, an object alone, up to its `max_depth`.

    Args:
        scene: from `build_path_tracer_scene`.
        light_size: (height, width) of the environment maps to come, in texels.
        samples: paths a pixel, and directions under each texel's tent from what they see first; powers of two are
            best spread.
        seed: of the random numbers.

    Raises:
        UserError: no pixel sees the object, or the matrix would be larger than `MOST_BYTES`.
    """
    counts = _hits(scene, samples, seed)
    pixels = tiled(scene.camera.size)
    pixels = pixels[counts[pixels] > 0]
    texels = light_size[0] * light_size[1]
    if len(pixels) == 0:
        raise UserError("no pixel sees the object; expected it within the picture")
    check_size(6 * texels * len(pixels), scene.camera.size)
    matrix = torch.empty(3, texels, len(pixels), dtype=torch.float16)
    for start, part in chunks(pixels, 12 * texels):
        traced = _trace_pixels(scene, light_size, part, samples, seed)
        matrix[..., start : start + len(part)] = torch.from_numpy(traced)
    coverage = torch.from_numpy((counts / samples).astype(np.float32)).reshape(1, 1, *scene.camera.size)
    return ForegroundTransport(matrix, torch.from_numpy(pixels.astype(np.int64)), coverage, light_size)


def check_size(size: int, picture: tuple[int, int]) -> None:
    """Raises UserError for a matrix of more than `MOST_BYTES`."""
    if size > MOST_BYTES:
        raise UserError(
            f"the transport of a picture {picture[1]} x {picture[0]} would take {size / 2**30:.1f} GiB; expected "
            f"{MOST_BYTES / 2**30:.0f} GiB or less: trace it smaller (Camera.resized), or for fewer texels"
        )


def chunks(pixels: np.ndarray, bytes_each: int) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of `pixels` that are traced together, each with the index of its first."""
    step = max(1, _CHUNK_BYTES // bytes_each)
    for start in range(0, len(pixels), step):
        yield start, pixels[start : start + step]


def _scattered(values: Tensor, pixel: Tensor, size: tuple[int, ...], empty: float) -> Tensor:
    """Values (C, P) of pixels as a picture (1, C, H, W) that is `empty` elsewhere."""
    picture = values.new_full((len(values), size[0] * size[1]), empty)
    return picture.index_copy(1, pixel, values).reshape(1, len(values), *size)


def _hits(scene: PathTracerScene, samples: int, seed: int) -> np.ndarray:
    """How many of each pixel's paths hit the object, (H * W,)."""
    import drjit as dr
    import mitsuba as mi

    count = scene.camera.size[0] * scene.camera.size[1]
    rays, pixel = camera_rays(scene.camera), dr.arange(mi.UInt32, count)
    lane_seed, most = lane_seeds(pixel, seed), opaque(mi.UInt32, samples)

    def step(sample: Any, hits: Any) -> tuple[Any, Any]:
        ray = mi.Ray3f(rays.origin, first_direction(rays, pixel, sample, lane_seed))
        return sample + 1, hits + dr.select(scene.traced.ray_test(ray), 1.0, 0.0)

    state = (dr.zeros(mi.UInt32, count), dr.zeros(mi.Float, count))
    _, hits = dr.while_loop(state, lambda sample, hits: sample < most, step, label="coverage")
    return np.array(hits)


def lane_seeds(pixel: Any, seed: int) -> Any:
    """A seed for each lane of a kernel, UInt32, by its pixel."""
    import mitsuba as mi

    return sequences.hashed(opaque(mi.UInt32, seed)) + pixel


def first_direction(rays: CameraRays, pixel: Any, sample: Any, lane_seed: Any) -> Any:
    """The direction of a pixel's path number `sample`."""
    return rays.direction(pixel, sequences.scrambled_pair(sample, sequences.hashed(lane_seed)))


@dataclass(frozen=True)
class _Task:
    """A kernel's inputs; `sums` is the matrix (N * 3 * lanes,), which it adds to."""

    scene: PathTracerScene
    light_size: tuple[int, int]
    sample: Any
    max_depth: Any
    lane: Any
    lanes: Any
    lane_seed: Any
    sums: Any

    @property
    def factor(self) -> float:
        """Density per uv of one direction under each tent, divided by the tent's height, times sin / 1."""
        return self.light_size[0] * self.light_size[1] / (2 * math.pi**2)


def _trace_pixels(
    scene: PathTracerScene, light_size: tuple[int, int], pixels: np.ndarray, samples: int, seed: int
) -> np.ndarray:
    """Transport (3, N, P) float32 of some pixels."""
    import drjit as dr
    import mitsuba as mi

    texels, lanes = light_size[0] * light_size[1], len(pixels)
    pixel, rays = opaque(mi.UInt32, pixels), camera_rays(scene.camera)
    sums = dr.zeros(mi.Float, texels * 3 * lanes)
    dr.make_opaque(sums)
    lane_seed = lane_seeds(pixel, seed)
    for index in range(samples):
        sample = opaque(mi.UInt32, index)
        lane = dr.arange(mi.UInt32, lanes)
        deep, wide = opaque(mi.UInt32, scene.max_depth), opaque(mi.UInt32, lanes)
        task = _Task(scene, light_size, sample, deep, lane, wide, lane_seed, sums)
        _trace_sample(task, rays.origin, first_direction(rays, pixel, sample, lane_seed))
        dr.eval(sums)
    return np.array(sums).reshape(texels, 3, lanes).transpose(1, 0, 2) / np.float32(samples)


def _trace_sample(task: _Task, origin: Any, direction: Any) -> None:
    """One path a lane, from the camera on; adds to `task.sums`."""
    import drjit as dr
    import mitsuba as mi

    lanes = dr.width(task.lane)
    state = (
        dr.zeros(mi.UInt32, lanes),
        mi.Point3f(origin) + dr.zeros(mi.Point3f, lanes),
        mi.Vector3f(direction),
        dr.ones(mi.Color3f, lanes),
        dr.ones(mi.Float, lanes),
        dr.full(mi.Bool, True, lanes),
    )
    dr.while_loop(state, lambda *path: path[-1], lambda *path: _vertex(task, *path), label="transport")


def _vertex(
    task: _Task, depth: Any, origin: Any, direction: Any, weight: Any, density: Any, alive: Any
) -> tuple[Any, ...]:
    """One vertex: adds the texels that light it (or the one a path leaves towards), and goes on to the next."""
    import drjit as dr
    import mitsuba as mi

    first = depth == 0
    vertex_seed = task.lane_seed + 0x632BE5AB * (1 + depth)
    for_bounce, for_texel, (lobe, luck) = (
        sequences.scrambled_pair(task.sample, sequences.hashed(vertex_seed ^ salt)) for salt in _SALTS
    )
    passing = sequences.uniform(sequences.hashed(vertex_seed ^ _PASSING) + task.sample)
    hit = ray_intersect(task.scene, mi.Ray3f(origin, direction), coherent=False, active=alive, luck=passing)
    comb = dr.select(depth <= 1, 1.0, mi.Float(_COMB))
    texel, over_sine = light_table.texel_towards(task.light_size, direction, for_texel)
    share = density / (density + task.factor * over_sine / comb)
    _add(task, texel, weight * share, alive & ~hit.valid & ~first)

    at = principled.bsdf(hit.normal, -direction, (hit.base_color, hit.roughness, hit.metallic), 0.0)
    shaded = alive & hit.front & (depth + 1 < task.max_depth)
    _gather_texels(task, (hit, at, shaded), weight, dr.select(first, mi.UInt32(1), mi.UInt32(_COMB)), vertex_seed)

    bounced = principled.sample(at, lobe, for_bounce)
    value, density, _ = principled.evaluate(at, bounced)
    weight = weight * value * dr.select(density > 0, dr.rcp(dr.maximum(density, 1e-20)), 0)
    chance = dr.select(first, 1, dr.clip(dr.max(weight), 0.05, 0.95))
    ray = spawn_ray(hit, bounced)
    return depth + 1, ray.o, bounced, weight / chance, density, shaded & (dr.max(weight) > 0) & (luck < chance)


def _gather_texels(task: _Task, here: tuple[Any, Any, Any], weight: Any, comb: Any, seed: Any) -> None:
    """Adds the light of every `comb`-th texel that reaches a vertex."""
    import drjit as dr
    import mitsuba as mi

    hit, at, shaded = here
    height, width = task.light_size

    def step(texel: Any) -> tuple[Any]:
        pair = sequences.scrambled_pair(task.sample, sequences.hashed(seed ^ (texel * 0x9E3779B9)))
        towards, over_sine = light_table.under_tent(task.light_size, (texel // width, texel % width), pair)
        value, density, cosine = principled.evaluate(at, towards)
        worth = shaded & (cosine > 0)
        lit = worth & ~task.scene.traced.ray_test(spawn_ray(hit, towards), worth)
        aimed = task.factor * over_sine / mi.Float(comb)
        _add(task, texel, weight * value * dr.rcp(aimed + density), lit)
        return (texel + comb,)

    begin = (sequences.hashed(seed) + task.sample) % comb
    dr.while_loop((begin,), lambda texel: shaded & (texel < height * width), step, label="texels")


def _add(task: _Task, texel: Any, value: Any, active: Any) -> None:
    import drjit as dr

    for channel in range(3):
        place = (texel * 3 + channel) * task.lanes + task.lane
        # No other lane adds to this lane's column.
        dr.scatter_reduce(dr.ReduceOp.Add, task.sums, value[channel], place, active, dr.ReduceMode.NoConflicts)
