"""Camera paths by name, `orbit:24`, or out of other tools' files. Elevation is degrees above the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from unrender.errors import UserError
from unrender.files.cameras import read_colmap, read_transforms
from unrender.multiview.subject import Subject
from unrender.scene.camera import Camera
from unrender.scene.trajectory import look_at, orbit

PRESETS = ("orbit", "spiral", "ellipse", "dolly")
MOST_VIEWS = 10_000
_TOP = 85.0  # degrees: straight above, a camera has no upright


@dataclass(frozen=True)
class PathOptions:
    """The shape of a preset path about a subject of radius 1 in the middle of the world.

    Attributes:
        size: (height, width) of the pictures.
        fov: vertical field of view in degrees; None for one that the subject fits into.
        elevation: degrees above the horizon.
        start: azimuth of the first camera in degrees; 0 is in front (+Z), 90 on the right (+X).
        distance: in the subject's radii; None for the model's own.
    """

    size: tuple[int, int] = (256, 256)
    fov: float | None = None
    elevation: float = 20.0
    start: float = 0.0
    distance: float | None = None


@dataclass(frozen=True)
class CameraPath:
    """Where the views are.

    Attributes:
        camera: T frames.
        subject: what they look at.
        names: of the pictures, as a file gives them; numbered ones for a preset.
        closed: whether the last view is followed by the first one.
    """

    camera: Camera
    subject: Subject
    names: tuple[str, ...]
    closed: bool = False


def camera_path(text: str, options: PathOptions, distance: float, radius: float | None = None) -> CameraPath:
    """The path that `text` names.

    orbit:N    a circle at `options.elevation`
    spiral:N   two turns, from 10 degrees below the elevation to 40 above it
    ellipse:N  a circle whose distance swings between 0.85 and 1.3 times the distance, low where it is near
    dolly:N    straight ahead, from 1.5 times the distance to 0.9 times
    FILE.json  a transforms.json of nerfstudio, NeRF or instant-ngp
    FOLDER     a COLMAP model

    Args:
        distance: of the model's cameras, in the subject's radii.
        radius: of the subject in the units of a file's world; found from the cameras when None.

    Raises:
        UserError: no such path, no views, or a file that cannot be read.
    """
    kind, colon, number = text.partition(":")
    if kind in PRESETS and (colon or not Path(text).exists()):
        count = _views(text, number)
        eyes = _preset(kind, count, options, options.distance or distance)
        pose = look_at(eyes, torch.zeros(3))
        fov = options.fov or fitting_fov(options.distance or distance)
        camera = Camera.perspective(options.size, fov, pose)
        names = tuple(f"{index:04d}.png" for index in range(1, count + 1))
        return CameraPath(camera, Subject.at_origin(), names, closed=kind in ("orbit", "ellipse"))
    path = Path(text)
    if path.is_dir() and not (path / "transforms.json").is_file():
        found = read_colmap(path)
    elif path.exists():
        found = read_transforms(path / "transforms.json" if path.is_dir() else path)
    else:
        raise UserError(
            f"--cameras {text}: no such path or file; expected {', '.join(f'{name}:N' for name in PRESETS)}, a "
            "transforms.json or the folder of a COLMAP model"
        )
    return CameraPath(found.camera, Subject.of_cameras(found.camera, distance, radius), found.names)


def fitting_fov(distance: float) -> float:
    """Degrees of a view that a ball of radius 1 at that distance fills to nine tenths, at most 120."""
    return min(120.0, 2 * math.degrees(math.asin(min(0.9, 1 / (0.9 * max(distance, 1.2))))))


def _views(text: str, number: str) -> int:
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MOST_VIEWS:
        raise UserError(f"--cameras {text}; expected a number of views from 1 to {MOST_VIEWS}, as in orbit:24")
    return int(number)


def _preset(kind: str, count: int, options: PathOptions, distance: float) -> torch.Tensor:
    """(count, 3) places."""
    if not -_TOP <= options.elevation <= _TOP:
        raise UserError(f"--elevation {options.elevation:g}; expected between {-_TOP:g} and {_TOP:g} degrees")
    if distance <= 1:
        raise UserError(f"--distance {distance:g} is inside the subject, whose radius is 1; expected more")
    if kind == "orbit":
        path = orbit(torch.zeros(3), distance, count, elevation=options.elevation, start=options.start)
        return path[:, :3, 3]
    part = torch.arange(count) / max(1, count - 1)
    round_trip = 2 * math.pi * torch.arange(count) / count
    azimuth = torch.full((count,), math.radians(options.start))
    elevation, away = torch.full((count,), options.elevation), torch.full((count,), distance)
    if kind == "spiral":
        azimuth = azimuth + 4 * math.pi * part
        elevation = (elevation - 10 + 50 * part).clamp(-_TOP, _TOP)
    elif kind == "ellipse":
        azimuth = azimuth + round_trip
        away = distance * (1.075 - 0.225 * round_trip.cos())
        elevation = (elevation - 10 * round_trip.cos()).clamp(-_TOP, _TOP)
    else:
        away = distance * (1.5 - 0.6 * part)
    height = torch.deg2rad(elevation)
    flat = away * height.cos()
    return torch.stack((flat * azimuth.sin(), away * height.sin(), flat * azimuth.cos()), dim=1)
