"""User files for random worlds: assets and lights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unrender.errors import UserError
from unrender.files.meshes import MESH_SUFFIXES

LIGHT_SUFFIXES = frozenset({".hdr", ".exr"})


@dataclass(frozen=True)
class Sources:
    """The user's files; without them, objects and lights come from the built-in families.

    Attributes:
        assets: GLB, glTF, OBJ or PLY files, which replace the built-in families of objects.
        lights: .hdr or .exr files, which replace the built-in environment maps.
    """

    assets: tuple[Path, ...] = ()
    lights: tuple[Path, ...] = ()

    @staticmethod
    def of_folders(assets: Path | str | None = None, lights: Path | str | None = None) -> Sources:
        """All fitting files in and under two folders, in the order of their names. Hidden files and folders, and the
        ._ files that some systems leave beside others, are passed over.

        Raises:
            UserError: a folder that does not exist, or that has no such file.
        """
        return Sources(
            () if assets is None else _files(Path(assets), MESH_SUFFIXES),
            () if lights is None else _files(Path(lights), LIGHT_SUFFIXES),
        )


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
