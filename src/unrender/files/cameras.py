"""Camera files of other tools: NeRF `transforms.json`, COLMAP, CO3D annotations.

All of them count the centre of the first pixel as (0.5, 0.5), as `conventions` does. Their axes:

transforms.json   camera as here (OpenGL), camera-to-world; the world is +Z up.
COLMAP            camera +X right, +Y down, +Z forward, world-to-camera; the world is wherever COLMAP put it.
CO3D (PyTorch3D)  camera +X left, +Y up, +Z forward, row vectors (x R + T), NDC intrinsics; the world as it is.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.colmap import OPENCV_TO_OPENGL as OPENCV_TO_OPENGL
from unrender.files.colmap import colmap_views
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image
from unrender.files.paths import existing_file
from unrender.files.reading import brief, reading
from unrender.files.textures import beside
from unrender.files.views import Matrix, View, entry, join, mapping, number, numbers, side, text, transform
from unrender.scene.camera import Camera

Z_UP_TO_Y_UP: Matrix = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
_PYTORCH3D_TO_OPENGL: Matrix = np.diag([-1.0, 1, -1])
# Those that are pinholes once their distortion is nothing. Of any other kind only its maker knows what a ray is.
_PINHOLES = frozenset({"PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "OPENCV", "FULL_OPENCV", "RADIAL", "SIMPLE_RADIAL"})
_DISTORTIONS = (
    *(f"k{index}" for index in range(1, 7)),
    *("p1", "p2", "s1", "s2", "s3", "s4", "b1", "b2", "distortion_params", "distortion", "distortion_coefficients"),
)
# Said by instant-ngp and others in place of a camera model: anything but false is no pinhole.
_OTHER_LENSES = ("is_fisheye", "fisheye", "latlong", "is_latlong", "equirectangular", "orthographic", "ftheta_p0")
_MOST_TIMES_PACKED = 200  # JSON of numbers is a tenth of itself in gzip


@dataclass(frozen=True)
class NamedCameras:
    """The cameras of a set of pictures.

    Attributes:
        names: the pictures' paths as the file gives them.
        camera: one camera a picture, in the same order.
    """

    names: tuple[str, ...]
    camera: Camera


def read_transforms(path: str | Path, *, world_up: Literal["z", "y"] = "z") -> NamedCameras:
    """Reads `transforms.json` of NeRF, instant-ngp and nerfstudio.

    `applied_transform` is undone, then the world is turned from `world_up` to +Y up. A file without a size takes that
    of its first picture; one without a focal length its `camera_angle_x`. Matrices have four rows, or three.

    Raises:
        UserError: a missing or damaged file, a camera that is no pinhole (fisheye, equirectangular), lens distortion,
            values that are no finite numbers, or pictures of different sizes.
    """
    path = existing_file(path)
    with reading(path, "a transforms.json"):
        said = _read_json(path)
        if not isinstance(said, dict) or "frames" not in said:
            raise UserError(f"{path} is not a transforms.json; expected one with frames")
        undo = np.eye(4)
        if said.get("applied_transform") is not None:
            undo = np.linalg.inv(transform(said["applied_transform"], f"{path}: applied_transform"))
        turn = (Z_UP_TO_Y_UP if world_up == "z" else np.eye(4)) @ undo
        frames = said["frames"]
        if not isinstance(frames, list):
            raise UserError(f"{path}: frames is no list; expected one of pictures")
        views = []
        for index, frame in enumerate(frames):
            what = f"{path}: frame {index}"
            both = {**said, **mapping(frame, what)}
            _check_pinhole(path, both)
            name = text(entry(both, "file_path", what), f"{what}: file_path")
            pose = turn @ transform(entry(both, "transform_matrix", what), f"{what}: transform_matrix")
            size = _transforms_size(path, both, name)
            views.append(View(name, _transforms_intrinsics(both, size, what), pose, size))
        return _join(path, views)


def read_cameras(path: str | Path) -> NamedCameras:
    """Reads the cameras of any file that has such: `transforms.json`, a folder of COLMAP's, or an EXR that was written
    here; see `read_transforms`, `read_colmap` and `gbuffers.read_gbuffer`. (CO3D's annotations are of many sequences:
    `read_co3d`.)

    Raises:
        UserError: another kind of file, or what those raise.
    """
    path = Path(path)
    if path.is_dir():
        return read_colmap(path)
    suffix = existing_file(path).suffix.lower()
    if suffix == ".json":
        return read_transforms(path)
    if suffix != ".exr":
        raise UserError(f"{path} holds no cameras; expected transforms.json, a folder of COLMAP's, or an EXR with one")
    camera = read_gbuffer(path, "camera").camera
    if camera is None:
        raise UserError(f"{path} says nothing of its camera; expected an EXR with unrender:camera")
    return NamedCameras((path.name,), camera)


def read_object_poses(path: str | Path, *, world_up: Literal["z", "y"] = "z") -> tuple[Matrix, ...]:
    """The object-to-world poses (4, 4) under "unrender_objects" of a `transforms.json`, as `write_transforms` writes
    them: from the coordinates of each asset's file to the world of the cameras.

    Raises:
        UserError: a missing or damaged file, or one that names no objects.
    """
    path = existing_file(path)
    with reading(path, "a transforms.json"):
        said = _read_json(path)
        objects = said.get("unrender_objects") if isinstance(said, dict) else None
        if not isinstance(objects, list) or not objects:
            raise UserError(f"{path} names no objects (unrender_objects); expected a transforms.json of an insertion")
        turn = Z_UP_TO_Y_UP if world_up == "z" else np.eye(4)
        poses = []
        for index, each in enumerate(objects):
            what = f"{path}: object {index}"
            poses.append(turn @ transform(entry(mapping(each, what), "transform_matrix", what), what))
        return tuple(poses)


def write_transforms(
    path: str | Path,
    cameras: NamedCameras,
    *,
    world_up: Literal["z", "y"] = "z",
    objects: Sequence[tuple[str, Matrix]] = (),
    masks: Sequence[str] | None = None,
) -> None:
    """Writes `transforms.json`, the world turned from +Y up to `world_up`; intrinsics stand on every frame.

    Args:
        objects: names and poses (4, 4), object-to-world, for `read_object_poses`.
        masks: a picture for each view that is black where it is to be ignored, as nerfstudio's `mask_path`.
    """
    height, width = cameras.camera.size
    turn = Z_UP_TO_Y_UP.T if world_up == "z" else np.eye(4)
    frames: list[dict[str, Any]] = []
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
    for frame, mask in zip(frames, masks or (), strict=False):
        frame["mask_path"] = mask
    with atomic_write(path) as partial:
        said: dict[str, Any] = {"camera_model": "PINHOLE", "frames": frames}
        if objects:
            said["unrender_objects"] = [
                {"name": name, "transform_matrix": (turn @ pose).tolist()} for name, pose in objects
            ]
        partial.write_text(json.dumps(said, indent=1))


def read_colmap(folder: str | Path) -> NamedCameras:
    """Reads a COLMAP model, a folder with cameras.bin and images.bin or with the same as text (.txt); pictures in the
    order of their names.

    Raises:
        UserError: missing or damaged files, a camera model other than the pinholes, lens distortion, values that are
            no finite numbers, or pictures of different sizes.
    """
    folder = Path(folder)
    with reading(folder, "a COLMAP model"):
        return _join(folder, sorted(colmap_views(folder), key=lambda view: view.name))


def read_co3d(path: str | Path, sequence: str) -> NamedCameras:
    """Reads one sequence of CO3D's `frame_annotations.jgz` (gzipped JSON), frames by number.

    Intrinsics of both formats are understood: `ndc_norm_image_bounds` (x and y each by its own side; the default)
    and `ndc_isotropic` (both by the shorter side). NDC's +1 is the left and the upper edge of the picture.

    Raises:
        UserError: a missing or damaged file, an unknown sequence, or pictures of different sizes.
    """
    named = read_co3d_frames(path)
    if sequence not in named:
        known = ", ".join(sorted(named)[:5])
        raise UserError(f"{path} has no sequence {sequence!r}; it has {known} ({len(named)} in all)")
    return co3d_cameras(Path(path), sequence, named[sequence])


def read_co3d_frames(path: str | Path) -> dict[str, list[dict[str, Any]]]:
    """What CO3D's `frame_annotations.jgz` says of every frame, by sequence, in the order of their numbers.

    Raises:
        UserError: a missing or damaged file.
    """
    path = existing_file(path)
    with reading(path, "CO3D frame annotations"):
        frames = _read_json(path, packed=True)
        if not isinstance(frames, list):
            raise UserError(f"{path} is no list; expected CO3D's frame annotations")
        named: dict[str, list[dict[str, Any]]] = {}
        for frame in frames:
            name = text(
                entry(mapping(frame, f"{path}: a frame"), "sequence_name", f"{path}: a frame"), f"{path}: a name"
            )
            named.setdefault(name, []).append(frame)
        for found in named.values():
            found.sort(key=lambda frame: number(frame["frame_number"], f"{path}: a frame_number"))
        return named


def co3d_cameras(path: Path, sequence: str, frames: Sequence[dict[str, Any]]) -> NamedCameras:
    """The cameras of frames as `read_co3d_frames` gives them. Errors as of `read_co3d`."""
    with reading(path, "CO3D frame annotations"):
        return _join(path, [_co3d_view(frame, f"{path}: {sequence}") for frame in frames])


def read_co3d_table(path: Path) -> Any:
    """What another gzipped JSON of CO3D says, such as `sequence_annotations.jgz`. Errors as of `read_co3d`."""
    return _read_json(existing_file(path), packed=True)


def _join(path: Path, views: Sequence[View]) -> NamedCameras:
    return NamedCameras(*join(path, views))


def _read_json(path: Path, packed: bool = False) -> Any:
    """What a JSON file says; NaN and infinity, which JSON has not, are refused."""
    most = max(1 << 26, _MOST_TIMES_PACKED * path.stat().st_size)
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            stored = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read as JSON; it is damaged or another format ({brief(error)})") from error
    if len(stored) > most:
        raise UserError(f"{path} unpacks to more than {most} bytes; expected CO3D's frame annotations")

    def refuse(constant: str) -> None:
        raise UserError(f"{path} has the value {constant} in it; expected finite numbers")

    try:
        return json.loads(stored.decode("utf-8-sig"), parse_constant=refuse)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} cannot be read as JSON; it is damaged or another format ({brief(error)})") from error


def _check_pinhole(path: Path, said: dict[str, Any]) -> None:
    model = said.get("camera_model", "PINHOLE")
    if not isinstance(model, str) or model.upper() not in _PINHOLES:
        raise UserError(f"{path} has cameras of the model {str(model)[:40]}, which is no pinhole; expected PINHOLE")
    for name in _OTHER_LENSES:
        if said.get(name):
            raise UserError(f"{path} says {name}: these cameras are no pinholes; expected pinholes")
    for name in _DISTORTIONS:
        value = said.get(name)
        values = value if isinstance(value, list) else [value]
        if any(each not in (None, 0) for each in values):
            raise UserError(f"{path} has lens distortion ({name}); undistort the pictures first")


def _transforms_size(path: Path, said: dict[str, Any], name: str) -> tuple[int, int]:
    if "w" in said and "h" in said:
        return side(said["h"], f"{path}: h"), side(said["w"], f"{path}: w")
    picture = beside(path.parent, name)
    # The NeRF synthetic scenes leave the suffix out.
    return read_image(picture if picture.suffix else picture.with_suffix(".png")).size


def _transforms_intrinsics(said: dict[str, Any], size: tuple[int, int], what: str) -> tuple[float, float, float, float]:
    height, width = size

    def focal(length: str, angle: str, pixels: int) -> float | None:
        if said.get(length):
            return number(said[length], f"{what}: {length}")
        if said.get(angle) is None:
            return None
        view = number(said[angle], f"{what}: {angle}")
        if not 0 < view < np.pi:
            raise UserError(f"{what}: {angle} is {view:g}; expected an angle of view between 0 and pi")
        return float(0.5 * pixels / np.tan(0.5 * view))

    fx = focal("fl_x", "camera_angle_x", width)
    fy = focal("fl_y", "camera_angle_y", height) or fx
    if fx is None or fy is None:
        raise UserError(f"{what} has no fl_x and no camera_angle_x; expected one of them")
    return fx, fy, number(said.get("cx", width / 2), f"{what}: cx"), number(said.get("cy", height / 2), f"{what}: cy")


def _co3d_view(frame: dict[str, Any], what: str) -> View:
    said = mapping(entry(frame, "viewpoint", what), f"{what}: viewpoint")
    image = mapping(entry(frame, "image", what), f"{what}: image")
    height, width = (side(value, f"{what}: size") for value in numbers(image["size"], 2, f"{what}: size"))
    layout = said.get("intrinsics_format", "ndc_norm_image_bounds")
    if layout == "ndc_isotropic":
        scale = np.full(2, min(height, width) / 2)
    elif layout == "ndc_norm_image_bounds":
        scale = np.array([width / 2, height / 2])
    else:
        shown = repr(layout)[:40]
        raise UserError(f"{what} has intrinsics of the format {shown}; expected ndc_isotropic or ndc_norm_image_bounds")
    fx, fy = numbers(said["focal_length"], 2, f"{what}: focal_length") * scale
    principal = numbers(said["principal_point"], 2, f"{what}: principal_point")
    cx, cy = np.array([width / 2, height / 2]) - principal * scale
    # Rows: x_view = x_world R + T, so x_world = R (x_view - T) as columns.
    rows = entry(said, "R", what)
    if not isinstance(rows, list) or len(rows) != 3:
        raise UserError(f"{what}: R is no matrix; expected 3 rows of 3 numbers")
    rotation = np.stack([numbers(row, 3, f"{what}: R") for row in rows])
    pose = np.eye(4)
    pose[:3, :3] = rotation @ _PYTORCH3D_TO_OPENGL
    pose[:3, 3] = -rotation @ numbers(said["T"], 3, f"{what}: T")
    return View(
        text(image["path"], f"{what}: path"), (float(fx), float(fy), float(cx), float(cy)), pose, (height, width)
    )
