"""Inputs are never overwritten: no result may take the name of a file that is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from unrender.errors import UserError
from unrender.files.numbering import files_of, is_pattern, plain

Identity = tuple[int, int]


class InputFiles:
    """The files that a run reads, known by device and inode: links, other spellings and other cases are one file.

    Args:
        sources: what a verb was given: files, folders of frames, `name.####.exr`; None and names of no file are nobody.
        models: folders of weights, with all that is under them; or ids, with commas between.
        light: a file, or the name of a light that ships.
    """

    def __init__(
        self, *sources: str | Path | None, models: Iterable[str | Path | None] = (), light: str | None = None
    ) -> None:
        self._names: dict[Identity, Path] = {}
        for source in sources:
            self._add(_files(Path(source)) if source is not None else ())
        for model in models:
            for name in str(model or "").split(","):
                self._add(_weights(name.strip()))
        if light is not None:
            self._add([*_files(Path(light)), _shipped(light)])

    def refuse(self, result: Path) -> None:
        """Raises UserError where `result` is the name of an input, or where a folder has that name."""
        if is_pattern(result) and not os.path.lexists(result):
            for frame in files_of(result):
                self._refuse_file(frame)
        else:
            self._refuse_file(plain(result))

    def _refuse_file(self, result: Path) -> None:
        if result.is_dir():
            raise UserError(f"{result} is a folder; a file of that name is to be written: move it, or give another OUT")
        found = self._names.get(_identity(result))
        if found is not None:
            same = "" if str(found) == str(result) else f" (it is {found})"
            raise UserError(f"{result} would overwrite an input{same}; expected an OUT that is none of the inputs")

    def _add(self, files: Iterable[Path]) -> None:
        for file in files:
            identity = _identity(file)
            if identity is not None:
                self._names.setdefault(identity, file)


def refuse_folder(out: Path, *inputs: str | Path | None) -> None:
    """Raises UserError where the folder of a run is one that it reads."""
    for given in inputs:
        if given and out.is_dir() and Path(given).is_dir() and out.samefile(given):
            raise UserError(f"{out} is an input ({given}), and a run has a folder of its own; expected another OUT")


def _files(path: Path) -> Iterable[Path]:
    """The file, the files of a folder, or those of a numbered sequence."""
    if os.path.lexists(path):
        return _in(path) if path.is_dir() else (path,)
    return files_of(path) if is_pattern(path) else (plain(path),)


def _in(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except OSError:
        return


def _weights(model: str) -> Iterator[Path]:
    """All files under a folder of weights; none of an id, whatever folder has its name."""
    if not model or not Path(model).is_dir():
        return
    from unrender.diffusion.checkpoints.hub.ids import known_ids

    if model in known_ids():
        return
    for here, _, names in os.walk(model):
        yield from (Path(here, name) for name in names)


def _shipped(light: str) -> Path:
    from importlib import resources

    name = Path(light).name.removesuffix(".exr")
    return Path(str(resources.files("unrender.files").joinpath("worlds", f"{name}.exr")))


def _identity(path: Path) -> Identity | None:
    """Device and inode of a file, links followed; None where it is none."""
    try:
        told = path.stat()
    except (OSError, ValueError):
        return None
    return (told.st_dev, told.st_ino)
