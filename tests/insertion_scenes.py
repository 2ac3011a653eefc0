"""A small object on a plane, for the tests and the benchmark of insertion."""

from dataclasses import replace

import numpy as np
import torch

from unrender.files.environments import builtin_environment
from unrender.raytrace.atlas import PlacedMesh, pack_atlas
from unrender.raytrace.material import Material
from unrender.raytrace.mesh import merge
from unrender.raytrace.path_tracer_scene import build_path_tracer_scene
from unrender.scene.camera import Camera
from unrender.scene.environment import mean_luminance
from unrender.scene.trajectory import look_at
from unrender.synth.furniture import board
from unrender.synth.shapes import displaced_sphere, plane

LIGHT_SIZE = (16, 32)
LIGHTS = ("city", "sunset", "studio", "interior")


def flat(color, roughness=0.5, metallic=0.0):
    ones = np.ones((4, 4), np.float32)
    return Material(ones[..., None] * np.float32(color), ones * roughness, ones * metallic, "flat", 0 * ones)


def light(name, size=LIGHT_SIZE):
    """A shipped light at a small size, its mean luminance 1."""
    found = builtin_environment(name).resized(size)
    return replace(found, radiance=found.radiance / mean_luminance(found)[:, None, None, None])


def surfaces():
    """A ball on two boards that touch, with hollows that light bounces in; and the ground under it."""
    ball = displaced_sphere(lambda d: np.full(d.shape[:-1], 0.5), 40, 64)
    ball = replace(ball, vertices=ball.vertices + [0, 0.7, 0])
    thing = merge([ball, board((0, 0.1, 0), (0.6, 0.1, 0.6)), board((-0.5, 0.5, 0), (0.08, 0.4, 0.5))])
    ground = PlacedMesh(plane(12.0, 12.0), flat((0.5, 0.5, 0.5), 1.0))
    return PlacedMesh(thing, flat((0.7, 0.4, 0.3), 0.4)), ground


def camera(size):
    pose = look_at(torch.tensor([1.2, 1.9, 3.6]), torch.tensor([0.0, 0.4, 0.0]))
    return Camera.perspective((size, size), 42.0, pose)


def scenes(size):
    """Object, and ground, for the path tracer."""
    return tuple(build_path_tracer_scene(pack_atlas([part])[0], camera(size), max_depth=5) for part in surfaces())


def psnr(found, expected):
    return float(-10 * torch.log10((found - expected).detach().square().mean()))
