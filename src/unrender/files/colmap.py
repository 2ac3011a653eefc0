"""COLMAP's models of cameras and pictures, text and binary (colmap.github.io/format.html)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.paths import existing_file
from unrender.files.reading import reading
from unrender.files.views import Matrix, View, number, side, text
from unrender.scene.camera import Camera

OPENCV_TO_OPENGL: Matrix = np.diag([1.0, -1, -1, 1])

# Of the models whose undistorted form is a pinhole: where fx, fy, cx, cy stand among the parameters.
_PINHOLES = {
    "SIMPLE_PINHOLE": (0, 0, 1, 2),
    "PINHOLE": (0, 1, 2, 3),
    "SIMPLE_RADIAL": (0, 0, 1, 2),
    "RADIAL": (0, 0, 1, 2),
    "OPENCV": (0, 1, 2, 3),
    "FULL_OPENCV": (0, 1, 2, 3),
}
# By their number in binary files (colmap/sensor/models.h), each with the number of its parameters.
_NUMBERED = (
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
    ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
)
_COUNTS = dict(_NUMBERED)
_POINT_BYTES = 24  # of a point seen in a picture: x, y, and the number of the point in space


@dataclass(frozen=True)
class _Lens:
    """A camera of the model: its kind, (height, width), and its parameters."""

    model: str
    size: tuple[int, int]
    parameters: list[float]


def colmap_views(folder: Path) -> list[View]:
    """The pictures of a COLMAP model in the file's order; of a folder with both forms the binary one, as COLMAP does.

    Raises:
        UserError: missing or damaged files, a camera that is no pinhole, or lens distortion.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected one with COLMAP's cameras and images (.txt or .bin)")
    if (folder / "cameras.bin").exists() or (folder / "images.bin").exists():
        cameras, images = existing_file(folder / "cameras.bin"), existing_file(folder / "images.bin")
        with reading(cameras, "COLMAP's cameras"):
            lenses = _binary_cameras(cameras)
        with reading(images, "COLMAP's images"):
            return _binary_images(images, lenses)
    if not (folder / "cameras.txt").exists():
        raise UserError(f"{folder} has no cameras.txt or cameras.bin; expected a COLMAP model")
    cameras, images = existing_file(folder / "cameras.txt"), existing_file(folder / "images.txt")
    with reading(cameras, "COLMAP's cameras"):
        lenses = _text_cameras(cameras)
    with reading(images, "COLMAP's images"):
        return _text_images(images, lenses)


def _text_cameras(path: Path) -> dict[int, _Lens]:
    lenses = {}
    for line in _lines(path):
        if line and not line.startswith("#"):
            key, model, width, height, *parameters = line.split()
            said = f"{path}: camera {key[:20]}"
            size = (side(int(height), f"{said}: its height"), side(int(width), f"{said}: its width"))
            lenses[int(key)] = _Lens(model, size, [float(value) for value in parameters])
    return lenses


def _text_images(path: Path, lenses: dict[int, _Lens]) -> list[View]:
    """Every picture has two lines. The second, its points, may be empty, or was lost where a file was tidied up."""
    views, lines = [], deque(_lines(path))
    while lines:
        line = lines.popleft()
        if not line or line.startswith("#"):
            continue
        parts = line.split(maxsplit=9)
        if len(parts) != 10:
            raise UserError(f"{path} is not a COLMAP text model; expected lines of 10 values, as {line[:40]!r} is not")
        _, *pose, camera, name = parts
        views.append(_view(path, name, [float(value) for value in pose], lenses, int(camera)))
        if lines and _are_points(lines[0]):
            lines.popleft()
    return views


def _are_points(line: str) -> bool:
    parts = line.split()
    try:
        return len(parts) % 3 == 0 and all(float(part) is not None for part in parts)
    except ValueError:
        return False


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text("utf-8-sig").split("\n")]


def _binary_cameras(path: Path) -> dict[int, _Lens]:
    stored = path.read_bytes()
    (count,), at = struct.unpack_from("<Q", stored), 8
    if count > len(stored) // 24:
        raise UserError(f"{path} says that it has {count} cameras, and has {len(stored)} bytes; it is truncated")
    lenses = {}
    for _ in range(count):
        key, kind, width, height = struct.unpack_from("<iiQQ", stored, at)
        if not 0 <= kind < len(_NUMBERED):
            raise UserError(f"{path} has a camera of the model number {kind}; expected {', '.join(_PINHOLES)}")
        model, parameters = _NUMBERED[kind]
        said = f"{path}: camera {key}"
        size = (side(height, f"{said}: its height"), side(width, f"{said}: its width"))
        lenses[key] = _Lens(model, size, list(struct.unpack_from(f"<{parameters}d", stored, at + 24)))
        at += 24 + 8 * parameters
    return lenses


