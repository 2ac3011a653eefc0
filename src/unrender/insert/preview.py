"""A quick look at where objects would stand."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from unrender.insert.raster import rasterise
from unrender.insert.scene import InsertionScene
from unrender.insert.windows import cropped, object_window
from unrender.raytrace.atlas import pack_atlas
from unrender.scene.camera import Camera, world_rays
from unrender.scene.environment import EnvironmentMap, sample, texel_directions, texel_solid_angles
from unrender.scene.gbuffer import GBuffer

_GRID = (0.05, 0.8, 1.0)
COARSE = ((32, 64), (8, 16))
"""Of the light that objects mirror, and that falls on them."""

_DIELECTRIC = 0.04

FINER = 2  # times as many pixels either way as are shown


def draw_placement(scene: InsertionScene, background: Tensor, light: EnvironmentMap, longest: int = 640) -> Tensor:
    """The objects where they would stand, in a plain light, with a grid of the plane: (1, 3, h, w) linear, no longer
    than `longest`. For a look before anything slow is done.

    Args:
        scene: its camera is that of the background.
        background: (1, 3, H, W) linear.
        light: to see the objects by.
        longest: side in pixels.
    """
    height, width = scene.camera.size
    factor = min(1.0, longest / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = scene.seen_at(size)
    lit, coverage = _objects(small, light)
    picture = functional.interpolate(background, size, mode="area")
    grid = _plane_grid(small)
    picture = torch.lerp(picture, picture.new_tensor(_GRID)[:, None, None].expand_as(picture), 0.6 * grid)
    exposure = 0.5 / lit[coverage.expand_as(lit) > 0.5].mean().clamp(min=1e-6) if bool((coverage > 0.5).any()) else 1.0
    return (1 - coverage) * picture + (lit * exposure).clamp(0, 1)


def _objects(scene: InsertionScene, light: EnvironmentMap) -> tuple[Tensor, Tensor]:
    """The objects under a light that meets nothing on its way, (1, 3, H, W), times how much of each pixel they cover,
    (1, 1, H, W)."""
    camera = scene.camera.frame(0)
    lit, covered = torch.zeros(1, 3, *camera.size), torch.zeros(1, 1, *camera.size)
    window = object_window(scene, camera)
    if window is None:
        return lit, covered
    near = cropped(camera, window)
    near = near.resized((FINER * near.size[0], FINER * near.size[1]))
    gbuffer = rasterise(pack_atlas(scene.parts)[0], near)
    assert gbuffer.mask is not None
    covered[..., *window] = functional.avg_pool2d(gbuffer.mask, FINER)
    lit[..., *window] = functional.avg_pool2d(gbuffer.mask * _shaded(gbuffer, near, light), FINER)
    return lit, covered


def _shaded(gbuffer: GBuffer, camera: Camera, light: EnvironmentMap) -> Tensor:
    """Surfaces as Lambertian ones with a mirror of their own sharpness before them, (1, 3, H, W): enough to see what
    stands where, and made in no time."""
    base, normal, rough, metal = gbuffer.base_color, gbuffer.normal, gbuffer.roughness, gbuffer.metallic
    assert base is not None
    assert normal is not None
    assert rough is not None
    assert metal is not None
    turn = camera.pose[0, :3, :3].float()
    around = torch.einsum("ij,jhw->hwi", turn, normal[0])
    towards = -functional.normalize(world_rays(camera)[0], dim=0).permute(1, 2, 0)
    mirrored = 2 * (around * towards).sum(-1, keepdim=True) * around - towards
    coarse, diffuse = (light.resized(size).radiance for size in COARSE)
    share = (around.reshape(-1, 3) @ texel_directions(COARSE[1]).reshape(-1, 3).T).clamp(min=0)
    falling = (diffuse[0] * texel_solid_angles(COARSE[1])).flatten(1)
    even = (share @ falling.T / math.pi).reshape(*around.shape).permute(2, 0, 1)[None]
    seen = torch.lerp(sample(coarse, mirrored.reshape(-1, 3)).reshape(1, 3, *gbuffer.size), even, rough)
    mirror = _DIELECTRIC + metal * (base - _DIELECTRIC)
    return (1 - metal) * base * even + mirror * seen


def _plane_grid(scene: InsertionScene) -> Tensor:
    """Lines of the plane, one object's size apart, (1, 1, H, W) in [0, 1], fading with distance."""
    points = torch.cat([torch.from_numpy(thing.points).float() for thing in scene.objects])
    size = float((points.amax(0) - points.amin(0)).max())
    rays, eye = world_rays(scene.camera.frame(0))[0], scene.camera.pose[0, :3, 3]
    normal = scene.plane.normal.to(rays)
    falling = torch.einsum("chw,c->hw", rays, normal)
    distance = (scene.plane.offset - float(normal @ eye)) / torch.where(falling.abs() > 1e-6, falling, 1e-6)
    spot = eye[:, None, None] + distance * rays - points.mean(0)[:, None, None]
    side = torch.linalg.cross(normal, scene.camera.pose[0, :3, 2])
    side = functional.normalize(side, dim=0)
    other = torch.linalg.cross(side, normal)
    line = torch.zeros_like(distance)
    for axis in (side, other):
        along = torch.einsum("chw,c->hw", spot, axis) / size
        pixel = distance / size / float(scene.camera.intrinsics[0, 0, 0]) / falling.abs().clamp(min=0.05)
        off = ((along + 0.5).remainder(1) - 0.5).abs()
        line = torch.maximum(line, (1 - off / (1.2 * pixel.clamp(min=1e-6))).clamp(0, 1))
    fade = torch.exp(-((spot.norm(dim=0) / (4 * size)) ** 2))
    return torch.where(distance > 0, line * fade, torch.zeros_like(line))[None, None]
