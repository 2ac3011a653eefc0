"""The exact G-buffer of a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrender.raytrace.intersection import Hit, ray_intersect
from unrender.raytrace.packed import opaque
from unrender.raytrace.path_tracer_scene import PathTracerScene
from unrender.raytrace.rays import camera_rays
from unrender.scene.gbuffer import GBuffer


def trace_gbuffer(scene: PathTracerScene, *, grid: int = 3, owners: np.ndarray | None = None) -> GBuffer:
    """Traces what the camera of `scene` sees with grid x grid rays a pixel.

    base_color, diffuse_albedo, roughness and metallic are means over the rays that hit, normal their mean made unit
    (camera space, smooth shading with its bumps, as pictures show it), mask the share of rays that hit: those that
    glass or a cut-out stops, as much as it is there, or what is behind it. Depth and
    instance are those of the pixel's centre ray, for the mean of two depths is the depth of nothing: where the mask is
    partial, depth may be +inf. Maps are zero where nothing is hit.

    Args:
        scene: from `build_path_tracer_scene`.
        grid: odd, so that one ray is the pixel's centre.
        owners: (F,) the instance of each face, whole and above 0; None leaves `instance` out.
    """
    height, width = scene.camera.size
    sums, centre = _trace(scene, grid)
    count = sums[0]

    def picture(planes: np.ndarray) -> Tensor:
        return torch.from_numpy(planes.astype(np.float32).reshape(1, -1, height, width))

    base, albedo, normal, rough, metal = (picture(sums[i] / np.maximum(count, 1)) for i in _CHANNELS)
    rotation = scene.camera.pose[0, :3, :3]
    normal = torch.nn.functional.normalize(normal, dim=1)
    depth, face = centre
    instance = None if owners is None else picture(np.where(np.isfinite(depth), owners[face], 0))
    return GBuffer(
        base_color=base.clamp(0, 1),
        diffuse_albedo=albedo.clamp(0, 1),
        normal=torch.einsum("ji,tjhw->tihw", rotation, normal),
        depth=picture(depth),
        roughness=rough.clamp(0, 1),
        metallic=metal.clamp(0, 1),
        mask=picture(count / grid**2),
        instance=instance,
        depth_kind="metric",
        camera=scene.camera.frame(0),
    )


_CHANNELS = (slice(1, 4), slice(4, 7), slice(7, 10), slice(10, 11), slice(11, 12))  # after the count of hits


def _trace(scene: PathTracerScene, grid: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Sums over each pixel's rays (12, H * W), and planar depth (+inf: none) and face of its centre ray."""
    import drjit as dr
    import mitsuba as mi

    height, width = scene.camera.size
    rays = camera_rays(scene.camera)
    pixel = dr.arange(mi.UInt32, height * width)
    side, centre, count = (opaque(mi.UInt32, n) for n in (grid, grid * grid // 2, grid * grid))
    kind: Any = mi.ArrayXf
    sums = dr.zeros(kind, (12, height * width))
    depth, face = dr.full(mi.Float, dr.inf, height * width), dr.zeros(mi.UInt32, height * width)

    def step(i: Any, sums: Any, depth: Any, face: Any) -> tuple[Any, ...]:
        x, y = ((mi.Float(n) + 0.5) / mi.Float(side) for n in (i % side, i // side))
        along = rays.along(pixel, (x, y))
        stretch = dr.norm(along)
        # What is there by a half stops half of a pixel's rays, and the one through its centre just so.
        luck = (mi.Float((i * 2 + count // 2 + 1) % count) + 0.5) / mi.Float(count)
        hit = ray_intersect(scene, mi.Ray3f(rays.origin, along / stretch), coherent=True, active=i < count, luck=luck)
        here = (i == centre) & hit.valid
        depth, face = dr.select(here, hit.distance / stretch, depth), dr.select(here, hit.face, face)
        return i + 1, sums + dr.select(hit.valid, _values(hit), 0), depth, face

    state = (dr.zeros(mi.UInt32, height * width), sums, depth, face)
    _, sums, depth, face = dr.while_loop(state, lambda i, *_: i < count, step, label="G-buffer")
    dr.eval(sums, depth, face)
    return np.array(sums), (np.array(depth), np.array(face))


def _values(hit: Hit) -> Any:
    import mitsuba as mi

    albedo = hit.base_color * (1 - hit.metallic)
    kind: Any = mi.ArrayXf
    return kind([1.0, *hit.base_color, *albedo, *hit.normal, hit.roughness, hit.metallic])
