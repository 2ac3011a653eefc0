"""Hypersim: a tilted plane in the dataset's true layout, and what its own formulas say of it."""

from __future__ import annotations

import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_layouts import (
    FIXED,
    METRES,
    POSITION,
    SCENE,
    SIZE,
    TURN,
    table,
    write_hypersim,
    write_scene,
)
from planes import NORMAL, everywhere, plane_depth
from unrender.errors import UserError
from unrender.files.datasets.hypersim import CAMERA_FILE, SPLIT_FILE, official_gain, open_hypersim
from unrender.scene.camera import project
from unrender.scene.gbuffer import GBuffer
from unrender.train.datasets import load_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_hypersim(tmp_path)


def only(pictures: object) -> GBuffer:
    (picture,) = pictures  # ty: ignore[not-iterable]
    return picture


def test_ray_distance_becomes_planar_depth(folder: Path) -> None:
    picture = only(open_hypersim(folder))
    expected = plane_depth(FIXED)
    expected[..., 0, :2] = torch.inf
    expected[..., 7, 7] = torch.inf
    torch.testing.assert_close(picture.depth, expected)
    torch.testing.assert_close(picture.mask, expected.isfinite().float())
    assert picture.depth_kind == "metric"
    torch.testing.assert_close(picture.camera.intrinsics, FIXED.intrinsics)


def test_the_lens_of_the_papers_is_886_pixels_long_at_full_size() -> None:
    assert FIXED.resized((768, 1024)).intrinsics[0, 0, 0].item() == pytest.approx(886.81, abs=0.005)


def test_normals_become_unit_and_face_the_viewer(folder: Path) -> None:
    picture = only(open_hypersim(folder))
    expected = everywhere(NORMAL, SIZE)
    expected[..., 6, 6] = 0
    torch.testing.assert_close(picture.normal, expected)


def test_irradiance_is_pi_times_illumination_so_that_the_picture_adds_up(folder: Path) -> None:
    for exposure in ("official", "none"):
        picture = only(open_hypersim(folder, exposure=exposure))  # ty: ignore[invalid-argument-type]
        lambertian = picture.diffuse_albedo * picture.irradiance / math.pi
        torch.testing.assert_close(lambertian + picture.residual, picture.rgb, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(picture.shading * math.pi, picture.irradiance)
    assert picture.base_color is None
    assert picture.residual.unique().tolist() == [0.125]


def test_the_official_exposure_shows_the_ninetieth_percentile_at_eight_tenths(folder: Path) -> None:
    rendered, exposed = (only(open_hypersim(folder, exposure=e)).rgb for e in ("none", "official"))
    color = rendered[0].double().numpy()
    bright = (0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]).ravel()[2:]
    scale = 0.8**2.2 / np.percentile(bright, 90)
    torch.testing.assert_close(exposed, (scale * rendered.double()).float())


def test_a_frame_without_surface_or_light_has_the_official_gains() -> None:
    nothing, all_of_it = torch.zeros(1, 1, 2, 2, dtype=torch.bool), torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert official_gain(torch.ones(1, 3, 2, 2), nothing) == 1
    assert official_gain(torch.full((1, 3, 2, 2), 1e-5), all_of_it) == 0


def test_the_world_is_turned_up_and_measured_in_metres(folder: Path) -> None:
    camera = only(open_hypersim(folder)).camera
    x, y, z = POSITION * METRES
    torch.testing.assert_close(camera.pose[0, :3, 3], torch.tensor([x, z, -y], dtype=torch.float32))
    # The camera's right is the scene's +Y, which lies behind, along -Z, here; its back stays up.
    torch.testing.assert_close(camera.pose[0, :3, 0], torch.tensor([0.0, 0, -1]))
    torch.testing.assert_close(camera.pose[0, :3, 2], torch.tensor([0.0, 1, 0]))


def test_the_split_keeps_public_frames_whose_scene_is_there(folder: Path) -> None:
    pictures = open_hypersim(folder)
    assert (pictures.keys, pictures.left_out) == ((f"{SCENE}/cam_00/0003",), 1)
    assert open_hypersim(folder, "test").keys == (f"{SCENE}/cam_00/0009",)
    listed = folder / "list.txt"
    listed.write_text(f"train/{SCENE}/rgb_cam_00_fr0003.png {SCENE}/depth_plane_cam_00_fr0003.png\n")
    assert open_hypersim(folder, listed).keys == pictures.keys


