"""Camera files: a world point must fall on the pixel that the other tool's own formula says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from unrender.errors import UserError
from unrender.files.cameras import NamedCameras, read_co3d, read_colmap, read_transforms, write_transforms
from unrender.files.images import write_image
from unrender.scene.camera import Camera, unproject

RNG = np.random.default_rng(5)


def rotation() -> np.ndarray:
    q, r = np.linalg.qr(RNG.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, ::-1].copy()


def project(camera: Camera, frame: int, point: np.ndarray) -> np.ndarray:
    """World point to pixel (x, y), OpenGL axes, by the definition in `conventions`."""
    x, y, z, _ = np.linalg.inv(camera.pose[frame].double().numpy()) @ np.append(point, 1)
    k = camera.intrinsics[frame].double().numpy()
    assert z < 0, "in front of the camera"
    return np.array([k[0, 2] + k[0, 0] * x / -z, k[1, 2] - k[1, 1] * y / -z])


def quaternion(matrix: np.ndarray) -> np.ndarray:
    w = np.sqrt(1 + np.trace(matrix)) / 2
    return np.array([w, *(matrix[[2, 0, 1], [1, 2, 0]] - matrix[[1, 2, 0], [2, 0, 1]]) / (4 * w)])


def colmap_model(folder: Path, camera: str, matrix: np.ndarray, translation: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "cameras.txt").write_text(f"# Camera list\n1 {camera}\n")
    numbers = " ".join(map(repr, map(float, (*quaternion(matrix), *translation))))
    (folder / "images.txt").write_text(f"# Images\n2 {numbers} 1 b two.png\n\n1 {numbers} 1 a.png\n0.5 0.5 -1\n")
    return folder


@pytest.mark.parametrize(
    ("camera", "k"),
    [
        ("SIMPLE_PINHOLE 80 60 100 41 29", (100, 100, 41, 29)),
        ("PINHOLE 80 60 100 90 41 29", (100, 90, 41, 29)),
        ("SIMPLE_RADIAL 80 60 100 41 29 0", (100, 100, 41, 29)),
        ("OPENCV 80 60 100 90 41 29 0 0 0 0", (100, 90, 41, 29)),
    ],
)
def test_colmap(tmp_path: Path, camera: str, k: tuple[float, ...]) -> None:
    angle = 0.4
    matrix = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    translation = np.array([0.3, -0.2, 5.0])
    read = read_colmap(colmap_model(tmp_path, camera, matrix, translation))
    assert read.names == ("a.png", "b two.png")
    assert read.camera.size == (60, 80)
    assert torch.allclose(torch.linalg.det(read.camera.pose[:, :3, :3]), torch.ones(2))
    point = np.array([0.5, 0.4, -0.3])
    x, y, z = matrix @ point + translation
    expected = [k[0] * x / z + k[2], k[1] * y / z + k[3]]
    assert project(read.camera, 0, point) == pytest.approx(expected, abs=1e-4)


def test_transforms(tmp_path: Path) -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation(), (1, 2, 3)
    said = {"fl_x": 100, "fl_y": 90, "cx": 41, "cy": 29, "w": 80, "h": 60}
    said["frames"] = [{"file_path": "a.png", "transform_matrix": pose.tolist()}]
    (tmp_path / "t.json").write_text(json.dumps(said))
    read = read_transforms(tmp_path / "t.json")
    in_camera = np.array([0.2, 0.1, -2.0])
    in_z_up_world = pose[:3, :3] @ in_camera + pose[:3, 3]
    in_y_up_world = in_z_up_world[[0, 2, 1]] * (1, 1, -1)
    expected = [41 + 100 * 0.1, 29 - 90 * 0.05]
    assert project(read.camera, 0, in_y_up_world) == pytest.approx(expected, abs=1e-4)
    as_is = read_transforms(tmp_path / "t.json", world_up="y")
    assert project(as_is.camera, 0, in_z_up_world) == pytest.approx(expected, abs=1e-4)
    assert torch.allclose(torch.linalg.det(read.camera.pose[:, :3, :3]), torch.ones(1))


def test_z_up_becomes_y_up(tmp_path: Path) -> None:
    # A camera at Blender's (0, -4, 1), looking along +Y, up +Z: OpenGL axes right +X, up +Z, back -Y.
    pose = [[1, 0, 0, 0], [0, 0, -1, -4], [0, 1, 0, 1], [0, 0, 0, 1]]
    said = {"camera_angle_x": 1.0, "w": 8, "h": 8, "frames": [{"file_path": "a", "transform_matrix": pose}]}
    (tmp_path / "t.json").write_text(json.dumps(said))
    expected = torch.eye(4)
    expected[:3, 3] = torch.tensor([0.0, 1, 4])
    assert torch.equal(read_transforms(tmp_path / "t.json").camera.pose[0], expected)


def test_transforms_without_size_or_focal_length(tmp_path: Path) -> None:
    write_image(tmp_path / "r_0.png", torch.rand(3, 6, 8))
    said = {"camera_angle_x": np.pi / 2, "frames": [{"file_path": "./r_0", "transform_matrix": np.eye(4).tolist()}]}
    (tmp_path / "t.json").write_text(json.dumps(said))
    camera = read_transforms(tmp_path / "t.json").camera
    assert camera.size == (6, 8)
    assert torch.allclose(camera.intrinsics[0], torch.tensor([[4.0, 0, 4], [0, 4, 3], [0, 0, 1]]))


def test_applied_transform_is_undone(tmp_path: Path) -> None:
    pose, applied = np.eye(4), np.eye(4)
    pose[:3, 3] = (1, 2, 3)
    applied[:3, :3] = rotation()
    said = {"fl_x": 9, "w": 8, "h": 6, "applied_transform": applied[:3].tolist()}
    said["frames"] = [{"file_path": "a", "transform_matrix": (applied @ pose).tolist()}]
    (tmp_path / "t.json").write_text(json.dumps(said))
    read = read_transforms(tmp_path / "t.json", world_up="y")
    assert torch.allclose(read.camera.pose[0], torch.from_numpy(pose).float(), atol=1e-6)


def test_transforms_round_trip(tmp_path: Path) -> None:
    poses = torch.eye(4).repeat(3, 1, 1)
    for pose in poses:
        pose[:3, :3], pose[:3, 3] = torch.from_numpy(rotation()), torch.rand(3)
    cameras = NamedCameras(("a.png", "b.png", "c.png"), Camera.perspective((60, 80), 33.0, poses))
    write_transforms(tmp_path / "t.json", cameras)
    back = read_transforms(tmp_path / "t.json")
    assert back.names == cameras.names
    assert back.camera.size == (60, 80)
    assert torch.allclose(back.camera.pose, poses, atol=1e-6)
    assert torch.allclose(back.camera.intrinsics, cameras.camera.intrinsics)


def co3d(path: Path, layout: str | None, size: tuple[int, int] = (60, 80)) -> tuple[Path, np.ndarray, np.ndarray]:
    matrix, translation = rotation(), np.array([0.1, -0.2, 6.0])
    viewpoint = {"R": matrix.tolist(), "T": translation.tolist(), "focal_length": [2.0, 2.5]}
    viewpoint |= {"principal_point": [0.1, -0.05]} | ({"intrinsics_format": layout} if layout else {})
    frames = [
        {"sequence_name": name, "frame_number": number, "image": {"path": f"{name}/{number}.jpg", "size": list(size)}}
        | {"viewpoint": viewpoint}
        for name, number in (("s", 10), ("s", 9), ("other", 1))
    ]
    with gzip.open(path, "wt") as file:
        json.dump(frames, file)
    return path, matrix, translation


@pytest.mark.parametrize("layout", ["ndc_isotropic", "ndc_norm_image_bounds", None])
def test_co3d(tmp_path: Path, layout: str | None) -> None:
    path, matrix, translation = co3d(tmp_path / "frame_annotations.jgz", layout)
    read = read_co3d(path, "s")
    assert read.names == ("s/9.jpg", "s/10.jpg")
    point = np.array([0.4, 0.3, -0.2])
    x, y, z = point @ matrix + translation
    # PyTorch3D: NDC by the focal length, +x left, +y up; then to the screen, whose left edge is +1 (or +W/H).
    ndc = np.array([2.0 * x / z + 0.1, 2.5 * y / z - 0.05])
    scale = np.array([30, 30]) if layout == "ndc_isotropic" else np.array([40, 30])
    assert project(read.camera, 0, point) == pytest.approx([40, 30] - ndc * scale, abs=1e-4)
    assert torch.allclose(torch.linalg.det(read.camera.pose[:, :3, :3]), torch.ones(2))


def test_pixel_centres_are_at_a_half(tmp_path: Path) -> None:
    # COLMAP's first pixel has its centre at (0.5, 0.5): its ray, at depth d, must project there again.
    model = colmap_model(tmp_path, "PINHOLE 8 6 10 10 4 3", np.eye(3), np.zeros(3))
    camera = read_colmap(model).camera.frame(0)
    point = unproject(torch.full((1, 1, 6, 8), 2.0), camera)[0, :, 0, 0].double().numpy()
    world = (camera.pose[0].double().numpy() @ np.append(point, 1))[:3]
    x, y, z = world
    assert [10 * x / z + 4, 10 * y / z + 3] == pytest.approx([0.5, 0.5])


def test_bad_camera_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_transforms(tmp_path / "no.json")
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_transforms(tmp_path / "t.json")
    (tmp_path / "t.json").write_text("[]")
    with pytest.raises(UserError, match=r"not a transforms\.json"):
        read_transforms(tmp_path / "t.json")
    frame = {"file_path": "a", "transform_matrix": np.eye(4).tolist()}
    (tmp_path / "t.json").write_text(json.dumps({"fl_x": 9, "w": 8, "h": 6, "k1": 0.1, "frames": [frame]}))
    with pytest.raises(UserError, match="distortion"):
        read_transforms(tmp_path / "t.json")
    model = colmap_model(tmp_path / "sparse", "SIMPLE_RADIAL 80 60 100 41 29 0.1", np.eye(3), np.zeros(3))
    with pytest.raises(UserError, match="distortion"):
        read_colmap(model)
    colmap_model(model, "FISHEYE 80 60 100 41 29 0.1", np.eye(3), np.zeros(3))
    with pytest.raises(UserError, match="FISHEYE"):
        read_colmap(model)
    (model / "images.txt").write_text("1 2 3\n\n")
    with pytest.raises(UserError, match="not a COLMAP text model"):
        read_colmap(model)
    path, *_ = co3d(tmp_path / "f.jgz", "ndc_isotropic")
    with pytest.raises(UserError, match=r"no sequence 'q'; it has other, s"):
        read_co3d(path, "q")
    (tmp_path / "g.jgz").write_text("not gzip")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_co3d(tmp_path / "g.jgz", "s")
