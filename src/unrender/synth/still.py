"""One random still: things on a table (or against walls, or close up), a camera, a light, and the render."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import median_filter

from unrender.files.shards import Clip
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.scene import Surface
from unrender.raytrace.stage import build_stage
from unrender.raytrace.transport import render_lights
from unrender.scene.camera import Camera
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.synth.lights import random_light
from unrender.synth.materials import Material, random_material
from unrender.synth.objects import random_object
from unrender.synth.shapes import Array, Mesh, grid_faces, vertex_normals

Random = np.random.Generator

# All surfaces share one atlas: every scene is one mesh with one material, and Dr.Jit compiles its kernels once.
_ATLAS = (768, 1024)
_WIDE, _SMALL = 512, 256
_WIDE_TILES = ((0, 0), (0, 512))
_SMALL_TILES = ((512, 0), (512, 256), (512, 512), (512, 768))


@dataclass(frozen=True)
class Thing:
    """A mesh in world space, its material, and what to call it."""

    mesh: Mesh
    material: Material
    name: str


def random_still(rng: Random, seed: int, size: tuple[int, int], samples: int, *, test: bool) -> Clip:
    """Draws a scene and renders it with its truth.

    Args:
        rng: what everything is drawn from, the renderer's seed too.
        seed: what the clip is to be known by.
        size: (height, width) in pixels.
        samples: paths a pixel.
        test: whether worlds and patterns are those held out of training.

    Returns:
        A clip of one frame. rgb and the light are linear Rec.709, both scaled by one exposure, half-float range.
    """
    close = rng.random() < 0.15
    things = _close_up(rng, test) if close else _arrangement(rng, test)
    camera, away = _camera(rng, things, size, close)
    scenery = [] if close else _scenery(rng, things, away, test)
    light = random_light(rng, test=test)
    stage = build_stage(_atlas(scenery, things), camera)
    gbuffer = trace_gbuffer(stage)
    rgb = _without_fireflies(render_lights(stage, [light], samples=samples, seed=int(rng.integers(2**31))).rgb)
    gain = _exposure(rng, rgb, gbuffer.maps["mask"])
    light = EnvironmentMap((light.radiance * gain).clamp(max=6e4), name=light.name)
    place = f" {scenery[0].name}" if scenery else ""
    caption = f"{', '.join(thing.name for thing in things)}{place}, {light.name}"
    return Clip(replace(gbuffer, rgb=(rgb * gain).clamp(0, 1000)), light, caption, seed)


def _close_up(rng: Random, test: bool) -> list[Thing]:
    name, mesh = random_object(rng)
    material = random_material(rng, _SMALL, test=test)
    return [Thing(_turned(mesh, _any_rotation(rng)), material, f"{material.name} {name}")]


def _arrangement(rng: Random, test: bool) -> list[Thing]:
    """One to three things that rest on y = 0 with disjoint bounding circles."""
    things: list[Thing] = []
    circles: list[tuple[float, float, float]] = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.35, 0.35, 0.3]))):
        name, mesh = random_object(rng)
        tumbled = rng.random() < (0.5 if name in ("rock", "box", "torus", "superquadric") else 0.12)
        mesh = _turned(mesh, _any_rotation(rng) if tumbled else _about_y(rng.uniform(0, 2 * np.pi)))
        scale = rng.uniform(0.45, 1.1)
        vertices = (mesh.vertices - [0, mesh.vertices[:, 1].min(), 0]) * scale
        radius = float(np.linalg.norm(vertices[:, [0, 2]], axis=1).max())
        spot = _free_spot(rng, radius, circles)
        material = random_material(rng, _SMALL, test=test)
        circles.append((*spot, radius))
        moved = Mesh(vertices + np.array([spot[0], 0, spot[1]]), mesh.uv, mesh.faces)
        things.append(Thing(moved, material, f"{material.name} {name}"))
    return things


def _free_spot(rng: Random, radius: float, circles: list[tuple[float, float, float]]) -> tuple[float, float]:
    """A place for a circle that touches none of `circles`, as near the first as chance allows."""
    if not circles:
        return 0.0, 0.0
    reach = circles[0][2] + radius
    while True:
        angle, distance = rng.uniform(0, 2 * np.pi), reach * rng.uniform(1.03, 1.5)
        x, z = circles[0][0] + distance * np.sin(angle), circles[0][1] + distance * np.cos(angle)
        if all(np.hypot(x - cx, z - cz) > radius + r + 0.02 for cx, cz, r in circles):
            return float(x), float(z)
        reach *= 1.05


def _camera(rng: Random, things: list[Thing], size: tuple[int, int], close: bool) -> tuple[Camera, float]:
    """A camera that has the things in frame, and the azimuth in radians that it looks away towards."""
    points = np.concatenate([thing.mesh.vertices for thing in things])
    low, high = points.min(0), points.max(0)
    center = (low + high) / 2
    radius = float(np.linalg.norm(points - center, axis=1).max())
    fov = rng.uniform(30, 60)
    fill = rng.uniform(0.6, 1.0) if close else rng.uniform(0.7, 1.5)
    distance = max(radius / np.sin(np.radians(fov / 2)) * fill, 1.25 * radius + 0.1)
    elevation = np.radians(rng.uniform(-60, 60) if close else 8 + 62 * rng.beta(1.3, 1.8))
    azimuth = rng.uniform(0, 2 * np.pi)
    toward = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    eye = center + distance * toward
    target = center + radius * rng.uniform(-0.25, 0.25, 3)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    roll = np.radians(rng.normal(0, 3))
    right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, up, -forward, eye
    return Camera.perspective(size, fov, torch.from_numpy(pose).float()[None]), azimuth + np.pi


def _scenery(rng: Random, things: list[Thing], away: float, test: bool) -> list[Thing]:
    """The ground, and sometimes a back wall or a corner of two, beyond the things as the camera sees them."""
    material = random_material(rng, _WIDE, test=test, metal_share=0.06)
    extent = rng.uniform(5, 9)
    turn = rng.uniform(0, 2 * np.pi)
    ground = Thing(_turned(_plane(extent, extent), _about_y(turn)), material, f"on a {material.name} ground")
    kind = rng.random()
    if kind > 0.25:
        return [ground]
    reach = max(float(np.linalg.norm(thing.mesh.vertices[:, [0, 2]], axis=1).max()) for thing in things)
    paint = random_material(rng, _WIDE, test=test, metal_share=0.02)
    sides = (0.0,) if kind < 0.13 else (-np.pi / 4, np.pi / 4)
    tilt = rng.uniform(-0.4, 0.4)
    height = rng.uniform(2.5, 7)
    parts = []
    for side in sides:
        distance = reach * rng.uniform(1.1, 2.2) + 0.2
        wall = _plane(9.0, height)
        upright = Mesh(wall.vertices[:, [0, 2, 1]] * [1, -1, 1] - [0, 0, distance], wall.uv, wall.faces)
        # The wall of `side` 0 stands at -Z and faces +Z; `away` is measured from +Z.
        parts.append(Thing(_turned(upright, _about_y(away + np.pi + side + tilt)), paint, "wall"))
    return [replace(ground, name=f"{ground.name} by a {paint.name} wall"), *parts]


def _plane(half_x: float, half_z: float) -> Mesh:
    """A square in y = 0 facing +Y, one texture wide along its longer side."""
    ticks = np.linspace(-1, 1, 9)
    z, x = np.meshgrid(ticks, ticks, indexing="ij")
    vertices = np.stack((half_x * x, 0 * x, half_z * z), -1).reshape(-1, 3)
    longest = max(half_x, half_z)
    uv = vertices[:, [0, 2]] / (2 * longest) + 0.5
    return Mesh(vertices, uv, grid_faces(9, 9)[:, ::-1])


def _atlas(scenery: list[Thing], things: list[Thing]) -> Surface:
    """Everything as one surface; each material has its tile, and texture coordinates stay half a texel inside it."""
    base = np.zeros((*_ATLAS, 3), np.float32)
    rough, metal = np.full(_ATLAS, 0.5, np.float32), np.zeros(_ATLAS, np.float32)
    tiles = [(thing, tile, _WIDE) for thing, tile in zip(scenery, _wide_tiles(len(scenery)), strict=True)]
    tiles += [(thing, tile, _SMALL) for thing, tile in zip(things, _SMALL_TILES[: len(things)], strict=True)]
    vertices, normals, uvs, faces, start = [], [], [], [], 0
    for thing, (row, column), size in tiles:
        window = (slice(row, row + size), slice(column, column + size))
        base[window], rough[window], metal[window] = (
            thing.material.base_color,
            thing.material.roughness,
            thing.material.metallic,
        )
        inside = thing.mesh.uv * (size - 1) + 0.5
        uvs.append((inside + np.array([column, row])) / [_ATLAS[1], _ATLAS[0]])
        vertices.append(thing.mesh.vertices)
        normals.append(vertex_normals(thing.mesh.vertices, thing.mesh.faces))
        faces.append(thing.mesh.faces + start)
        start += len(thing.mesh.vertices)
    return Surface(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        np.concatenate(uvs).astype(np.float32),
        np.concatenate(faces).astype(np.uint32),
        base,
        rough,
        metal,
    )


def _wide_tiles(count: int) -> list[tuple[int, int]]:
    """The ground's tile, then the walls', which share one."""
    return [_WIDE_TILES[min(i, 1)] for i in range(count)]


def _without_fireflies(rgb: torch.Tensor) -> torch.Tensor:
    """Pixels four times as bright as the third brightest around them take their 3 x 3 median."""
    picture = rgb[0].numpy()
    light = luminance(rgb)[0, 0].numpy()
    padded = np.pad(light, 1, mode="edge")
    around = np.stack([padded[i : i + light.shape[0], j : j + light.shape[1]] for i in range(3) for j in range(3)])
    third = np.partition(around, -3, axis=0)[-3]
    outlier = light > 4 * third + 1e-3
    median = np.stack([median_filter(channel, 3, mode="nearest") for channel in picture])
    return torch.from_numpy(np.where(outlier, median, picture))[None]


def _exposure(rng: Random, rgb: torch.Tensor, mask: torch.Tensor) -> float:
    """The gain that brings a bright percentile of the surfaces near white, give or take a stop."""
    surface = luminance(rgb)[mask > 0.5].numpy()
    key = float(np.percentile(surface, rng.uniform(80, 95))) if len(surface) else 1.0
    mean = float(surface.mean()) if len(surface) else 1.0
    return float(0.55 * 2 ** rng.normal(0, 0.45) / max(key, 0.5 * mean, 1e-4))


def _turned(mesh: Mesh, rotation: Array) -> Mesh:
    return Mesh(mesh.vertices @ rotation.T, mesh.uv, mesh.faces)


def _about_y(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _any_rotation(rng: Random) -> Array:
    """A uniformly random rotation from a random quaternion (Shoemake 1992)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
