"""The exact G-buffer of a Mitsuba scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrender.raytrace import backend
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import GBuffer


def trace_gbuffer(scene: Any, camera: Camera, *, grid: int = 3) -> GBuffer:
    """Traces the first frame of `camera` through `scene` with grid x grid rays a pixel.

    base_color, roughness and metallic are means over the rays that hit, normal their mean made unit (camera space,
    smooth shading), mask the share of rays that hit. Depth is that of the pixel's centre ray, for the mean of two
    depths is the depth of nothing: where the mask is partial it may be +inf. Maps are zero where nothing is hit.
    """
    height, width = camera.size
    base, rough, metal, normal, hit = _trace(scene, camera, _offsets(grid))
    weight = hit.reshape(height, width, -1, 1)
    count = weight.sum(2)

    def mean(values: np.ndarray) -> Tensor:
        total = (values.reshape(height, width, grid * grid, -1) * weight).sum(2) / np.maximum(count, 1)
        return torch.from_numpy(total.astype(np.float32)).permute(2, 0, 1)[None].contiguous()

    rotation = camera.pose[0, :3, :3]
    world_normal = torch.nn.functional.normalize(mean(normal), dim=1)
    return GBuffer(
        base_color=mean(base).clamp(0, 1),
        normal=torch.einsum("ji,tjhw->tihw", rotation, world_normal),
        depth=_centre_depth(scene, camera),
        roughness=mean(rough).clamp(0, 1),
        metallic=mean(metal).clamp(0, 1),
        mask=torch.from_numpy((count / grid**2).astype(np.float32)).permute(2, 0, 1)[None].contiguous(),
        depth_kind="metric",
        camera=camera.frame(0),
    )


def _offsets(grid: int) -> np.ndarray:
    ticks = (np.arange(grid) + 0.5) / grid
    return np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)


def _rays(camera: Camera, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World origin (3,) and directions (H * W * offsets, 3), scaled so that camera-space z = -1."""
    height, width = camera.size
    k, pose = camera.intrinsics[0].double().numpy(), camera.pose[0].double().numpy()
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    x = x[..., None] + offsets[:, 0]
    y = y[..., None] + offsets[:, 1]
    local = np.stack(((x - k[0, 2]) / k[0, 0], (k[1, 2] - y) / k[1, 1], -np.ones_like(x)), -1)
    return pose[:3, 3], local.reshape(-1, 3).astype(np.float32) @ pose[:3, :3].T.astype(np.float32)


def _interactions(scene: Any, camera: Camera, offsets: np.ndarray) -> tuple[Any, np.ndarray]:
    backend.use()
    import drjit as dr
    import mitsuba as mi

    origin, direction = _rays(camera, offsets)
    length = np.linalg.norm(direction, axis=1)
    unit = np.ascontiguousarray((direction / length[:, None]).T, dtype=np.float32)
    eye = mi.Point3f(*(float(value) for value in origin))
    dr.make_opaque(eye)  # a constant would be compiled in, into a new kernel for every camera
    return scene.ray_intersect(mi.Ray3f(eye, mi.Vector3f(unit))), length


def _trace(scene: Any, camera: Camera, offsets: np.ndarray) -> tuple[np.ndarray, ...]:
    import drjit as dr

    si, _ = _interactions(scene, camera, offsets)
    hit = si.is_valid()
    bsdf = si.bsdf()
    base = bsdf.eval_attribute_3("base_color", si, hit)
    rough = bsdf.eval_attribute_1("roughness", si, hit)
    metal = bsdf.eval_attribute_1("metallic", si, hit)
    normal = si.sh_frame.n
    dr.eval(base, rough, metal, normal, hit)
    return np.array(base).T, np.array(rough), np.array(metal), np.array(normal).T, np.array(hit).astype(np.float32)


def _centre_depth(scene: Any, camera: Camera) -> Tensor:
    si, length = _interactions(scene, camera, np.array([[0.5, 0.5]]))
    distance = np.where(np.array(si.is_valid()), np.array(si.t), np.inf)
    depth = (distance / length).astype(np.float32).reshape(1, 1, *camera.size)
    return torch.from_numpy(depth)
