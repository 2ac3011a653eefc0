"""One picture's camera as a file tells it, every number checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unrender.errors import UserError
from unrender.scene.camera import Camera

Matrix = NDArray[np.float64]

_LONGEST_SIDE = 1_000_000  # pixels
_FARTHEST = 1e30  # what is beyond has no square in float32's range


@dataclass(frozen=True)
class View:
    """Where a picture was taken from, and how.

    Attributes:
        name: the picture's path as the file gives it.
        intrinsics: fx, fy, cx, cy in pixels.
        pose: (4, 4) camera-to-world, OpenGL axes.
        size: (height, width) in pixels.
    """

    name: str
    intrinsics: tuple[float, float, float, float]
    pose: Matrix
    size: tuple[int, int]


def number(value: Any, what: str) -> float:
    """A finite number. Raises UserError for text, true or false, NaN, infinity and what no float can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{what} is {_shown(value)}; expected a number")
    if not math.isfinite(value) or abs(value) > _FARTHEST:
        raise UserError(f"{what} is {_shown(value)}; expected a finite number")
    return float(value)


def side(value: Any, what: str) -> int:
    """A number of pixels from 1 to a million; a whole number may be written with a point."""
    pixels = number(value, what)
    if pixels != int(pixels) or not 1 <= pixels <= _LONGEST_SIDE:
        raise UserError(f"{what} is {_shown(value)}; expected a whole number of pixels from 1 to {_LONGEST_SIDE}")
    return int(pixels)


def text(value: Any, what: str) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{what} is {_shown(value)}; expected a picture's name")
    return value


def mapping(value: Any, what: str) -> dict[str, Any]:
    """Named values."""
    if not isinstance(value, dict):
        raise UserError(f"{what} is {_shown(value)}; expected named values")
    return value


def entry(said: dict[str, Any], name: str, what: str) -> Any:
    """The value called `name`, which has to be there."""
    if name not in said:
        raise UserError(f"{what} has no {name}; expected one")
    return said[name]


def numbers(value: Any, count: int, what: str) -> Matrix:
    """(count,) finite numbers of a list."""
    if not isinstance(value, list) or len(value) != count:
        raise UserError(f"{what} is {_shown(value)}; expected {count} numbers")
    return np.array([number(each, what) for each in value])


def transform(value: Any, what: str) -> Matrix:
    """(4, 4) of four rows of four numbers, the fourth 0 0 0 1, or of the first three rows alone, or of all numbers in
    one list. Raises UserError where it is no such thing, or has no inverse."""
    if isinstance(value, list) and len(value) in (12, 16) and not any(isinstance(each, list) for each in value):
        value = [value[start : start + 4] for start in range(0, len(value), 4)]
    if not isinstance(value, list) or len(value) not in (3, 4):
        raise UserError(f"{what} is {_shown(value)}; expected 3 or 4 rows of 4 numbers")
    matrix = np.eye(4)
    matrix[: len(value)] = [numbers(row, 4, what) for row in value]
    if np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise UserError(f"{what} has the fourth row {_shown(value[3])}; expected 0 0 0 1")
    scale = np.abs(matrix[:3, :3]).max()
    if not 1e-9 < scale < 1e9 or abs(np.linalg.det(matrix[:3, :3] / scale)) < 1e-9:
        raise UserError(f"{what} has no inverse; expected a rotation and a place")
    return matrix


def join(path: Any, views: Sequence[View]) -> tuple[tuple[str, ...], Camera]:
    """The names and the cameras of a file's pictures.

    Raises:
        UserError: none, pictures of different sizes, a focal length that is not positive, or a pose that mirrors.
    """
    if not views:
        raise UserError(f"{path} has no pictures in it; expected at least one")
    sizes = {view.size for view in views}
    if len(sizes) != 1:
        raise UserError(f"{path} has pictures of {len(sizes)} sizes {sorted(sizes)[:4]}; expected one size for all")
    intrinsics = np.zeros((len(views), 3, 3), np.float32)
    for matrix, view in zip(intrinsics, views, strict=True):
        fx, fy, cx, cy = view.intrinsics
        if not (math.isfinite(fx + fy + cx + cy) and min(fx, fy) > 1e-6 and max(fx, fy, abs(cx), abs(cy)) < 1e9):
            raise UserError(f"{path}: {view.name} has fx, fy, cx, cy = {view.intrinsics}; expected positive lengths")
        if not np.isfinite(view.pose).all() or np.linalg.det(view.pose[:3, :3]) <= 0:
            raise UserError(f"{path}: the pose of {view.name} mirrors or is not finite; expected a rotation")
        matrix[:] = ((fx, 0, cx), (0, fy, cy), (0, 0, 1))
    poses = np.stack([view.pose for view in views]).astype(np.float32)
    camera = Camera(torch.from_numpy(intrinsics), torch.from_numpy(poses), views[0].size)
    return tuple(view.name for view in views), camera


def require_sound(camera: Camera, what: str) -> None:
    """Raises UserError where a camera has numbers that none has: such as are not finite, or no focal length."""
    shapes = camera.intrinsics.shape[1:], camera.pose.shape[1:], len(camera.intrinsics) - len(camera.pose)
    if shapes != ((3, 3), (4, 4), 0):
        raise UserError(
            f"the camera of {what} has no matrices of 3 x 3 and 4 x 4 numbers; expected one of each a frame"
        )
    finite = bool(camera.intrinsics.isfinite().all() and camera.pose.isfinite().all())
    if not finite or not (camera.intrinsics[:, (0, 1), (0, 1)] > 0).all():
        raise UserError(f"the camera of {what} has numbers that no camera has; expected finite ones, and focal lengths")


def _shown(value: Any) -> str:
    try:
        said = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        said = "a huge number"
    return said if len(said) <= 40 else f"{said[:40]}..."
