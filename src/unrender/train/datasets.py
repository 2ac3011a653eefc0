"""Other training data: public datasets, and unlabelled photos."""

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
"""The default side of `unrender synth`'s pictures: sets that are joined have one size."""


def load_dataset(name: str, folder: Path, side: int = SIDE) -> StillDataset:
    """The middle squares of the pictures of a dataset, `side` pixels a side; those of its training split, where it has
    one. Maps that it lacks are unknown.

    Raises:
        UserError: an unknown dataset, or a folder without it.
    """
    return load_still_dataset(_squares(open_dataset(name, folder), side), required=())


def dataset_named(text: str) -> tuple[str, Path]:
    """The name and the folder in NAME=FOLDER.

    Raises:
        UserError: `text` has another form.
    """
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise UserError(f"the dataset {text!r}; expected NAME=FOLDER, with one of {', '.join(DATASETS)}")
    return name, Path(folder)


def _squares(pictures: Iterable[GBuffer], side: int) -> Iterator[GBuffer]:
    for picture in pictures:
        height, width = picture.size
        shorter = min(height, width)
        top, left = (height - shorter) // 2, (width - shorter) // 2
        window = (..., slice(top, top + shorter), slice(left, left + shorter))
        square = replace(picture, camera=None).with_maps(**{name: map[window] for name, map in picture.maps.items()})
        yield resize_gbuffer(square, (side, side))
