"""Hypersim (Roberts et al., ICCV 2021): photorealistic indoor pictures of V-Ray scenes, with light and reflectance.

What the files mean, from apple/ml-hypersim, README.md and code/python/tools/scene_generate_images_tonemap.py:

depth_meters          distance from the pinhole, not planar depth; divided by the length of the ray here
normal_cam            camera axes as here; set by artists: of any length, sometimes turned away from the viewer
diffuse_reflectance   diffuse albedo, black for metals: it is not base colour
diffuse_illumination  color = diffuse_reflectance * diffuse_illumination + residual. A Lambertian surface sends out
                      albedo E / pi, so irradiance E is pi times this map, and `shading` is the map itself
render_entity_id      -1 where nothing was hit
world                 +Z up, lengths in asset units; turned to +Y up and metres here
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrender.errors import UserError
from unrender.files.cameras import Z_UP_TO_Y_UP
from unrender.files.datasets.pictures import (
    Pictures,
    centred_camera,
    chosen_maps,
    is_list,
    open_present,
    planes,
    read_list,
    require_folder,
    require_inside,
    require_known,
)
from unrender.files.paths import existing_file, require_affordable
from unrender.files.radiance import clean
from unrender.files.reading import reading
from unrender.scene.camera import Camera, ray_distance_to_depth
from unrender.scene.color import luminance
from unrender.scene.gbuffer import GBuffer
from unrender.scene.normals import facing_viewer, unit_normals

Exposure = Literal["official", "none"]
Lens = Literal["fixed", "scene"]

MAPS = ("diffuse_albedo", "normal", "depth", "irradiance", "shading", "residual", "mask")
SPLITS = ("train", "val", "test")
SPLIT_FILE = "metadata_images_split_scene_v1.csv"
CAMERA_FILE = "metadata_camera_parameters.csv"
FAR = 65.0
"""Metres: the far limit of Marigold and E2E-FT for Hypersim."""

_BRIGHTNESS = (0.3, 0.59, 0.11)  # CCIR 601, as the tone mapping has it
_PERCENTILE, _TARGET, _DARKEST, _GAMMA = 0.9, 0.8, 1e-4, 2.2
_HALF_FOV = math.pi / 6
_LISTED = r"(ai_\d{3}_\d{3})/rgb_(cam_\d+)_fr(\d+)"
_SCENE_COLUMNS = ("parameter_name", "parameter_value")
_INSTALL = "Hypersim's files are HDF5 and h5py is not installed; pip install unrender[datasets]"

# Rows of a matrix from (u, v, 1), each in [-1, 1] and v up, to camera-space rays.
_Rays = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class _Selection:
    folder: Path
    maps: frozenset[str]
    exposure: Exposure
    lenses: dict[str, _Rays] | None
    far: float


def open_hypersim(
    folder: str | Path,
    split: str | Path = "train",
    *,
    maps: Collection[str] | None = None,
    exposure: Exposure = "official",
    lens: Lens = "fixed",
    far: float = FAR,
) -> Pictures:
    """Opens Hypersim: `rgb` and the chosen ones of `MAPS`, 768 x 1024 pixels, all linear.

    Args:
        folder: holds the scenes (ai_001_001, ...) and, in it or in `analysis` beside it, `SPLIT_FILE`, which lies in
            apple/ml-hypersim under evermotion_dataset/analysis.
        split: train, val or test of the official split; or a text file that lists pictures as Marigold's
            data_split/hypersim_* do.
        maps: of `MAPS`; every file that they need has to be there. None is all.
        exposure: "official" scales radiance (rgb, irradiance, shading, residual) so that the 90th percentile of
            brightness over surfaces is 0.8 after the power 1 / 2.2, and a frame darker than 0.0001 there to black; the
            official picture, and Marigold's, is min(rgb, 1) ^ (1 / 2.2). "none" leaves it as rendered.
        lens: "fixed" is what papers use: 60 degrees across, the axis through the middle. "scene" is the lens of each
            scene, from `CAMERA_FILE` in the folder (apple/ml-hypersim, contrib/mikeroberts3000). Half of the scenes
            have a shifted or tilted lens; a tilted one is a rotated pinhole camera, so that depth and normals are
            in the axes of its picture plane.
        far: metres; a surface farther away is left out of depth and mask. math.inf keeps all.

    Raises:
        UserError: a folder, list or table that is missing; while reading, a missing or damaged file, or no h5py.
    """
    folder = require_folder(Path(folder), "Hypersim's scenes (ai_001_001, ...)")
    require_known("the exposure of Hypersim", exposure, get_args(Exposure))
    require_known("the lens of Hypersim", lens, get_args(Lens))
    lenses = _read_lenses(folder / CAMERA_FILE) if lens == "scene" else None
    selection = _Selection(folder, chosen_maps("Hypersim", maps, MAPS), exposure, lenses, far)
    keys = read_list(Path(split), _LISTED) if is_list(split) else _split(folder, str(split))
    return open_present("Hypersim", keys, lambda key: folder / key.split("/")[0], partial(_read, selection))


def official_gain(color: Tensor, surface: Tensor) -> float:
    """The factor of Hypersim's tone mapping for linear color (1, 3, H, W) with surface (1, 1, H, W) bool.

    0.8 ^ 2.2 over the 90th percentile of brightness where there is a surface; 1 where there is none, 0 where that
    percentile is below 0.0001.
    """
    if not surface.any():
        return 1.0
    bright = float(torch.quantile(luminance(color, weights=_BRIGHTNESS)[surface].double(), _PERCENTILE))
    return 0.0 if bright < _DARKEST else _TARGET**_GAMMA / bright


def _split(folder: Path, split: str) -> list[str]:
    require_known("the split of Hypersim", split, SPLITS)
    places = (folder / SPLIT_FILE, folder.parent / "analysis" / SPLIT_FILE)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(f"{places[0]} does not exist; copy it from apple/ml-hypersim, evermotion_dataset/analysis")
    rows = _table(path, ("scene_name", "camera_name", "frame_id", "included_in_public_release", "split_partition_name"))
    wanted = [
        row for row in rows if row["included_in_public_release"] == "True" and row["split_partition_name"] == split
    ]
    with reading(path, "the table of Hypersim's pictures"):
        keys = [f"{row['scene_name']}/{row['camera_name']}/{int(row['frame_id']):04d}" for row in wanted]
        return [require_inside(path, key) for key in keys]


def _read_lenses(path: Path) -> dict[str, _Rays]:
    names = [[f"M_cam_from_uv_{row}{column}" for column in range(3)] for row in range(3)]
    rows = _table(existing_file(path), ("scene_name", *(name for line in names for name in line)))
    with reading(path, "the table of Hypersim's lenses"):
        return {row["scene_name"]: tuple(tuple(float(row[name]) for name in line) for line in names) for row in rows}


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with reading(existing_file(path), "a table of text"), path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path} has no column {', '.join(missing)}; expected the table of apple/ml-hypersim")
        return list(reader)


def _read(selection: _Selection, key: str) -> GBuffer:
    scene, trajectory, frame = key.split("/")
    images = selection.folder / scene / "images"

    def final(name: str) -> Tensor:
        values = _dataset(images / f"scene_{trajectory}_final_hdf5" / f"frame.{frame}.{name}.hdf5")
        return planes(clean(values.astype(np.float32)))

    def geometry(name: str) -> NDArray[Any]:
        return _dataset(images / f"scene_{trajectory}_geometry_hdf5" / f"frame.{frame}.{name}.hdf5")

    color = final("color")
    size = (color.shape[2], color.shape[3])
    lens, turn = _lens(selection.lenses, scene, size)
    gain, shapes = 1.0, {}
    if selection.exposure == "official" or selection.maps & {"depth", "mask"}:
        surface = torch.from_numpy(geometry("render_entity_id") != -1)[None, None]
        gain = official_gain(color, surface) if selection.exposure == "official" else 1.0
        shapes = _shapes(selection, surface, geometry, lens)
    if "normal" in selection.maps:
        stored = unit_normals(planes(geometry("normal_cam")))
        # The axes of a tilted picture plane: as rows of pixels, n turn is turn^T n.
        shapes["normal"] = facing_viewer(torch.einsum("ji,tjhw->tihw", turn, stored), lens)
    maps = {"rgb": gain * color} | shapes | _lights(selection.maps, final, gain)
    pose = _pose(selection.folder / scene, trajectory, int(frame), turn)
    camera = Camera(lens.intrinsics, pose[None], size)
    return GBuffer(rgb=maps["rgb"], depth_kind="metric", camera=camera).with_maps(**maps)


def _shapes(
    selection: _Selection, surface: Tensor, geometry: Callable[[str], NDArray[Any]], lens: Camera
) -> dict[str, Tensor]:
    """Planar depth and the mask, those of them that are requested."""
    if not selection.maps & {"depth", "mask"}:
        return {}
    depth = ray_distance_to_depth(planes(geometry("depth_meters")), lens)
    there = surface & depth.isfinite() & (depth > 0) & (depth < selection.far)
    found = {"depth": torch.where(there, depth, torch.inf), "mask": there.float()}
    return {name: value for name, value in found.items() if name in selection.maps}


def _lights(maps: frozenset[str], final: Callable[[str], Tensor], gain: float) -> dict[str, Tensor]:
    """Albedo, irradiance, shading and residual, those of them that are requested."""
    found: dict[str, Tensor] = {}
    if "diffuse_albedo" in maps:
        found["diffuse_albedo"] = final("diffuse_reflectance").clamp(max=1)
    if maps & {"irradiance", "shading"}:
        shading = gain * final("diffuse_illumination")
        found |= {"irradiance": math.pi * shading, "shading": shading}
    if "residual" in maps:
        found["residual"] = gain * final("residual")
    return {name: value for name, value in found.items() if name in maps}


def _lens(lenses: dict[str, _Rays] | None, scene: str, size: tuple[int, int]) -> tuple[Camera, Tensor]:
    """The camera of a scene with pose identity, and the (3, 3) turn of its picture plane's axes to Hypersim's camera.

    The table's matrix M takes (u, v, 1) to a ray; with N from pixels to (u, v, 1), the rays are M N p, and those of a
    pinhole camera D K^-1 p, D = diag(1, -1, -1). Q and upper triangular T of M N give K = T^-1 and turn = Q D.
    """
    height, width = size
    if lenses is None:
        return centred_camera(size, width / 2 / math.tan(_HALF_FOV)), torch.eye(3)
    if scene not in lenses:
        raise UserError(f"{CAMERA_FILE} has no scene {scene}; expected the table of apple/ml-hypersim")
    to_uv = np.array([[2 / width, 0, -1], [0, -2 / height, 1], [0, 0, 1]])
    turn, upper = np.linalg.qr(np.array(lenses[scene]) @ to_uv)
    signs = np.sign(np.diag(upper))
    turn, upper = turn * signs, upper * signs[:, None]
    k = np.linalg.inv(upper / upper[2, 2])
    flat = Camera(torch.tensor(k, dtype=torch.float32)[None], torch.eye(4)[None], size)
    return flat, torch.tensor(turn @ np.diag([1.0, -1, -1]), dtype=torch.float32)


def _pose(scene: Path, trajectory: str, frame: int, turn: Tensor) -> Tensor:
    """Camera-to-world (4, 4), metres, +Y up; the identity where the scene was downloaded without `_detail`."""
    detail = scene / "_detail"
    if not (detail / trajectory).is_dir():
        return torch.eye(4)
    path = existing_file(detail / "metadata_scene.csv")
    scales = {row["parameter_name"]: row["parameter_value"] for row in _table(path, _SCENE_COLUMNS)}
    if "meters_per_asset_unit" not in scales:
        raise UserError(f"{path} has no row meters_per_asset_unit; expected the file of Hypersim's download")
    pose = np.eye(4)
    turns = _dataset(detail / trajectory / "camera_keyframe_orientations.hdf5")
    places = _dataset(detail / trajectory / "camera_keyframe_positions.hdf5")
    if frame >= min(len(turns), len(places)):
        raise UserError(f"{detail / trajectory} has {len(places)} camera poses; expected one for frame {frame}")
    pose[:3, :3] = turns[frame] @ turn.double().numpy()
    pose[:3, 3] = places[frame] * float(scales["meters_per_asset_unit"])
    return torch.tensor(Z_UP_TO_Y_UP @ pose, dtype=torch.float32)


def _dataset(path: Path) -> NDArray[Any]:
    """The array of one of Hypersim's HDF5 files, which all call it `dataset`."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(_INSTALL) from error
    path = existing_file(path)
    with reading(path, "HDF5 with an array `dataset`"), h5py.File(path, "r") as file:
        found = file["dataset"] if isinstance(file.get("dataset", getlink=True), h5py.HardLink) else None
        # Links, and arrays whose values lie elsewhere, would read any file of this machine.
        if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external or found.dtype.kind not in "fiu":
            raise UserError(f"{path} has no array `dataset` of numbers of its own; expected a file of Hypersim")
        require_affordable(path, found.size, 1, 1)
        return np.asarray(found)
