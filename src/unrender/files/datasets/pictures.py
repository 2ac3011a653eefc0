"""Shared by the readers of datasets: pictures that are read lazily, splits, and error messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrender.errors import UserError
from unrender.files.exr import ExrImage
from unrender.files.paths import existing_file
from unrender.files.reading import printable, reading
from unrender.files.views import require_sound
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import GBuffer


@dataclass(frozen=True)
class Pictures:
    """The pictures of one split of a dataset, each read from its files on access.

    `pictures[3]` is a `GBuffer` with T = 1, `pictures[:100]` are fewer pictures. It can be pickled, so that workers can
    read in parallel.

    Attributes:
        name: of the dataset.
        keys: what each picture is called, "scene/camera/frame" or as near to it as the dataset comes.
        read: reads the picture of a key.
        left_out: how many pictures (of InteriorVerse, scenes) the split has beyond these that are not on this disk.
    """

    name: str
    keys: tuple[str, ...]
    read: Callable[[str], GBuffer]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> GBuffer: ...

    @overload
    def __getitem__(self, index: slice) -> Pictures: ...

    def __getitem__(self, index: int | slice) -> GBuffer | Pictures:
        if isinstance(index, slice):
            return replace(self, keys=self.keys[index])
        return self._one(self.keys[index])

    def __iter__(self) -> Iterator[GBuffer]:
        return map(self._one, self.keys)

    def _one(self, key: str) -> GBuffer:
        what = f"the picture {key} of {self.name}"
        with reading(what, "ground truth"):
            picture = self.read(key)
            if picture.camera is not None:
                require_sound(picture.camera, what)
            for name, value in picture.maps.items():
                if value.isnan().any() or (name != "depth" and value.isinf().any()):
                    raise UserError(
                        f"{what} has values in its {name} that are not finite; expected the set's own files"
                    )
            return picture


def require_folder(folder: Path, holds: str) -> Path:
    """The folder, if there is one; else a UserError that says what it `holds`."""
    if not folder.is_dir():
        raise UserError(f"the folder {folder} does not exist; expected one that holds {holds}")
    return folder


def require_known(what: str, value: str, known: Iterable[str]) -> str:
    """`value`, if it is one of `known`; else a UserError."""
    if value not in known:
        raise UserError(f"{what} is {value!r}; expected {', '.join(known)}")
    return value


def chosen_maps(dataset: str, maps: Collection[str] | None, known: Collection[str]) -> frozenset[str]:
    """The maps to read: the requested ones, or all that are known."""
    for name in maps or ():
        require_known(f"a map of {dataset}", name, known)
    return frozenset(known if maps is None else maps)


def is_list(split: str | Path) -> bool:
    """Whether a split is the name of a text file that lists pictures."""
    return Path(split).suffix == ".txt"


def read_list(path: Path, pattern: str) -> list[str]:
    """The keys of a list of pictures, one a line: the groups of `pattern`, which is searched in it, joined by "/"."""
    if not path.is_file():
        raise UserError(f"the list {path} does not exist; expected a text file with a picture a line")
    lines = [line for line in read_lines(path) if line.strip()]
    found = [re.search(pattern, line) for line in lines]
    keys = ["/".join(match.groups()) for match in found if match is not None]
    for key in keys:
        require_inside(path, key)
    if not lines or len(keys) < len(lines):
        wrong = next((line for line, match in zip(lines, found, strict=True) if match is None), "")
        raise UserError(f"the list {path} has the line {wrong[:80]!r}; expected names that match {pattern}")
    return keys


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; UserError where it is none."""
    with reading(existing_file(path), "text"):
        return path.read_text("utf-8").splitlines()


def require_inside(path: Path, name: str) -> str:
    """`name`, if it leads to nowhere but under the folder of the set; else a UserError: `path` is the list it is in."""
    pieces = name.split("/")
    leads_out = Path(name).is_absolute() or not {"..", "."}.isdisjoint(pieces) or "\0" in name
    if leads_out or not name or max(map(len, pieces)) > 255:
        raise UserError(f"{path} names {name[:80]!r}; expected names of folders and files of the set")
    return name


def open_present(
    name: str, keys: list[str], folder_of: Callable[[str], Path], read: Callable[[str], GBuffer]
) -> Pictures:
    """The pictures of `keys` whose folder is on the disk; UserError where none is."""
    folders = {key: folder_of(key) for key in keys}
    there = {path: path.is_dir() for path in set(folders.values())}
    kept = tuple(key for key in keys if there[folders[key]])
    if not kept:
        expected = folders[keys[0]] if keys else "no picture at all"
        raise UserError(
            f"no picture of this split of {name} is there; expected the first in {printable(str(expected))}"
        )
    return Pictures(name, kept, read, left_out=len(keys) - len(kept))


def planes(pixels: NDArray[np.generic]) -> Tensor:
    """(H, W) or (H, W, C) of any number type to (1, C, H, W) float32."""
    values = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
    return values[None, None] if values.ndim == 2 else values.permute(2, 0, 1)[None].contiguous()


def exr_planes(path: Path, image: ExrImage, names: str = "RGB") -> Tensor:
    """The channels `names` of an EXR, (1, C, H, W); a UserError lists those it has instead."""
    if not set(names) <= set(image.channels):
        listed = ", ".join(sorted(image.channels)[:12])
        raise UserError(f"{path} has the channels {listed}; expected {', '.join(names)}")
    return planes(np.stack([image.channels[name] for name in names], axis=-1))


def centred_camera(size: tuple[int, int], focal: float, pose: Tensor | None = None) -> Camera:
    """A camera of (height, width) `size` whose axis goes through the middle; focal length in pixels, pose (4, 4)."""
    height, width = size
    k = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
    return Camera(k[None], torch.eye(4)[None] if pose is None else pose.float()[None], size)
