"""Posed pictures: what a `transforms.json` or a COLMAP model names, read with its cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.cameras import NamedCameras, read_colmap, read_transforms
from unrender.files.gbuffers import read_gbuffer
from unrender.files.images import read_image
from unrender.scene.camera import Camera
from unrender.scene.frames import Frames


@dataclass(frozen=True, eq=False)
class PosedPictures:
    """Pictures of one thing from several places.

    Attributes:
        frames: (T, 3, H, W) linear, with alpha where the pictures have it, named after their folder.
        camera: of each.
        names: as the file of cameras gives them.
        depth: (T, 1, H, W) planar, in the cameras' units; None where no picture has an EXR with depth beside it.
        mask: (T, 1, H, W) of the same EXR files; None where they have none.
    """

    frames: Frames
    camera: Camera
    names: tuple[str, ...]
    depth: Tensor | None = None
    mask: Tensor | None = None


def read_posed(cameras: str | Path, folder: str | Path | None = None, colorspace: str | None = None) -> PosedPictures:
    """Reads pictures with their cameras; beside `view.png`, a `view.exr` gives depth and mask.

    Args:
        cameras: a transforms.json, a folder with one, or a COLMAP model.
        folder: of the pictures; that of the cameras when None.
        colorspace: of the pictures, as for `read_image`.

    Raises:
        UserError: as the cameras' readers; a picture that is missing or of another size than its camera.
    """
    path = Path(cameras)
    named = read_named_cameras(path)
    home = Path(folder) if folder is not None else (path if path.is_dir() else path.parent)
    pictures, depths, masks = [], [], []
    for name in named.names:
        picture, place = read_image(_picture(home, name), colorspace), _picture(home, name)
        if picture.size != named.camera.size:
            (height, width), (tall, wide) = picture.size, named.camera.size
            raise UserError(
                f"{place} is {width}x{height} pixels and its camera {wide}x{tall}; expected pictures of the cameras' "
                "size"
            )
        pictures.append(picture.frame(0))
        beside = place.with_suffix(".exr")
        if beside.is_file() and beside != place:
            maps = read_gbuffer(beside).maps
            depths.append(maps.get("depth"))
            masks.append(maps.get("mask"))
    whole = len(pictures)
    return PosedPictures(
        replace(Frames.concatenate(pictures), name=home.resolve().name),
        named.camera,
        named.names,
        _all(depths, whole),
        _all(masks, whole),
    )


def read_named_cameras(path: Path) -> NamedCameras:
    """The cameras of a transforms.json, of a folder with one, or of a COLMAP model."""
    if path.is_dir() and not (path / "transforms.json").is_file():
        return read_colmap(path)
    return read_transforms(path / "transforms.json" if path.is_dir() else path)


def _picture(home: Path, name: str) -> Path:
    """The file of a picture; names of the NeRF synthetic scenes have no suffix, COLMAP's may lie in `images/`."""
    for place in (home / name, (home / name).with_suffix(".png"), home / "images" / name, home / Path(name).name):
        if place.is_file():
            return place
    raise UserError(f"{home / name} is not there; expected the picture that the cameras name")


def _all(values: list[Tensor | None], count: int) -> Tensor | None:
    known = [value for value in values if value is not None]
    return torch.cat(known) if len(known) == count else None
