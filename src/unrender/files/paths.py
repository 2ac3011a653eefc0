"""Checks on a path before it is read."""

from __future__ import annotations

import stat
from pathlib import Path

from unrender.errors import UserError


def existing_file(path: str | Path) -> Path:
    """The path of a regular file, or a link to one, that has something in it; UserError otherwise. Pipes and devices
    are not opened: they may never end."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist; check the name") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder; expected a file")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is a pipe, a socket or a device; expected a regular file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise UserError(f"{path} is empty; it may not have been copied completely")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return path
