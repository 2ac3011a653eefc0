"""InteriorVerse (Zhu et al., SIGGRAPH Asia 2022): rendered rooms with metallic-roughness materials.

What the files mean, from jingsenzhu/IndoorInverseRendering, interiorverse/README.md, mgnet/dataLoader/__init__.py and
lightnet (models/render/brdf.py, utils/__init__.py):

NNN_im        linear radiance; the display picture is clipped to [0, 1], with no exposure
NNN_albedo    linear base colour: the renderer's diffuse colour is albedo (1 - metallic)
NNN_material  R roughness (GGX alpha = roughness^2), G metallic, B unused; stored as they are, not gamma-encoded
NNN_depth     planar depth in millimetres, +inf where there is nothing
NNN_normal    camera axes as here
NNN_mask      1 where the pixel is valid
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.datasets.pictures import (
    Pictures,
    centred_camera,
    chosen_maps,
    exr_planes,
    is_list,
    open_present,
    read_lines,
    read_list,
    require_folder,
    require_inside,
    require_known,
)
from unrender.files.exr import read_channels
from unrender.files.images import read_image
from unrender.files.paths import existing_file
from unrender.scene.gbuffer import GBuffer
from unrender.scene.normals import unit_normals

MAPS = ("base_color", "normal", "depth", "roughness", "metallic", "mask")
SPLITS = ("train", "val", "test")
FIELDS_OF_VIEW = (85, 120)

_LISTED = r"([^/\s]+)/(\d+)_im(?:\.exr|g\.png)"


@dataclass(frozen=True)
class _Selection:
    folder: Path
    maps: frozenset[str]
    half_fov: float
    ldr: bool


def open_interiorverse(
    folder: str | Path,
    split: str | Path = "train",
    *,
    maps: Collection[str] | None = None,
    fov_degrees: int = 85,
    ldr: bool = False,
) -> Pictures:
    """Opens InteriorVerse: `rgb`, linear radiance, and the chosen ones of `MAPS`, 480 x 640 pixels.

    Args:
        folder: holds dataset_85 or scenes_85 (_120), or is one of them: scenes, and train.txt, val.txt, test.txt with a
            scene's name a line.
        split: train, val or test; or a text file that lists pictures as Marigold's data_split/interiorverse_* do.
        maps: of `MAPS`; every file that they need has to be there. None is all. `mask` is the dataset's own where depth
            and normal, if they are chosen, have finite values too.
        fov_degrees: across, 85 or 120; it selects the folder, as no file states it. There are no poses.
        ldr: clips `rgb` to [0, 1], which is all that the authors and Marigold do before they encode it.

    Raises:
        UserError: a folder or list that is missing; while reading, a file that is missing, damaged or another.
    """
    if fov_degrees not in FIELDS_OF_VIEW:
        raise UserError(f"InteriorVerse with {fov_degrees} degrees across; expected 85 or 120")
    folder = require_folder(Path(folder), "InteriorVerse's dataset_85 or scenes_85")
    inner = [folder / f"{name}_{fov_degrees}" for name in ("dataset", "scenes")]
    root = next((place for place in inner if place.is_dir()), folder)
    named = next((fov for fov in FIELDS_OF_VIEW if root.name.endswith(f"_{fov}")), fov_degrees)
    if named != fov_degrees:
        raise UserError(f"{root} was seen with {named} degrees across, not {fov_degrees}; say fov_degrees={named}")
    selection = _Selection(root, chosen_maps("InteriorVerse", maps, MAPS), math.radians(fov_degrees) / 2, ldr)
    keys = read_list(Path(split), _LISTED) if is_list(split) else _split(root, str(split))
    return open_present("InteriorVerse", keys, lambda key: root / key.split("/")[0], partial(_read, selection))


def valid_material(picture: GBuffer) -> Tensor:
    """Where the authors count errors of material, (T, 1, H, W) in {0, 1}: in the mask, and not where roughness and
    metallic are both exactly 0, which stands for no material."""
    picture.require("mask", "roughness", "metallic", by="InteriorVerse's mask of materials")
    maps = picture.maps
    return maps["mask"] * ((maps["roughness"] > 0) | (maps["metallic"] > 0))


def _split(root: Path, split: str) -> list[str]:
    require_known("the split of InteriorVerse", split, SPLITS)
    path = root / f"{split}.txt"
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected the dataset's list of scenes, or a list of pictures as split")
    scenes = [require_inside(path, scene) for line in read_lines(path) for scene in line.split()]
    return [key for scene in scenes for key in _pictures(root, scene)]


def _pictures(root: Path, scene: str) -> list[str]:
    """The keys of a scene's pictures; of a scene that is not on the disk, one key for all of them."""
    if not (root / scene).is_dir():
        return [f"{scene}/"]
    return [f"{scene}/{path.name.removesuffix('_im.exr')}" for path in sorted((root / scene).glob("*_im.exr"))]


def _read(selection: _Selection, key: str) -> GBuffer:
    def stored(name: str) -> Tensor:
        path = existing_file(selection.folder / f"{key}_{name}.exr")
        return exr_planes(path, read_channels(path))

    rgb = read_image(selection.folder / f"{key}_im.exr").rgb
    maps = {"rgb": rgb.clamp(max=1) if selection.ldr else rgb}
    if "base_color" in selection.maps:
        maps["base_color"] = _unit(stored("albedo"))
    if selection.maps & {"roughness", "metallic"}:
        material = _unit(stored("material"))
        maps |= {"roughness": material[:, :1], "metallic": material[:, 1:2]}
    if "depth" in selection.maps:
        millimetres = _single(selection.folder / f"{key}_depth.exr")
        there = millimetres.isfinite() & (millimetres > 0)
        maps["depth"] = torch.where(there, millimetres / 1000, torch.inf)
    if "normal" in selection.maps:
        maps["normal"] = unit_normals(stored("normal"))
    if "mask" in selection.maps:
        maps["mask"] = _mask(_single(selection.folder / f"{key}_mask.exr"), maps)
    kept = {name: value for name, value in maps.items() if name in selection.maps or name == "rgb"}
    size = (rgb.shape[2], rgb.shape[3])
    camera = centred_camera(size, size[1] / 2 / math.tan(selection.half_fov))
    return GBuffer(rgb=rgb, depth_kind="metric", camera=camera).with_maps(**kept)


def _mask(stored: Tensor, maps: dict[str, Tensor]) -> Tensor:
    valid = stored > 0
    if "depth" in maps:
        valid = valid & maps["depth"].isfinite()
    if "normal" in maps:
        valid = valid & (maps["normal"].abs().sum(1, keepdim=True) > 0)
    return valid.float()


def _single(path: Path) -> Tensor:
    """A map of single values, (1, 1, H, W): the red channel, or the first where no channel is called so."""
    image = read_channels(existing_file(path))
    return exr_planes(path, image, "R" if "R" in image.channels else next(iter(image.channels)))


def _unit(values: Tensor) -> Tensor:
    return values.nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)
