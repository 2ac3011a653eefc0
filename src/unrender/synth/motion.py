"""Random motion of camera, light and things: smooth in time; the first frame is the world as sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from unrender.raytrace.mesh import Array
from unrender.scene.camera import Camera
from unrender.scene.trajectory import look_at, shake
from unrender.synth.clearance import circle, pivot, reaches, stands_clear, together
from unrender.synth.placement import about_y
from unrender.synth.world import World

Random = np.random.Generator

PACE_FRAMES = 24  # amplitudes are for this many frames
CHANCES = {"orbit": 0.5, "dolly": 0.3, "shake": 0.35, "light": 0.35, "things": 0.45}
"""Every kind of motion with its probability; 8 clips in 100 have none."""


@dataclass(frozen=True)
class Motion:
    """The motion of a world over T frames.

    Attributes:
        camera: T frames.
        poses: (T, N, 4, 4) float64 object-to-world of every thing.
        yaw: degrees of rotation of the light about +Y in each frame; see `conventions`.
        kinds: those of `CHANCES` that occur.
    """

    camera: Camera
    poses: Array
    yaw: tuple[float, ...]
    kinds: tuple[str, ...]


def random_motion(rng: Random, world: World, frames: int) -> Motion:
    """Samples the motion of `world` over `frames` frames. One frame is the static world.

    Cameras orbit, dolly and shake where nothing is in the way. Things turn about the vertical and slide within their
    `clearance.reaches`, together with what stands on them.
    """
    if frames == 1:  # a still does not ask how far things could go, which takes longer than its frame
        poses = np.stack([thing.pose for thing in world.things])[None]
        return Motion(world.camera, poses, (0.0,), ())
    kinds = [kind for kind, chance in CHANCES.items() if rng.random() < chance]
    reach = reaches(world)
    poses = _thing_poses(rng, world, frames, reach if "things" in kinds else [-1.0] * len(reach))
    path = _camera_path(rng, world, frames, kinds, reach)
    degrees = rng.choice([-1, 1]) * rng.uniform(20, 180) * _pace(frames)
    yaw = degrees * _ease(rng, frames) if "light" in kinds else np.zeros(frames)
    camera = Camera(world.camera.intrinsics.expand(frames, 3, 3), torch.from_numpy(path).float(), world.camera.size)
    moving = {
        "camera": bool(np.ptp(path, axis=0).any()),
        "light": bool(yaw.any()),
        "things": bool(np.ptp(poses, axis=0).any()),
    }
    seen = [kind for kind in kinds if moving[kind if kind in moving else "camera"]]
    return Motion(camera, poses, tuple(float(angle) for angle in yaw), tuple(seen))


def other_cameras(rng: Random, world: World, count: int) -> list[Camera]:
    """Samples `count` other cameras (one frame each) around the things, clear of scenery and of moving things; with the
    intrinsics of the world's camera."""
    if count == 0:
        return []
    reach, goal = reaches(world), pivot(world)
    eye = world.camera.pose[0, :3, 3].double().numpy() - goal
    distance = float(np.linalg.norm(eye))
    azimuth, elevation = math.atan2(eye[0], eye[2]), math.asin(np.clip(eye[1] / distance, -1, 1))
    return [_other_camera(rng, world, (distance, azimuth, elevation), reach) for _ in range(count)]


def _other_camera(
    rng: Random, world: World, base_view: tuple[float, float, float], reach: list[float], tries: int = 48
) -> Camera:
    """One of `other_cameras`; `base_view` is the world camera's distance from the pivot, azimuth from +Z and
    elevation in radians."""
    distance, azimuth, elevation = base_view
    goal = pivot(world)
    lowest = -1.4 if all(thing.group for thing in world.things) else min(elevation, 0.1)  # above the ground
    for attempt in range(tries):
        nearer = 1 - attempt / tries  # to the world's camera, whose position is known to be free
        angle = azimuth + rng.choice([-1, 1]) * math.radians(rng.uniform(15, 170)) * nearer
        height = np.clip(elevation + math.radians(rng.uniform(-25, 25)) * nearer, lowest, 1.4)
        away = distance * rng.uniform(0.8, 1.25) ** nearer
        flat = math.cos(height)
        eye = goal + away * np.array([flat * math.sin(angle), math.sin(height), flat * math.cos(angle)])
        target = goal + 0.05 * distance * rng.uniform(-1, 1, 3)
        if stands_clear(world, eye[None], reach):
            pose = look_at(torch.from_numpy(eye), torch.from_numpy(target)).float()
            return Camera(world.camera.intrinsics, pose, world.camera.size)
    return world.camera


