"""G-buffers as folders of pictures, one for each map, as the official codes of published models write them.

DiffusionRenderer writes `CHUNK.FRAME.basecolor.png` (its Cosmos version .jpg), RGB<->X and Ouroboros `NAME-albedo.png`,
`NAME_normals.png`, `metallicity.png`, Marigold `NAME_albedo.png` and a `material` whose red is roughness, its green
metallicity. A map may have a folder of its own, too: `normal/0001.png`. Eight bits or sixteen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.decoding import decode
from unrender.files.images import PICTURE_SUFFIXES, to_frames
from unrender.files.notes import note
from unrender.files.numbering import natural_order
from unrender.files.paths import existing_file
from unrender.scene.gbuffer import GBuffer

_NAMES = {
    "base_color": ("basecolor", "base_color", "base-color", "albedo"),
    "diffuse_albedo": ("diffuse_albedo", "diffuse-albedo", "diffusealbedo"),
    "normal": ("normal", "normals"),
    "depth": ("depth",),
    "disparity": ("disparity",),
    "roughness": ("roughness",),
    "metallic": ("metallic", "metallicity", "metallicness", "metalness"),
    "material": ("material",),
    "irradiance": ("irradiance",),
    "shading": ("shading",),
    "residual": ("residual",),
    "mask": ("mask",),
    "rgb": ("rgb", "image", "photo"),
}
_COLOURS = ("base_color", "diffuse_albedo", "irradiance", "shading", "residual", "rgb")
_BY_NAME = {name: key for key, names in _NAMES.items() for name in names}
# The longest names first: diffuse_albedo is no albedo.
_ANY = "|".join(re.escape(name) for name in sorted(_BY_NAME, key=len, reverse=True))
_WORD = re.compile(rf"(?:^|(?<=[._\- ]))({_ANY})(?=[._\- ]|$)", re.IGNORECASE)
_COLOURED = re.compile(r"colou?red|_vis$", re.IGNORECASE)
_NO_NORMAL, _DARK, _BRIGHT = 0.2, 4 / 255, 251 / 255

Files = dict[str, Path]
"""The picture of each map of one frame."""


def find_frames(folder: Path) -> list[tuple[str, Files]]:
    """The frames that the pictures in a folder are the maps of, in order, each with what is left of their names.

    Raises:
        UserError: two pictures for one map, or frames that do not have the same maps.
    """
    frames: dict[str, Files] = {}
    for path, said in _candidates(folder):
        found = list(_WORD.finditer(said))
        if not found or _COLOURED.search(path.stem):
            continue
        word = found[-1]
        key = re.sub(r"[._\- ]+", ".", f"{said[: word.start()]}.{said[word.end() :]}").strip(".")
        key = re.sub(r"\.?(pred|16bit)$", "", key)
        files, name = frames.setdefault(key, {}), _BY_NAME[word[1].lower()]
        if name in files:
            raise UserError(f"{folder} has two pictures for {name}, {files[name].name} and {path.name}; expected one")
        files[name] = path
    ordered = sorted(frames.items(), key=lambda item: natural_order(Path(item[0] or "_")))
    for key, files in ordered[1:]:
        if files.keys() != ordered[0][1].keys():
            lacking = sorted(files.keys() ^ ordered[0][1].keys())[0]
            raise UserError(f"{folder} has {lacking} of some frames and not of others ({key}); expected it of all")
    return ordered


def read_pictures(folder: Path, files: Files) -> GBuffer:
    """The G-buffer of one frame of `find_frames`.

    Colours are decoded as any picture (sRGB where a file says nothing; RGB<->X's power of 2.2 is within a code of it in
    all but the darkest), data are code values: normals (v + 1) / 2 with +X right, +Y up and +Z to the viewer, and none
    where they are grey, black or white; depth relative, larger is farther.

    Raises:
        UserError: a damaged picture, or pictures of different sizes.
    """
    maps: dict[str, Tensor] = {}
    for name, path in files.items():
        maps |= _read(name, path)
    sizes = {tuple(value.shape[2:]): name for name, value in maps.items()}
    if len(sizes) > 1:
        shown = ", ".join(f"{name} {size[1]} x {size[0]}" for size, name in list(sizes.items())[:3])
        raise UserError(f"{folder} has maps of different sizes ({shown}); expected one size for all")
    if "normal" in maps:
        note(folder, "normals of pictures are taken to be in camera axes, red to the right")
    return GBuffer(**maps, depth_kind="relative", irradiance_kind="relative")  # ty: ignore[invalid-argument-type]


def _candidates(folder: Path) -> Iterator[tuple[Path, str]]:
    """Pictures, each with the name that tells its map: its own, or with that of the folder it is in."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.name.lower() in _BY_NAME:
            for inner in sorted(path.iterdir()):
                if inner.suffix.lower() in PICTURE_SUFFIXES and not inner.name.startswith("."):
                    yield inner, f"{_WORD.sub('', inner.stem)}.{path.name}"
        elif path.suffix.lower() in PICTURE_SUFFIXES:
            yield path, path.stem


def _read(name: str, path: Path) -> dict[str, Tensor]:
    samples = decode(existing_file(path))
    if name in _COLOURS:
        frames = to_frames(path, samples)
        found = {name: frames.rgb}
        return found | ({"mask": frames.mask} if frames.mask is not None and name != "rgb" else {})
    if samples.pixels.dtype.kind == "f":
        raise UserError(f"{path} holds floats; expected a picture of 8 or 16 bits, or an EXR with all maps in it")
    pixels, levels = _opaque(samples.pixels), np.iinfo(samples.pixels.dtype).max
    codes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / levels
    return _data(name, torch.from_numpy(codes)[None], levels)


def _data(name: str, codes: Tensor, levels: int) -> dict[str, Tensor]:
    """The maps that code values (1, C, H, W) in [0, 1] stand for."""
    first = codes[:, :1]
    match name:
        case "normal":
            return {"normal": _normals(codes.expand(1, 3, *codes.shape[2:]))}
        case "depth":
            # Known up to a scale and a shift, so the nearest may be brought in front of the camera.
            return {"depth": first + 1 / levels}
        case "material":
            return {"roughness": first, "metallic": codes[:, 1:2]} if codes.shape[1] == 3 else {"roughness": first}
        case _:
            return {name: first}


def _normals(codes: Tensor) -> Tensor:
    vectors = 2 * codes - 1
    length = vectors.norm(dim=1, keepdim=True)
    blank = (codes.amax(1, keepdim=True) < _DARK) | (codes.amin(1, keepdim=True) > _BRIGHT)
    there = (length > _NO_NORMAL) & ~blank
    return torch.where(there, vectors / length.clamp(min=1e-6), torch.zeros_like(vectors))


def _opaque(pixels: np.ndarray) -> np.ndarray:
    """Without alpha."""
    return pixels[..., :-1] if pixels.shape[2] in (2, 4) else pixels
