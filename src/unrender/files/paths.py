"""Checks on a path before it is read."""

from __future__ import annotations

import stat
from pathlib import Path

from unrender.errors import UserError

MOST_PIXELS = 2**29
"""The largest picture that is read: 23,000 pixels square."""

_SMALL, _DENSEST = 2**25, 1100
"""A picture of fewer samples is read whatever its file's size. No format here packs more samples into a byte (Deflate's
limit is 1032 bytes a byte)."""
_LFS_POINTER = b"version https://git-lfs"


def existing_file(path: str | Path) -> Path:
    """The path of a regular file, or a link to one, that has something in it; UserError otherwise. Pipes and devices
    are not opened: they may never end. Nor is the pointer that stands for a large file in a Git repository."""
    path = Path(path)
    try:
        told = path.stat()
        mode = told.st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist; check the name") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"{path} is a folder; expected a file")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path} is a pipe, a socket or a device; expected a regular file")
    if not told.st_size:  # so are the files of /proc, of which some wait for ever
        raise UserError(f"{path} is empty; it may not have been copied completely")
    try:
        with path.open("rb") as file:
            head = file.read(len(_LFS_POINTER))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    refuse_pointer(path, head)
    return path


def require_affordable(path: Path, width: int, height: int, channels: int) -> None:
    """Raises UserError where a picture says that it is larger than it can be: nothing is allocated before this."""
    pixels = width * height
    if pixels <= 0 or pixels > MOST_PIXELS:
        raise UserError(f"{path} says that it is {width}x{height} pixels; expected 1 to {MOST_PIXELS} of them")
    size = path.stat().st_size
    if pixels * channels > max(_SMALL, _DENSEST * size):
        raise UserError(f"{path} says that it is {width}x{height} pixels, in {size} bytes; it is damaged, or a trap")


def refuse_pointer(path: Path, head: bytes | None = None) -> None:
    """Raises UserError for what Git LFS leaves in place of a large file; `head` is how the file begins, if known."""
    if head is None:
        with path.open("rb") as file:
            head = file.read(len(_LFS_POINTER))
    if head == _LFS_POINTER:
        raise UserError(
            f"{path} is only the pointer that Git LFS leaves where a repository was cloned without its large files; "
            "run `git lfs pull` in its folder (for a published model's weights, `unrender models pull ID` does, too)"
        )
