"""A folder of unlabelled photographs, as Ouroboros trains its cycles on (MS COCO, Flickr30k)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from unrender.errors import UserError
from unrender.files.datasets.pictures import Pictures, require_folder, require_known
from unrender.files.images import PICTURE_SUFFIXES, read_image
from unrender.files.sequences import natural_order
from unrender.scene.gbuffer import GBuffer

SPLITS = ("all",)


def open_photos(folder: str | Path, split: str = "all") -> Pictures:
    """Opens a folder of photographs of any sizes, and the folders in it: `rgb` alone, linear, and no camera.

    Raises:
        UserError: no such folder, or no pictures in it; while reading, a damaged file.
    """
    folder = require_folder(Path(folder), "photographs")
    require_known("the split of a folder of photographs", split, SPLITS)
    found = [path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != "."]
    if not found:
        raise UserError(f"the folder {folder} has no photographs; expected {', '.join(sorted(PICTURE_SUFFIXES))}")
    ordered = sorted(found, key=lambda path: (path.parent, natural_order(path)))
    return Pictures("photos", tuple(str(path.relative_to(folder)) for path in ordered), partial(_read, folder))


def _read(folder: Path, key: str) -> GBuffer:
    return GBuffer(rgb=read_image(folder / key).rgb)