def test_pictures_can_be_pickled_sliced_and_read_without_poses(folder: Path) -> None:
    (folder / SCENE / "_detail" / "cam_00").rename(folder / "elsewhere")
    pictures = pickle.loads(pickle.dumps(open_hypersim(folder, maps=["depth"])))
    assert len(pictures[:1]) == 1
    assert set(pictures[0].maps) == {"rgb", "depth"}
    torch.testing.assert_close(pictures[0].camera.pose[0], torch.eye(4))


def test_a_tilted_lens_is_a_pinhole_camera_that_is_turned(folder: Path) -> None:
    """The rays of the table's matrix M, which takes (u, v, 1) to camera space, fall on the pixels of our camera."""
    matrix = np.array([[0.6, 0, -0.03], [0, 0.44, 0.1], [0, 0.09, -1.02]])
    names = {f"M_cam_from_uv_{i}{j}": matrix[i, j] for i in range(3) for j in range(3)}
    table(folder / CAMERA_FILE, [{"scene_name": SCENE} | names])
    height, width = SIZE
    u, v = np.meshgrid((np.arange(width) + 0.5) * 2 / width - 1, 1 - (np.arange(height) + 0.5) * 2 / height)
    rays = np.stack([u, v, np.ones_like(u)], -1) @ matrix.T
    distance = -3 / (rays / np.linalg.norm(rays, axis=-1, keepdims=True) @ NORMAL.numpy())
    write_scene(folder, torch.from_numpy(distance).float()[None, None], everywhere(NORMAL, SIZE))
    picture = only(open_hypersim(folder, lens="scene"))
    # Points of the plane, in Hypersim's own camera, world and unit, turned up.
    points = rays / np.linalg.norm(rays, axis=-1, keepdims=True) * distance[..., None]
    x, y, z = np.moveaxis(points.reshape(-1, 3) @ TURN.T + POSITION * METRES, -1, 0)
    pixels, depth = project(torch.from_numpy(np.stack([x, z, -y], -1)).float(), picture.camera)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    expected = torch.from_numpy(np.stack([columns, rows], -1)).float().reshape(1, -1, 2)
    torch.testing.assert_close(pixels, expected, atol=1e-3, rtol=0)
    there = picture.mask.flatten() > 0
    torch.testing.assert_close(picture.depth.flatten()[there], depth.flatten()[there])
    in_world = picture.camera.pose[0, :3, :3] @ picture.normal[0, :, 4, 4]
    x, y, z = TURN @ NORMAL.numpy()
    torch.testing.assert_close(in_world, torch.tensor([x, z, -y], dtype=torch.float32))


def test_mistakes_are_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = folder / SCENE / "images" / "scene_cam_00_final_hdf5" / "frame.0003.residual.hdf5"
    frame.unlink()
    assert only(open_hypersim(folder, maps=["shading"])).residual is None
    checks = {
        "frame.0003.residual.hdf5 does not exist": lambda: open_hypersim(folder)[0],
        "nowhere does not exist; expected one that holds Hypersim's scenes": lambda: open_hypersim(folder / "nowhere"),
        "the split of Hypersim is 'dev'; expected train, val, test": lambda: open_hypersim(folder, "dev"),
        "a map of Hypersim is 'roughness'": lambda: open_hypersim(folder, maps=["roughness"]),
        "metadata_camera_parameters.csv does not exist": lambda: open_hypersim(folder, lens="scene"),
        "copy it from apple/ml-hypersim": lambda: open_hypersim(folder / SCENE),
        "has no column": lambda: _wrong_table(folder),
    }
    for message, act in checks.items():
        with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
            act()
        assert "\n" not in str(caught.value)
    frame.write_bytes(b"not HDF5")
    with pytest.raises(UserError, match="damaged"):
        open_hypersim(folder)[0]
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install unrender\[datasets\]"):
        open_hypersim(folder, exposure="none", maps=[])[0]


def _wrong_table(folder: Path) -> object:
    other = folder / SCENE
    table(other / SPLIT_FILE, [{"scene": 1}])
    return open_hypersim(other)


def test_training_takes_what_it_knows(folder: Path) -> None:
    stills = load_dataset("hypersim", folder, side=8)
    assert {name for name, known in stills.known.items() if known.all()} == {
        *("rgb", "normal", "depth", "mask", "irradiance")
    }
    assert stills.maps["normal"].shape == (1, 3, 8, 8)
    assert not stills.maps["base_color"].any()
