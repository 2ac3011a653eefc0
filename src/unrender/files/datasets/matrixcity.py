"""MatrixCity (Li et al., ICCV 2023): two cities of Unreal Engine 5, from the air and from the street.

What the files mean, from city-super/MatrixCity, README.md, scripts/load_data.py and scripts/load_aerial.py:

rgb, diffuse, metallic, roughness  PNG, every one of them sRGB-encoded, roughness and metallic too
diffuse    the engine's diffuse colour, base colour (1 - metallic): it is diffuse albedo, and base colour is not there
depth      EXR, planar, centimetres; in half floats 65504 means that or more
normal     EXR, (n + 1) / 2 in the engine's world, whose +Y is opposite to that of the poses; 0 in the sky
poses      transforms.json: camera axes as here, world +Z up, metres; the rotation is scaled by 1/100
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.cameras import Z_UP_TO_Y_UP
from unrender.files.datasets.pictures import (
    Pictures,
    centred_camera,
    chosen_maps,
    exr_planes,
    require_folder,
    require_known,
)
from unrender.files.exr import read_channels
from unrender.files.images import read_image
from unrender.files.paths import existing_file
from unrender.files.radiance import HALF_MAX
from unrender.files.reading import reading
from unrender.files.tables import read_table
from unrender.files.views import entry, number, numbers
from unrender.scene.gbuffer import GBuffer
from unrender.scene.normals import unit_normals

CITIES = ("small_city", "big_city")
VIEWS = ("aerial", "street")
SPLITS = ("train", "train_dense", "test")

# Each map: the top folders that it may lie in, best first, by what follows the city's name; what its blocks end in.
_FOLDERS = {
    "diffuse_albedo": (("diffuse",), "diffuse"),
    "normal": (("normal",), "normal"),
    "depth": (("depth_float32", "depth_flaot32", "depth"), "depth"),
    "roughness": (("roughness",), "roughness"),
    "metallic": (("metallic",), "metallic"),
}
MAPS = (*_FOLDERS, "mask")
_BLOCK = "a block of MatrixCity (camera_angle_x, frame_index, rot_mat)"


@dataclass(frozen=True)
class _View:
    pose: tuple[tuple[float, ...], ...]  # camera-to-world as the file has it
    half_angle: float


@dataclass(frozen=True)
class _Selection:
    folder: Path
    maps: frozenset[str]
    views: dict[str, _View]


def open_matrixcity(
    folder: str | Path,
    split: str = "train",
    *,
    city: str = "small_city",
    views: Collection[str] = VIEWS,
    maps: Collection[str] | None = None,
) -> Pictures:
    """Opens MatrixCity: `rgb`, decoded from sRGB, and the chosen ones of `MAPS`; 1080 x 1920 pixels from the air,
    1000 x 1000 in the street.

    Args:
        folder: holds small_city, small_city_depth_float32, small_city_normal, small_city_diffuse, ... as they lie on
            the dataset's page, every archive unpacked where it lies.
        split: train, train_dense (streets only) or test: the folders of the dataset, every block in them.
        city: small_city, the only one with normals and materials, or big_city.
        views: of aerial and street; one that is not on the disk is passed over, as long as the other is.
        maps: of `MAPS`; every file that they need has to be there. None is those whose top folder is there. `mask` is
            where depth and normal, those of them that are read, have values; the sky has none.

    Raises:
        UserError: a folder that is missing; while reading, a file that is missing, damaged or another.
    """
    folder = require_folder(Path(folder), "small_city, small_city_depth_float32, ...")
    require_known("the city of MatrixCity", city, CITIES)
    require_known("the split of MatrixCity", split, SPLITS)
    for view in views:
        require_known("a view of MatrixCity", view, VIEWS)
    tops = {name: _top(folder, city, name) for name in _FOLDERS}
    wanted = chosen_maps("MatrixCity", maps, MAPS)
    if maps is None:
        wanted = frozenset(name for name in wanted if name in tops and tops[name].is_dir())
        wanted |= {"mask"} if wanted & {"depth", "normal"} else set()
    elif "mask" in wanted and not wanted & {"depth", "normal"}:
        raise UserError("the mask of MatrixCity follows from depth or normal; ask for one of them beside it")
    blocks = [path for view in views for path in sorted((folder / city / view / split).glob("*/transforms.json"))]
    if not blocks:
        expected = folder / city / next(iter(views), VIEWS[0]) / split / "BLOCK" / "transforms.json"
        raise UserError(f"no block of MatrixCity for the split {split}; expected files like {expected}")
    found = {key: view for path in blocks for key, view in _views(path).items()}
    read = partial(_read, _Selection(folder, wanted, found))
    return Pictures("MatrixCity", tuple(found), read)


def _top(folder: Path, city: str, name: str) -> Path:
    places = [folder / f"{city}_{ending}" for ending in _FOLDERS[name][0]]
    return next((place for place in places if place.is_dir()), places[0])


def _views(path: Path) -> dict[str, _View]:
    """The views of a block, by key: city/view/split/block/number."""
    block = "/".join(path.parts[-5:-1])
    with reading(existing_file(path), _BLOCK):
        said = read_table(path)
        angle = number(entry(said, "camera_angle_x", f"{path}"), f"{path}: camera_angle_x")
        if not 0 < angle < math.pi:
            raise UserError(f"{path}: camera_angle_x is {angle:g}; expected an angle between 0 and pi")
        views = {}
        for frame in said["frames"]:
            index = number(frame["frame_index"], f"{path}: frame_index")
            rows = [numbers(row, 4, f"{path}: rot_mat") for row in frame["rot_mat"]]
            if len(rows) not in (3, 4):
                raise UserError(f"{path}: rot_mat has {len(rows)} rows; expected 4 of 4 numbers")
            views[f"{block}/{int(index):04d}"] = _View(tuple(tuple(row.tolist()) for row in rows), angle / 2)
        return views


def _read(selection: _Selection, key: str) -> GBuffer:
    city, view, split, block, number = key.split("/")
    rgb = read_image(selection.folder / city / view / split / block / f"{number}.png").rgb
    size = (rgb.shape[2], rgb.shape[3])
    to_world = np.array(selection.views[key].pose)
    to_world[:3, :3] *= 100
    to_world[3] = (0, 0, 0, 1)
    focal = size[1] / 2 / math.tan(selection.views[key].half_angle)
    camera = centred_camera(size, focal, torch.tensor(Z_UP_TO_Y_UP @ to_world))

    def place(name: str, suffix: str) -> Path:
        return _place(_top(selection.folder, city, name) / view / split, block, _FOLDERS[name][1], number + suffix)

    maps = {"rgb": rgb}
    for name in ("diffuse_albedo", "roughness", "metallic"):
        if name in selection.maps:
            values = read_image(place(name, ".png")).rgb
            maps[name] = values if name == "diffuse_albedo" else values[:, :1]
    if "depth" in selection.maps:
        maps["depth"] = _depth(place("depth", ".exr"))
    if "normal" in selection.maps:
        maps["normal"] = _normal(place("normal", ".exr"), to_world)
    maps = _masked(maps, with_mask="mask" in selection.maps)
    return GBuffer(rgb=rgb, depth_kind="metric", camera=camera).with_maps(**maps)


def _masked(maps: dict[str, Tensor], *, with_mask: bool) -> dict[str, Tensor]:
    """The maps, depth without the sky, and `with_mask` the mask of what is not sky."""
    there = torch.ones_like(maps["rgb"][:, :1], dtype=torch.bool)
    if "normal" in maps:
        there = there & (maps["normal"].abs().sum(1, keepdim=True) > 0)
    if "depth" in maps:
        there = there & maps["depth"].isfinite()
        maps = maps | {"depth": torch.where(there, maps["depth"], torch.inf)}
    return maps | {"mask": there.float()} if with_mask else maps


def _place(folder: Path, block: str, ending: str, file: str) -> Path:
    """A file of a block, whose archive is called block_ending and may have a folder of that name, or of the block's, in
    it."""
    named = f"{block}_{ending}"
    places = [folder / named / file, folder / named / named / file, folder / block / file]
    return next((place for place in places if place.is_file()), places[0])


def _depth(path: Path) -> Tensor:
    image = read_channels(existing_file(path))
    centimetres = exr_planes(path, image, "R")
    # Of what is too far for half floats nothing is known but that.
    limit = HALF_MAX if image.channels["R"].dtype == np.float16 else math.inf
    there = centimetres.isfinite() & (centimetres > 0) & (centimetres < limit)
    return torch.where(there, centimetres / 100, torch.inf)


def _normal(path: Path, to_world: np.ndarray) -> Tensor:
    stored = exr_planes(path, read_channels(existing_file(path)))
    sky = (stored == 0).all(1, keepdim=True)
    engine = torch.where(sky, 0.0, stored * 2 - 1)
    world = engine * torch.tensor([1.0, -1, 1])[:, None, None]
    turn = torch.tensor(to_world[:3, :3], dtype=torch.float32)
    return unit_normals(torch.einsum("ji,tjhw->tihw", turn, world))
