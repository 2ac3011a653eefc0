"""Camera files of other tools: NeRF `transforms.json`, COLMAP text, CO3D annotations.

All of them count the centre of the first pixel as (0.5, 0.5), as `conventions` does. Their axes:

transforms.json   camera as here (OpenGL), camera-to-world; the world is +Z up.
COLMAP            camera +X right, +Y down, +Z forward, world-to-camera; the world is wherever COLMAP put it.
CO3D (PyTorch3D)  camera +X left, +Y up, +Z forward, row vectors (x R + T), NDC intrinsics; the world as it is.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.images import read_image
from unrender.files.paths import existing_file
from unrender.scene.camera import Camera

Matrix = NDArray[np.float64]

Z_UP_TO_Y_UP: Matrix = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
OPENCV_TO_OPENGL: Matrix = np.diag([1.0, -1, -1, 1])
_PYTORCH3D_TO_OPENGL: Matrix = np.diag([-1.0, 1, -1])
_DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")
# Where fx, fy, cx, cy stand among a COLMAP model's parameters; what follows them is distortion.
_COLMAP_MODELS = {
    "SIMPLE_PINHOLE": (0, 0, 1, 2),
    "PINHOLE": (0, 1, 2, 3),
    "SIMPLE_RADIAL": (0, 0, 1, 2),
    "RADIAL": (0, 0, 1, 2),
    "OPENCV": (0, 1, 2, 3),
}


@dataclass(frozen=True)
class NamedCameras:
    """The cameras of a set of pictures.

    Attributes:
        names: the pictures' paths as the file gives them.
        camera: one camera a picture, in the same order.
    """

    names: tuple[str, ...]
    camera: Camera


@dataclass(frozen=True)
class _View:
    name: str
    intrinsics: tuple[float, float, float, float]  # fx, fy, cx, cy
    pose: Matrix
    size: tuple[int, int]


def read_transforms(path: str | Path, *, world_up: Literal["z", "y"] = "z") -> NamedCameras:
    """Reads `transforms.json` of NeRF, instant-ngp and nerfstudio.

    `applied_transform` is undone, then the world is turned from `world_up` to +Y up. A file without a size takes that
    of its first picture; one without a focal length its `camera_angle_x`.

    Raises:
        UserError: a missing or damaged file, lens distortion, or pictures of different sizes.
    """
    path = existing_file(path)
    said = _read_json(path)
    applied = np.eye(4)
    views = []
    try:
        if "applied_transform" in said:
            applied[:3] = np.asarray(said["applied_transform"], dtype=np.float64)[:3]
        turn = (Z_UP_TO_Y_UP if world_up == "z" else np.eye(4)) @ np.linalg.inv(applied)
        for frame in said["frames"]:
            both = {**said, **frame}
            if any(both.get(name) for name in _DISTORTIONS):
                raise UserError(f"{path} has lens distortion; undistort the pictures first")
            pose = turn @ np.asarray(frame["transform_matrix"], dtype=np.float64).reshape(4, 4)
            size = _transforms_size(path, both)
            views.append(_View(frame["file_path"], _transforms_intrinsics(both, size), pose, size))
    except (KeyError, TypeError, AttributeError, np.linalg.LinAlgError) as error:
        raise UserError(f"{path} is not a transforms.json: {error!r}") from error
    return _join(path, views)


def write_transforms(path: str | Path, cameras: NamedCameras, *, world_up: Literal["z", "y"] = "z") -> None:
    """Writes `transforms.json`, the world turned from +Y up to `world_up`; intrinsics stand on every frame."""
    height, width = cameras.camera.size
    turn = Z_UP_TO_Y_UP.T if world_up == "z" else np.eye(4)
    frames = []
    for name, k, pose in zip(cameras.names, cameras.camera.intrinsics, cameras.camera.pose, strict=True):
        frames.append(
            {
                "file_path": name,
                "fl_x": k[0, 0].item(),
                "fl_y": k[1, 1].item(),
                "cx": k[0, 2].item(),
                "cy": k[1, 2].item(),
                "w": width,
                "h": height,
                "transform_matrix": (turn @ pose.double().numpy()).tolist(),
            }
        )
    with atomic_write(path) as partial:
        partial.write_text(json.dumps({"camera_model": "PINHOLE", "frames": frames}, indent=1))


def read_colmap(folder: str | Path) -> NamedCameras:
    """Reads a COLMAP text model (a folder with cameras.txt and images.txt), pictures in the order of their names.

    Raises:
        UserError: missing or damaged files, a camera model other than the pinholes, lens distortion, or pictures of
            different sizes.
    """
    folder = Path(folder)
    cameras_path, images_path = existing_file(folder / "cameras.txt"), existing_file(folder / "images.txt")
    try:
        cameras = {}
        for line in _colmap_lines(cameras_path):
            if line:
                number, model, width, height, *parameters = line.split()
                cameras[number] = (model, (int(height), int(width)), [float(value) for value in parameters])
        views = []
        # Every picture has two lines; the second, its points, may be empty.
        for line in _colmap_lines(images_path)[::2]:
            _, *numbers, camera, name = line.split(maxsplit=9)
            model, size, parameters = cameras[camera]
            intrinsics = _colmap_intrinsics(cameras_path, model, parameters)
            views.append(_View(name, intrinsics, _colmap_pose([float(value) for value in numbers]), size))
    except (ValueError, KeyError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder} is not a COLMAP text model: {error!r}") from error
    return _join(folder, sorted(views, key=lambda view: view.name))


def read_co3d(path: str | Path, sequence: str) -> NamedCameras:
    """Reads one sequence of CO3D's `frame_annotations.jgz` (gzipped JSON), frames by number.

    Intrinsics of both formats are understood: `ndc_norm_image_bounds` (x and y each by its own side; the default)
    and `ndc_isotropic` (both by the shorter side). NDC's +1 is the left and the upper edge of the picture.

    Raises:
        UserError: a missing or damaged file, an unknown sequence, or pictures of different sizes.
    """
    path = existing_file(path)
    frames = _read_json(path, opener=gzip.open)
    try:
        wanted = sorted((f for f in frames if f["sequence_name"] == sequence), key=lambda f: f["frame_number"])
        if not wanted:
            known = sorted({f["sequence_name"] for f in frames})
            raise UserError(f"{path} has no sequence {sequence!r}; it has {', '.join(known[:5])} ({len(known)} in all)")
        return _join(path, [_co3d_view(frame) for frame in wanted])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a list of CO3D frame annotations: {error!r}") from error


def _join(path: Path, views: Sequence[_View]) -> NamedCameras:
    sizes = {view.size for view in views}
    if len(sizes) != 1:
        raise UserError(f"{path} has pictures of {len(sizes)} sizes {sorted(sizes)[:4]}; expected one size for all")
    intrinsics = np.zeros((len(views), 3, 3), np.float32)
    for matrix, (fx, fy, cx, cy) in zip(intrinsics, (view.intrinsics for view in views), strict=True):
        matrix[:] = ((fx, 0, cx), (0, fy, cy), (0, 0, 1))
    poses = np.stack([view.pose for view in views]).astype(np.float32)
    camera = Camera(torch.from_numpy(intrinsics), torch.from_numpy(poses), views[0].size)
    return NamedCameras(tuple(view.name for view in views), camera)


def _read_json(path: Path, opener: Any = open) -> Any:
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            return json.load(file)
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as JSON; it is damaged or another format ({error})") from error


def _transforms_size(path: Path, said: Mapping[str, Any]) -> tuple[int, int]:
    if "w" in said and "h" in said:
        return int(said["h"]), int(said["w"])
    picture = path.parent / said["file_path"]
    # The NeRF synthetic scenes leave the suffix out.
    return read_image(picture if picture.suffix else picture.with_suffix(".png")).size


def _transforms_intrinsics(said: Mapping[str, Any], size: tuple[int, int]) -> tuple[float, float, float, float]:
    height, width = size
    fx = said["fl_x"] if "fl_x" in said else 0.5 * width / np.tan(0.5 * said["camera_angle_x"])
    fy = said.get("fl_y") or (0.5 * height / np.tan(0.5 * said["camera_angle_y"]) if "camera_angle_y" in said else fx)
    return float(fx), float(fy), float(said.get("cx", width / 2)), float(said.get("cy", height / 2))


def _colmap_lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]


def _colmap_intrinsics(path: Path, model: str, parameters: list[float]) -> tuple[float, float, float, float]:
    if model not in _COLMAP_MODELS:
        raise UserError(f"{path} has a camera of model {model}; expected {', '.join(_COLMAP_MODELS)}")
    where = _COLMAP_MODELS[model]
    if any(parameters[where[3] + 1 :]):
        raise UserError(f"{path} has lens distortion; undistort the pictures first (colmap image_undistorter)")
    fx, fy, cx, cy = (parameters[index] for index in where)
    return fx, fy, cx, cy


def _colmap_pose(numbers: list[float]) -> Matrix:
    """Quaternion w, x, y, z and translation of world-to-camera, OpenCV axes, to camera-to-world, OpenGL axes."""
    w, x, y, z = np.asarray(numbers[:4]) / np.linalg.norm(numbers[:4])
    to_camera = np.eye(4)
    to_camera[:3, :3] = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    to_camera[:3, 3] = numbers[4:7]
    return np.linalg.inv(to_camera) @ OPENCV_TO_OPENGL


def _co3d_view(frame: Mapping[str, Any]) -> _View:
    said = frame["viewpoint"]
    height, width = frame["image"]["size"]
    layout = said.get("intrinsics_format", "ndc_norm_image_bounds")
    if layout == "ndc_isotropic":
        scale = np.full(2, min(height, width) / 2)
    elif layout == "ndc_norm_image_bounds":
        scale = np.array([width / 2, height / 2])
    else:
        raise UserError(f"CO3D intrinsics of the format {layout!r}; expected ndc_isotropic or ndc_norm_image_bounds")
    fx, fy = np.asarray(said["focal_length"], dtype=np.float64) * scale
    cx, cy = np.array([width / 2, height / 2]) - np.asarray(said["principal_point"], dtype=np.float64) * scale
    rotation, translation = np.asarray(said["R"], dtype=np.float64), np.asarray(said["T"], dtype=np.float64)
    # Rows: x_view = x_world R + T, so x_world = R (x_view - T) as columns.
    pose = np.eye(4)
    pose[:3, :3] = rotation @ _PYTORCH3D_TO_OPENGL
    pose[:3, 3] = -rotation @ translation
    return _View(frame["image"]["path"], (fx, fy, cx, cy), pose, (int(height), int(width)))