def _binary_images(path: Path, lenses: dict[int, _Lens]) -> list[View]:
    stored = path.read_bytes()
    (count,), at = struct.unpack_from("<Q", stored), 8
    if count > len(stored) // 73:
        raise UserError(f"{path} says that it has {count} images, and has {len(stored)} bytes; it is truncated")
    views = []
    for _ in range(count):
        _, *pose, camera = struct.unpack_from("<i7di", stored, at)
        end = stored.index(b"\0", at + 64)
        name = stored[at + 64 : end].decode("utf-8")
        (points,) = struct.unpack_from("<Q", stored, end + 1)
        at = end + 9 + _POINT_BYTES * points
        if at > len(stored):
            raise UserError(f"{path} is truncated: it ends in the points of {name[:80]}")
        views.append(_view(path, name, pose, lenses, camera))
    return views


def _view(path: Path, name: str, pose: list[float], lenses: dict[int, _Lens], camera: int) -> View:
    if camera not in lenses:
        raise UserError(f"{path}: {name[:80]} has the camera {camera}, which is not among the cameras; expected one")
    lens = lenses[camera]
    return View(text(name, f"{path}: a name"), _intrinsics(path, lens), _pose(path, name, pose), lens.size)


def _intrinsics(path: Path, lens: _Lens) -> tuple[float, float, float, float]:
    if lens.model not in _PINHOLES:
        raise UserError(f"{path} has a camera of the model {lens.model[:40]}; expected {', '.join(_PINHOLES)}")
    if len(lens.parameters) != _COUNTS[lens.model]:
        raise UserError(f"{path}: {lens.model} has {len(lens.parameters)} numbers; expected {_COUNTS[lens.model]}")
    where = _PINHOLES[lens.model]
    if any(lens.parameters[where[3] + 1 :]):
        raise UserError(
            f"{path} has lens distortion ({lens.model}); undistort the pictures first (colmap image_undistorter)"
        )
    fx, fy, cx, cy = (number(lens.parameters[index], f"{path}: a parameter of {lens.model}") for index in where)
    return fx, fy, cx, cy


def _pose(path: Path, name: str, numbers: list[float]) -> Matrix:
    """Quaternion w, x, y, z and translation of world-to-camera, OpenCV axes, to camera-to-world, OpenGL axes."""
    values = np.array([number(value, f"{path}: the pose of {name[:80]}") for value in numbers])
    length = np.linalg.norm(values[:4])
    if not 1e-6 < length < 1e6:
        raise UserError(f"{path}: the pose of {name[:80]} has a quaternion of length {length:g}; expected 1")
    w, x, y, z = values[:4] / length
    to_camera = np.eye(4)
    to_camera[:3, :3] = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    to_camera[:3, 3] = values[4:7]
    return np.linalg.inv(to_camera) @ OPENCV_TO_OPENGL


def write_colmap(
    folder: Path, names: Sequence[str], camera: Camera, points: NDArray[np.float64] | None = None
) -> tuple[Path, Path, Path]:
    """Writes a model as text, `cameras.txt`, `images.txt` and `points3D.txt`, into a folder that is there; returns the
    files. The world stays as it is, camera axes become COLMAP's, and each picture has a camera of its own.

    Args:
        names: of the pictures, relative to the folder of pictures.
        camera: of each, T frames.
        points: (N, 6) places and colours in [0, 1]; none when None.
    """
    height, width = camera.size
    lines: dict[str, list[str]] = {"cameras": [], "images": [], "points3D": []}
    for index, (name, k, pose) in enumerate(zip(names, camera.intrinsics, camera.pose, strict=True), 1):
        lens = " ".join(f"{float(k[i, j]):.9g}" for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        lines["cameras"].append(f"{index} PINHOLE {width} {height} {lens}")
        to_camera = np.linalg.inv(pose.double().numpy() @ OPENCV_TO_OPENGL)
        turn = " ".join(f"{value:.17g}" for value in (*quaternion(to_camera[:3, :3]), *to_camera[:3, 3]))
        lines["images"] += [f"{index} {turn} {index} {name}", ""]
    for index, (x, y, z, *colour) in enumerate([] if points is None else points.tolist(), 1):
        red, green, blue = (round(255 * min(1, max(0, value))) for value in colour)
        lines["points3D"].append(f"{index} {x:.9g} {y:.9g} {z:.9g} {red} {green} {blue} 0")
    paths = tuple(folder / f"{name}.txt" for name in lines)
    for path, body in zip(paths, lines.values(), strict=True):
        with atomic_write(path) as partial:
            partial.write_text("".join(f"{line}\n" for line in body), encoding="utf-8")
    return paths[0], paths[1], paths[2]


def quaternion(rotation: Matrix) -> Matrix:
    """(4,) w, x, y, z of a rotation (3, 3), w >= 0: the eigenvector for the largest eigenvalue of Bar-Itzhack's
    symmetric matrix (2000)."""
    r, trace = rotation, np.trace(rotation)
    symmetric = np.empty((4, 4))
    symmetric[0, 0] = trace
    symmetric[0, 1:] = symmetric[1:, 0] = (r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])
    symmetric[1:, 1:] = r + r.T - trace * np.eye(3)
    found = np.linalg.eigh(symmetric)[1][:, -1]
    return found if found[0] >= 0 else -found
