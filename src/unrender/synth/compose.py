"""One random world: things on a table (or against walls, or close up), a camera, a light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.synth.lights import random_light
from unrender.synth.materials import random_material
from unrender.synth.objects import random_object
from unrender.synth.shapes import Array, Mesh, grid_faces
from unrender.synth.world import Thing, World

Random = np.random.Generator

_WIDE, _SMALL = 512, 256


@dataclass(frozen=True)
class Sources:
    """What the user brings; () = the built-in families, the shipped worlds and procedural lights.

    Attributes:
        assets: GLB or OBJ files.
        lights: HDR or EXR files.
    """

    assets: tuple[Path, ...] = ()
    lights: tuple[Path, ...] = ()


def random_world(rng: Random, size: tuple[int, int], sources: Sources, *, test: bool) -> World:
    """Draws a scene for pictures of `size` (height, width) in pixels."""
    close = rng.random() < 0.15
    things = _close_up(rng, test) if close else _arrangement(rng, test)
    camera, away = _camera(rng, things, size, close)
    scenery = [] if close else _scenery(rng, things, away, test)
    light = random_light(rng, test=test)
    place = f" {scenery[0].name}" if scenery else ""
    caption = f"{', '.join(thing.name for thing in things)}{place}, {light.name}"
    return World((*scenery, *things), light, camera, caption)


def another_light(rng: Random, world: World, sources: Sources, *, test: bool) -> EnvironmentMap:
    """Another light for the same world."""
    return random_light(rng, test=test)


def _close_up(rng: Random, test: bool) -> list[Thing]:
    name, mesh = random_object(rng)
    material = random_material(rng, _SMALL, test=test)
    return [Thing(mesh, material, f"{material.name} {name}", _pose(_any_rotation(rng)), movable=True)]


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
        resting = Mesh(vertices, mesh.uv, mesh.faces)
        pose = _pose(np.eye(3), np.array([spot[0], 0, spot[1]]))
        things.append(Thing(resting, material, f"{material.name} {name}", pose, movable=True))
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
    points = np.concatenate([thing.placed for thing in things])
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
    reach = max(float(np.linalg.norm(thing.placed[:, [0, 2]], axis=1).max()) for thing in things)
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


def _pose(rotation: Array, position: Array | None = None) -> Array:
    pose = np.eye(4)
    pose[:3, :3] = rotation
    if position is not None:
        pose[:3, 3] = position
    return pose


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
