"""Atomic writes: outputs appear complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from unrender.errors import UserError
from unrender.files.leftovers import remove, removed_on_signal, unfinished_name


@contextmanager
def atomic_write(path: str | Path) -> Generator[Path]:
    """Yields a free sibling path; what is written there (a file or a directory) is renamed to `path` at the end.

    The sibling keeps the suffix of `path`, so that libraries which choose a format by it choose the right one, and its
    name says whose it is (see `leftovers`). Where the block raises, or a signal ends the command, everything written so
    far is removed and `path` is as it was. An existing file is replaced in one step; an existing directory is replaced
    only when it is empty, so that no run can delete another's results.

    Raises:
        UserError: the parent directory does not exist or cannot be written to, or `path` is a directory with
            something in it.
    """
    path = Path(path)
    _check_parent(path)
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path} is a folder with files in it; give a new name, or empty it first")
    sibling = path.with_name(unfinished_name(path.suffix))
    with removed_on_signal(lambda: remove(sibling)):
        try:
            yield sibling
            if path.is_dir():
                path.rmdir()
            os.replace(sibling, path)
        finally:
            remove(sibling)


def write_once(path: Path, text: str) -> bool:
    """Writes a text file that is not there, whole; whether it did: of several that try at once, one does.

    Raises:
        UserError: as `atomic_write`.
    """
    _check_parent(path)
    sibling = path.with_name(unfinished_name(path.suffix))
    with removed_on_signal(lambda: remove(sibling)):
        try:
            sibling.write_text(text, encoding="utf-8")
            try:
                os.link(sibling, path)
            except FileExistsError:
                return False
            except OSError:  # a file system without links
                os.replace(sibling, path)
            return True
        finally:
            remove(sibling)


def _check_parent(path: Path) -> None:
    parent = path.parent
    if not parent.exists():
        raise UserError(f"cannot write {path}: the folder {parent} does not exist; make it first")
    if not parent.is_dir():
        raise UserError(f"cannot write {path}: {parent} is a file, not a folder")
    try:
        probe = parent / unfinished_name()
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose a folder that can be written to"
        ) from error
