"""The datasets that can be opened by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unrender.files.datasets.hypersim import open_hypersim
from unrender.files.datasets.interiorverse import open_interiorverse
from unrender.files.datasets.matrixcity import open_matrixcity
from unrender.files.datasets.photos import open_photos
from unrender.files.datasets.pictures import Pictures, require_known
from unrender.files.datasets.vkitti2 import open_vkitti2

DATASETS: dict[str, Callable[..., Pictures]] = {
    "hypersim": open_hypersim,
    "interiorverse": open_interiorverse,
    "matrixcity": open_matrixcity,
    "photos": open_photos,
    "vkitti2": open_vkitti2,
}
"""The function that opens each dataset: all take the folder and the split first, then options of their own."""


def open_dataset(name: str, folder: str | Path, split: str | None = None) -> Pictures:
    """Opens a dataset of `DATASETS` with its usual options; `split` None is its usual split, train where it has one.

    Raises:
        UserError: an unknown name or split, or a folder that is not laid out as docs/datasets.md says.
    """
    opener = DATASETS[require_known("a dataset", name, DATASETS)]
    return opener(folder) if split is None else opener(folder, split)
