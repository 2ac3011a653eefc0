"""Hypersim: a tilted plane in the dataset's true layout, and what its own formulas say of it."""

from __future__ import annotations

import csv
import math
import pickle
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from planes import NORMAL, everywhere, plane_depth
from unrender.errors import UserError
from unrender.files.datasets.hypersim import CAMERA_FILE, SPLIT_FILE, official_gain, open_hypersim
from unrender.scene.camera import Camera, depth_to_ray_distance, project
from unrender.scene.gbuffer import GBuffer
from unrender.train.datasets import load_dataset

SIZE = (12, 16)
FIXED = Camera.perspective(SIZE, math.degrees(2 * math.atan(12 / 16 * math.tan(math.pi / 6))))
TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
POSITION = np.array([10.0, 20, 30])
METRES = 0.5
SCENE, FRAME = "ai_001_002", 3


def dataset(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["dataset"] = values


def table(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def image(value: Tensor) -> np.ndarray:
    return value[0].permute(1, 2, 0).squeeze(-1).numpy()


def split_row(scene: str, frame: int, split: str, public: bool = True) -> dict[str, object]:
    return {
        "scene_name": scene,
        "camera_name": "cam_00",
        "frame_id": frame,
        "included_in_public_release": public,
        "exclude_reason": "",
        "split_partition_name": split,
    }


def write_scene(folder: Path, distance: Tensor, normal: Tensor) -> None:
    """One frame: color = albedo illumination + residual, two pixels without a surface."""
    images = folder / SCENE / "images"
    final, geometry = images / "scene_cam_00_final_hdf5", images / "scene_cam_00_geometry_hdf5"
    albedo = np.full((*SIZE, 3), (0.25, 0.5, 0.75), np.float16)
    light = np.linspace(0, 4, 192, dtype=np.float16).reshape(*SIZE, 1).repeat(3, 2)
    residual = np.full((*SIZE, 3), 0.125, np.float16)
    entity = np.ones(SIZE, np.int32)
    entity[0, :2] = -1
    stored = {"color": albedo * light + residual, "diffuse_reflectance": albedo}
    stored |= {"diffuse_illumination": light, "residual": residual}
    for name, values in stored.items():
        dataset(final / f"frame.{FRAME:04d}.{name}.hdf5", values)
    shapes = {"depth_meters": image(distance), "normal_cam": image(normal), "render_entity_id": entity}
    for name, values in shapes.items():
        dataset(geometry / f"frame.{FRAME:04d}.{name}.hdf5", values)
    detail = folder / SCENE / "_detail"
    dataset(detail / "cam_00" / "camera_keyframe_orientations.hdf5", np.stack([np.eye(3)] * FRAME + [TURN]))
    dataset(detail / "cam_00" / "camera_keyframe_positions.hdf5", np.stack([np.zeros(3)] * FRAME + [POSITION]))
    table(detail / "metadata_scene.csv", [{"parameter_name": "meters_per_asset_unit", "parameter_value": METRES}])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    normal = everywhere(0.5 * NORMAL, SIZE)
    normal[..., 5, :] *= -1
    normal[..., 6, 6] = 0
    distance = depth_to_ray_distance(plane_depth(FIXED), FIXED)
    distance[..., 7, 7] = 70
    write_scene(tmp_path, distance, normal)
    rows = [split_row(SCENE, FRAME, "train"), split_row(SCENE, 4, "train", public=False), split_row(SCENE, 9, "test")]
    table(tmp_path / SPLIT_FILE, [*rows, split_row("ai_055_010", 0, "train")])
    return tmp_path


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
