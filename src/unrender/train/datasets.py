"""Pictures of other origin as training pictures: public datasets, and photos whose maps nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from unrender.errors import UserError
from unrender.files.datasets.registry import DATASETS, open_dataset
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_gbuffer
from unrender.train.data import StillDataset, load_still_dataset

SIDE = 160
"""The side of `unrender synth`'s pictures, unless it is told otherwise: sets that are joined have one size."""


def load_dataset(name: str, folder: Path, side: int = SIDE) -> StillDataset:
    """The middle squares of the pictures of a dataset, `side` pixels a side; those of its training split, where it has
    one. What it lacks of the maps is not known of them.

    Raises:
        UserError: no such dataset, or it is not there.
    """
    return load_still_dataset(_squares(open_dataset(name, folder), side), required=())


def dataset_named(text: str) -> tuple[str, Path]:
    """The name and the folder in NAME=FOLDER.

    Raises:
        UserError: it is something else.
    """
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UserError(f"the dataset {text!r}; NAME=FOLDER is right, with one of {', '.join(DATASETS)}")
    return name, Path(folder)


def _squares(pictures: Iterable[GBuffer], side: int) -> Iterator[GBuffer]:
    for picture in pictures:
        height, width = picture.size
        shorter = min(height, width)
        top, left = (height - shorter) // 2, (width - shorter) // 2
        window = (..., slice(top, top + shorter), slice(left, left + shorter))
        square = replace(picture, camera=None).with_maps(**{name: map[window] for name, map in picture.maps.items()})
        yield resize_gbuffer(square, (side, side))
