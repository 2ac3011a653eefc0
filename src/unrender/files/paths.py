"""Checks on a path before it is read."""

from __future__ import annotations

from pathlib import Path

from unrender.errors import UserError


def existing_file(path: str | Path) -> Path:
    """The path of a file that is there and has something in it; UserError otherwise."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected a file")
    if not path.exists():
        raise UserError(f"{path} does not exist; check the name")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise UserError(f"{path} is empty; it may not have been copied completely")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return path
