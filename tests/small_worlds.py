"""Small worlds made by hand, of which everything is known."""

from itertools import count

import numpy as np
import torch

from unrender.raytrace.mesh import Mesh
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.trajectory import look_at
from unrender.synth.materials import random_material
from unrender.synth.shapes import displaced_sphere, grid_faces
from unrender.synth.world import Thing, World

MATERIAL = random_material(np.random.default_rng(0), 8, test=False)
_GROUPS = count(1)
WHITE = EnvironmentMap(torch.ones(1, 3, 128, 256), "white")


def at(x=0.0, y=0.0, z=0.0, scale=1.0):
    pose = np.diag([scale, scale, scale, 1.0])
    pose[:3, 3] = x, y, z
    return pose


def ball(x, z, radius=0.5, y=None, group=None):
    """A ball of `radius` that rests on the ground, or has its centre at height `y`; alone, or of a `group`."""
    mesh = displaced_sphere(lambda d: np.ones(d.shape[:-1]), 16, 24)
    return Thing(
        mesh,
        MATERIAL,
        at(x, radius if y is None else y, z, radius),
        name="ball",
        group=group or next(_GROUPS),
    )


def square(half, pose=None):
    """A square in y = 0 that faces up."""
    z, x = np.meshgrid(np.linspace(-half, half, 5), np.linspace(-half, half, 5), indexing="ij")
    vertices = np.stack((x, 0 * x, z), -1).reshape(-1, 3)
    mesh = Mesh(vertices, vertices[:, [0, 2]] / (2 * half) + 0.5, grid_faces(5, 5)[:, ::-1])
    return Thing(mesh, MATERIAL, np.eye(4) if pose is None else pose)


def wall(z, half=3.0):
    """An upright square at `z` that faces +Z."""
    pose = at(0, 0, z)
    pose[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    return square(half, pose)


def world(*things, eye=(0.0, 1.5, 6.0), size=(24, 24), light=WHITE):
    pose = look_at(torch.tensor(eye), torch.tensor([0.0, 0.4, 0.0]))
    return World(things, light, Camera.perspective(size, 45.0, pose), "balls, white")