def _pace(frames: int) -> float:
    return (frames - 1) / (PACE_FRAMES - 1)


def _ease(rng: Random, frames: int) -> Array:
    """From 0 to 1 in `frames` steps: evenly, or slowly at both ends."""
    ticks = np.linspace(0, 1, frames)
    soft = rng.random()
    return (1 - soft) * ticks + soft * ticks**2 * (3 - 2 * ticks)


def _camera_path(rng: Random, world: World, frames: int, kinds: list[str], reach: list[float]) -> Array:
    """Camera-to-world (T, 4, 4) float64; the widest of several tries that is free of collisions."""
    start = world.camera.pose[0].double().numpy()
    goal = pivot(world)
    orbit = rng.choice([-1, 1]) * math.radians(rng.uniform(8, 50)) * _pace(frames) if "orbit" in kinds else 0.0
    dolly = float(np.clip(rng.uniform(-0.35, 0.35) * _pace(frames), -0.5, 0.5)) if "dolly" in kinds else 0.0
    dolly *= float(np.linalg.norm(goal - start[:3, 3]))
    ease = _ease(rng, frames)
    jitter = np.broadcast_to(np.eye(4), (frames, 4, 4))
    if "shake" in kinds:
        shift = 0.012 * float(np.linalg.norm(goal - start[:3, 3])) * rng.uniform(0.3, 1.5)
        still = torch.eye(4, dtype=torch.float64).expand(frames, 4, 4)
        held = shake(still, int(rng.integers(2**31)), shift=shift, degrees=rng.uniform(0.2, 0.9)).numpy()
        jitter = np.linalg.inv(held[0]) @ held
    for part in (1.0, -1.0, 0.5, -0.5, 0.25, 0.0):
        path = np.stack([_about(goal, about_y(part * orbit * s)) @ start for s in ease])
        path[:, :3, 3] -= part * dolly * ease[:, None] * path[:, :3, 2]
        path = path @ jitter
        if stands_clear(world, path[:: max(1, frames // PACE_FRAMES), :3, 3], reach):
            return path
    return np.repeat(start[None], frames, axis=0)


def _thing_poses(rng: Random, world: World, frames: int, reach: list[float]) -> Array:
    """Object-to-world (T, N, 4, 4); groups of negative `reach` stand still."""
    poses = np.stack([np.repeat(thing.pose[None], frames, axis=0) for thing in world.things], axis=1)
    able = [index for index, distance in enumerate(reach) if distance >= 0]
    for index in able:
        if index != able[0] and rng.random() < 0.3:
            continue
        group, ease = list(world.groups[index]), _ease(rng, frames)
        points = together(world, group)
        center, radius = circle(points)
        turns, slides = [(True, False), (False, True), (True, True)][rng.choice(3, p=[0.4, 0.3, 0.3])]
        turns |= reach[index] < 0.05 * radius  # too little room for a slide to be seen
        angle = rng.choice([-1, 1]) * math.radians(rng.uniform(15, 120)) * _pace(frames) * turns
        heading = rng.uniform(0, 2 * np.pi)
        length = min(rng.uniform(0.1, 0.7) * _pace(frames), 0.95 * reach[index], 1.0) * slides
        middle = np.array([center[0], (points[:, 1].min() + points[:, 1].max()) / 2, center[1]])
        for frame, s in enumerate(ease):
            moved = _about(middle, about_y(angle * s))
            moved[:3, 3] += length * s * np.array([np.sin(heading), 0, np.cos(heading)])
            poses[frame, group] = moved @ poses[frame, group]
    return poses


def _about(point: Array, rotation: Array) -> Array:
    """`rotation` (3, 3) about `point` (3,), as (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, point - rotation @ point
    return pose
