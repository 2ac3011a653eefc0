"""Virtual KITTI 2 (Cabon et al. 2020): five driven sequences under ten kinds of weather and turn, two cameras.

What the files mean, from the dataset's own README and VisualComputingInstitute/diffusion-e2e-ft,
depth-to-normal-translator/python/gen_vkitti_normals.py:

depth       16-bit PNG, planar depth in centimetres; the sky is 65535
intrinsics  725.0087 pixels, axis at (620.5, 187) where the first pixel's centre is 0; half a pixel is added here
extrinsics  world-to-camera, +X right, +Y down, +Z forward, in a world of the same axes; both are converted here
normals     there are none: they follow from depth
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.cameras import OPENCV_TO_OPENGL
from unrender.files.datasets.pictures import (
    Pictures,
    chosen_maps,
    is_list,
    open_present,
    planes,
    read_lines,
    read_list,
    require_folder,
    require_known,
)
from unrender.files.images import decode, read_image
from unrender.files.paths import existing_file
from unrender.files.reading import reading
from unrender.files.views import number as finite
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import GBuffer
from unrender.scene.normals import normal_from_depth, unit_normals

MAPS = ("normal", "depth", "mask")
FAR = 80.0
"""Metres: the far limit of Marigold and E2E-FT for Virtual KITTI."""

BENCHMARK_SIZE = (352, 1216)

_SCENES = ("Scene01", "Scene02", "Scene06", "Scene18", "Scene20")
_MARIGOLD = ("clone", "morning", "overcast", "sunset", "15-deg-left", "15-deg-right")
_E2E = ("morning", "fog", "rain", "sunset", "overcast")
_EVERY = ("clone", "morning", "fog", "rain", "sunset", "overcast")
_TURNED = ("15-deg-left", "15-deg-right", "30-deg-left", "30-deg-right")

SPLITS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "train": (_SCENES[1:], _MARIGOLD),
    "val": (_SCENES[:1], _MARIGOLD),
    "e2e": (_SCENES, _E2E),
    "all": (_SCENES, _EVERY + _TURNED),
}
"""Scenes and variations of each split: `train` and `val` are Marigold's (data_split/vkitti_depth), `e2e` what E2E-FT
trains on (training/dataloaders/load.py). The dataset has no split of its own."""

_CAMERAS = ("Camera_0", "Camera_1")
_FOCAL, _CENTRE = 725.0087, (620.5, 187.0)
_LISTED = r"(Scene\d+)/([^/\s]+)/frames/rgb/(Camera_\d)/rgb_(\d+)"
_FOLDERS = {
    "rgb": ("vkitti_2.0.3_rgb", "rgb"),
    "depth": ("vkitti_2.0.3_depth", "depth"),
    "text": ("vkitti_2.0.3_textgt", "textgt"),
    "normal": ("vkitti_DAG_normals",),
}


@dataclass(frozen=True)
class _Selection:
    folder: Path
    maps: frozenset[str]
    far: float
    benchmark_crop: bool


def open_vkitti2(
    folder: str | Path,
    split: str | Path = "train",
    *,
    maps: Collection[str] | None = None,
    far: float = FAR,
    benchmark_crop: bool = False,
) -> Pictures:
    """Opens Virtual KITTI 2: `rgb`, decoded from sRGB, and the chosen ones of `MAPS`, 375 x 1242 pixels.

    Args:
        folder: holds vkitti_2.0.3_rgb, vkitti_2.0.3_depth and, for poses and intrinsics, vkitti_2.0.3_textgt (or rgb,
            depth, textgt), each with the scenes of its archive in it. Without text, intrinsics are the published ones
            and poses the identity. Where vkitti_DAG_normals lies beside them, as E2E-FT's script writes it, normals are
            read from there; otherwise `scene.normals.normal_from_depth` finds them.
        split: of `SPLITS`; or a text file that lists pictures as Marigold's data_split/vkitti_depth does.
        maps: of `MAPS`, None for all.
        far: metres; what is farther away, the sky above all, is left out of depth and mask.
        benchmark_crop: cuts pictures to `BENCHMARK_SIZE`, the lower middle, as Marigold and E2E-FT train on.

    Raises:
        UserError: a folder or list that is missing; while reading, a file that is missing, damaged or another.
    """
    folder = require_folder(Path(folder), "vkitti_2.0.3_rgb and vkitti_2.0.3_depth")
    colours = require_folder(_part(folder, "rgb"), "Scene01, Scene02, ...")
    if is_list(split):
        keys = read_list(Path(split), _LISTED)
    else:
        scenes, variations = SPLITS[require_known("the split of Virtual KITTI 2", str(split), SPLITS)]
        keys = [key for s in scenes for v in variations for c in _CAMERAS for key in _frames(colours, s, v, c)]
    selection = _Selection(folder, chosen_maps("Virtual KITTI 2", maps, MAPS), far, benchmark_crop)
    return open_present("Virtual KITTI 2", keys, lambda key: _rgb_path(colours, key).parent, partial(_read, selection))


def _part(folder: Path, part: str) -> Path:
    """The folder of one archive, under the first of its names that is there."""
    places = [folder / name for name in _FOLDERS[part]]
    return next((place for place in places if place.is_dir()), places[0])


def _frames(colours: Path, scene: str, variation: str, camera: str) -> list[str]:
    pictures = sorted((colours / scene / variation / "frames" / "rgb" / camera).glob("rgb_*.jpg"))
    return [f"{scene}/{variation}/{camera}/{path.stem.removeprefix('rgb_')}" for path in pictures]


def _rgb_path(colours: Path, key: str) -> Path:
    scene, variation, camera, number = key.split("/")
    return colours / scene / variation / "frames" / "rgb" / camera / f"rgb_{number}.jpg"


def _read(selection: _Selection, key: str) -> GBuffer:
    scene, variation, eye, number = key.split("/")
    rgb = read_image(_rgb_path(_part(selection.folder, "rgb"), key)).rgb
    size = (rgb.shape[2], rgb.shape[3])
    camera = _camera(_part(selection.folder, "text") / scene / variation, int(eye[-1]), int(number), size)
    maps = {"rgb": rgb}
    if selection.maps:
        path = _part(selection.folder, "depth") / scene / variation / "frames" / "depth" / eye / f"depth_{number}.png"
        depth = planes(_sixteen_bits(path, 1)[..., 0]) / 100
        there = (depth > 0) & (depth < selection.far)
        depth = torch.where(there, depth, torch.inf)
        maps |= {"depth": depth, "mask": there.float()} | _normals(selection, key, depth, camera)
    kept = {name: value for name, value in maps.items() if name in selection.maps or name == "rgb"}
    picture = GBuffer(rgb=rgb, depth_kind="metric", camera=camera).with_maps(**kept)
    return _benchmark_crop(picture) if selection.benchmark_crop else picture


def _normals(selection: _Selection, key: str, depth: Tensor, camera: Camera) -> dict[str, Tensor]:
    if "normal" not in selection.maps:
        return {}
    made = _part(selection.folder, "normal")
    if not made.is_dir():
        return {"normal": normal_from_depth(depth, camera)}
    scene, variation, eye, number = key.split("/")
    stored = _sixteen_bits(made / scene / variation / "frames" / "normal" / eye / f"normal_{number}.png", 3)
    # E2E-FT's normals are +X left, +Y up, +Z to the viewer, and its 16 bits are n = v / 32767.5 - 1.
    normal = unit_normals((planes(stored) / 32767.5 - 1) * torch.tensor([-1.0, 1, 1])[:, None, None])
    return {"normal": torch.where(depth.isfinite(), normal, 0.0)}


def _sixteen_bits(path: Path, channels: int) -> np.ndarray:
    pixels = decode(existing_file(path)).pixels
    if pixels.dtype != np.uint16 or pixels.shape[2] != channels:
        found = f"{pixels.shape[2]} channels of {pixels.dtype.itemsize * 8} bits"
        raise UserError(f"{path} has {found}; expected {channels} of 16 bits")
    return pixels


def _camera(folder: Path, eye: int, number: int, size: tuple[int, int]) -> Camera:
    """The camera of a frame: from intrinsic.txt and extrinsic.txt where they are there."""
    fx = fy = _FOCAL
    cx, cy = _CENTRE
    pose = np.eye(4)
    if folder.is_dir():
        fx, fy, cx, cy = _row(folder / "intrinsic.txt", eye, number, 4)
        to_camera = np.array(_row(folder / "extrinsic.txt", eye, number, 16)).reshape(4, 4)
        pose = OPENCV_TO_OPENGL @ np.linalg.inv(to_camera) @ OPENCV_TO_OPENGL
    k = torch.tensor([[[fx, 0.0, cx + 0.5], [0.0, fy, cy + 0.5], [0.0, 0.0, 1.0]]])
    return Camera(k, torch.tensor(pose, dtype=torch.float32)[None], size)


def _row(path: Path, eye: int, number: int, count: int) -> list[float]:
    """The numbers of a frame in one of the dataset's tables, whose lines begin with frame and camera."""
    start = [str(number), str(eye)]
    for line in read_lines(path):
        words = line.split()
        if words[:2] == start:
            if len(words) != count + 2:
                raise UserError(f"{path} has {len(words) - 2} numbers for frame {number}; expected {count}")
            with reading(path, "a table of numbers"):
                return [finite(float(word), f"{path}: a number of frame {start[0]}") for word in words[2:]]
    raise UserError(f"{path} has no line for frame {number} of camera {eye}; expected the file of the dataset")


def _benchmark_crop(picture: GBuffer) -> GBuffer:
    height, width = BENCHMARK_SIZE
    top, left = picture.size[0] - height, (picture.size[1] - width) // 2
    if top < 0 or left < 0:
        raise UserError(f"a picture of {picture.size} cannot be cropped to {BENCHMARK_SIZE}; expected the full frame")
    maps = {name: value[..., top : top + height, left : left + width] for name, value in picture.maps.items()}
    camera = picture.camera.cropped(top, left, BENCHMARK_SIZE) if picture.camera is not None else None
    return replace(picture, camera=camera, **maps)
