"""What the comparison with Blender rests on: axes, camera, light and noise. Blender itself is not needed."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from blender.export import blender_camera, export_world, tangent_normals, to_z_up
from blender.figures import Seconds, noise, noise_of_one, psnr, region_differences, samples_for, split_time
from blender.sides import find_blender

from unrender.errors import UserError
from unrender.files.exr import read_channels
from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera, project
from unrender.scene.environment import EnvironmentMap, texel_directions

RNG = np.random.default_rng(3)


def seen_by_blender(points: np.ndarray, camera: dict) -> np.ndarray:
    """Pixels (N, 2) of world points (N, 3), as Blender's manual has lens and shift: in widths of the sensor."""
    pose, (height, width) = np.array(camera["pose"]), camera["size"]
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    x, y = (camera["lens"] * local[:, i] / -local[:, 2] - camera["shift"][i] for i in (0, 1))
    return np.stack((width * (0.5 + x), height / 2 - width * y), -1)


def test_a_point_is_seen_in_the_same_pixel():
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    pose = torch.eye(4)[None]
    pose[0, :3, :3] = torch.from_numpy(turn * np.linalg.det(turn)).float()
    pose[0, :3, 3] = torch.tensor([1.0, 2.0, 3.0])
    camera = Camera(torch.tensor([[[70.0, 0, 30], [0, 70, 17], [0, 0, 1]]]), pose, (48, 64))
    local = np.array([[0.1, 0.2, -2.0, 1], [-0.5, 0.3, -4.0, 1], [0.0, 0.0, -1.0, 1]])
    points = (local @ pose[0].double().numpy().T)[:, :3]
    ours, _ = project(torch.from_numpy(points).float()[None], camera)
    theirs = seen_by_blender(to_z_up(points), blender_camera(camera))
    np.testing.assert_allclose(theirs, ours[0].numpy(), atol=1e-3)


def test_pixels_that_are_not_square_are_refused():
    camera = Camera(torch.tensor([[[70.0, 0, 32], [0, 60, 32], [0, 0, 1]]]), torch.eye(4)[None], (64, 64))
    with pytest.raises(UserError, match="square pixels"):
        blender_camera(camera)


def triangle(**more: np.ndarray) -> TexturedMesh:
    flat = np.full((4, 4), 0.5, np.float32)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (3, 1))
    faces = np.array([[0, 1, 2]], np.uint32)
    return TexturedMesh(
        corners, normals, corners[:, :2], faces, np.full((4, 4, 3), 0.5, np.float32), flat, flat, **more
    )


def test_light_comes_from_the_same_side(tmp_path: Path):
    """Blender's own formula finds the one bright texel of the file."""
    radiance = torch.zeros(1, 3, 8, 16)
    radiance[0, :, 2, 5] = 7.0
    export_world(tmp_path, triangle(), np.zeros(3, int), Camera.perspective((8, 8)), [EnvironmentMap(radiance)])
    x, y, z = to_z_up(texel_directions((8, 16))[2, 5].double().numpy()[None])[0]
    u, v = 0.5 - np.arctan2(y, x) / (2 * np.pi), np.arctan2(z, np.hypot(x, y)) / np.pi + 0.5
    red = read_channels(tmp_path / "light0.exr").channels["R"]
    assert red[int((1 - v) * 8), int(u % 1 * 16)] == 7.0
    assert red.sum() == 7.0


def test_a_scene_with_lamps_is_refused(tmp_path: Path):
    lamp = triangle(emission=np.ones((1, 3), np.float32))
    with pytest.raises(UserError, match="area emitters"):
        export_world(tmp_path, lamp, np.zeros(3, int), Camera.perspective((8, 8)), [])


def test_faces_of_no_area_are_left_out(tmp_path: Path):
    """They would spoil the normals that Blender is given."""
    surface = triangle()
    surface = replace(surface, faces=np.array([[0, 1, 2], [0, 1, 1]], np.uint32))
    export_world(tmp_path, surface, np.zeros(3, int), Camera.perspective((8, 8)), [])
    assert np.load(tmp_path / "mesh.npz")["faces"].tolist() == [[0, 1, 2]]


def test_bumps_lean_back_from_where_the_surface_rises():
    red, green, blue = tangent_normals(np.array([[[0.5, -0.25]]], np.float32))[0, 0] * 2 - 1
    assert (red, green, blue) == pytest.approx((-0.5, -0.25, 1.0))


def test_noise_is_the_spread_over_the_mean():
    where = np.ones((200, 200), bool)
    where[:50] = False
    one, two = (2 + 0.1 * RNG.normal(size=(3, 200, 200)) for _ in range(2))
    one[:, :50] = 100.0
    assert noise(one, two, where) == pytest.approx(0.05, rel=0.02)
    one[:, 100, 100] = 500.0
    assert noise(one, two, where) > 0.5
    assert noise(one, two, where, worst=0.01) == pytest.approx(0.05, rel=0.05)


def test_time_at_equal_noise_follows_from_two_renders():
    of_one = noise_of_one((16, 64), (0.25, 0.125))
    assert of_one == pytest.approx(1.0)
    assert samples_for(0.1, of_one) == pytest.approx(100)
    fixed, each = split_time((16, 64), (Seconds(4.2, 2.6), Seconds(13.8, 7.4)))
    assert fixed == pytest.approx((1.0, 1.0))
    assert each == pytest.approx((0.2, 0.1))


def test_agreement_is_seen_by_region():
    one = np.ones((3, 10, 10))
    regions = np.zeros((10, 10), int)
    regions[:5], regions[5:8], regions[8, 0] = 1, 2, 3
    two = one * np.where(regions == 2, 1.1, 1.0)
    assert region_differences(one, two, regions, least=10) == pytest.approx({1: 0.0, 2: 0.1})
    assert psnr(one, one, regions == 1) > 100
    assert psnr(one, two, regions == 2) < 30


def test_without_blender_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no command blender"):
        find_blender()
