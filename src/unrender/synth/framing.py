"""Cameras that look at something."""

from __future__ import annotations

import numpy as np
import torch

from unrender.raytrace.mesh import Array
from unrender.scene.camera import Camera

Random = np.random.Generator


def camera_at(rng: Random, size: tuple[int, int], eye: Array, target: Array, fov: float) -> Camera:
    """A camera of `size` (height, width) at `eye` (3,) that looks at `target` (3,), rolled by a few degrees; `fov` in
    degrees."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 1.0, 1e-6])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    roll = np.radians(rng.normal(0, 2.5))
    right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, up, -forward, eye
    return Camera.perspective(size, fov, torch.from_numpy(pose).float()[None])
