"""User files for random worlds: assets, lights and normal maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from unrender.errors import UserError
from unrender.files.meshes import MESH_SUFFIXES
from unrender.synth.catalogue import CATALOGUE, CatalogueModel, read_catalogue

LIGHT_SUFFIXES = frozenset({".hdr", ".exr"})
NORMAL_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})
POOL = 64
"""Models that one pool of a catalogue has: worlds that follow each other draw from the same, whose files are then read
once."""
HELD_OUT_EVERY = 6
"""Of a folder of at least so many files, every such one is for the split `test` alone."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sources:
    """The user's files; without them, objects and lights come from the built-in families.

    Attributes:
        assets: GLB, glTF, OBJ or PLY files, which replace the built-in families of objects.
        lights: .hdr or .exr files, which replace the built-in environment maps.
        models: those of furniture catalogues, which furnish rooms, streets and tables.
        normals: pictures of tangent-space normals (+Y up), which emboss some materials.
    """

    assets: tuple[Path, ...] = ()
    lights: tuple[Path, ...] = ()
    models: tuple[CatalogueModel, ...] = ()
    normals: tuple[Path, ...] = ()

    @staticmethod
    def of_folders(
        assets: Path | str | None = None, lights: Path | str | None = None, normals: Path | str | None = None
    ) -> Sources:
        """All fitting files in and under the folders, in the order of their names. Hidden files and folders, and the
        ._ files that some systems leave beside others, are passed over. A folder of assets that has catalogues in it
        gives their models, and no other files.

        Raises:
            UserError: a folder that does not exist, or that has no such file.
        """
        files = () if assets is None else _files(Path(assets), MESH_SUFFIXES)
        listed = () if assets is None else tuple(sorted(Path(assets).rglob(CATALOGUE)))
        return Sources(
            () if listed else files,
            () if lights is None else _files(Path(lights), LIGHT_SUFFIXES),
            tuple(model for path in listed for model in read_catalogue(path)),
            () if normals is None else _files(Path(normals), NORMAL_SUFFIXES),
        )

    def of_split(self, *, test: bool) -> Sources:
        """The files of one split: what one has the other never sees."""
        return Sources(
            _split(self.assets, test), _split(self.lights, test), _split(self.models, test), _split(self.normals, test)
        )

    def pool(self, key: Sequence[int]) -> Sources:
        """The same with `POOL` of the models, chosen by `key`."""
        if len(self.models) <= POOL:
            return self
        chosen = np.random.default_rng(list(key)).choice(len(self.models), POOL, replace=False)
        return replace(self, models=tuple(self.models[i] for i in sorted(chosen)))


def _split(items: tuple[Item, ...], test: bool) -> tuple[Item, ...]:
    if len(items) < HELD_OUT_EVERY:
        return items
    return tuple(item for i, item in enumerate(items) if (i % HELD_OUT_EVERY == HELD_OUT_EVERY // 2) == test)


def _files(folder: Path, suffixes: frozenset[str]) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; expected a folder with files in {', '.join(sorted(suffixes))}")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and path.is_file() and not _is_hidden(path.relative_to(folder))
    )
    if not found:
        raise UserError(f"{folder} has no file in {', '.join(sorted(suffixes))} in it")
    return tuple(found)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
