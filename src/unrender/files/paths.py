"""Checks on a path before it is read."""

from __future__ import annotations

from pathlib import Path

from unrender.errors import UserError

MOST_PIXELS = 2**29
"""The largest picture that is read: 23,000 pixels square."""

_SMALL, _DENSEST = 2**25, 1100
"""A picture of fewer samples is read whatever its file's size. No format here packs more samples into a byte (Deflate's
limit is 1032 bytes a byte)."""


def existing_file(path: str | Path) -> Path:
    """The path of a file that is there and has something in it; UserError otherwise."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected a file")
    if not path.exists():
        raise UserError(f"{path} does not exist; check the name")
    if not path.is_file():
        raise UserError(f"{path} is a device or a pipe; expected a file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise UserError(f"{path} is empty; it may not have been copied completely")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return path


def require_affordable(path: Path, width: int, height: int, channels: int) -> None:
    """Raises UserError where a picture says that it is larger than it can be: nothing is allocated before this."""
    pixels = width * height
    if pixels <= 0 or pixels > MOST_PIXELS:
        raise UserError(f"{path} says that it is {width}x{height} pixels; expected 1 to {MOST_PIXELS} of them")
    size = path.stat().st_size
    if pixels * channels > max(_SMALL, _DENSEST * size):
        raise UserError(f"{path} says that it is {width}x{height} pixels, in {size} bytes; it is damaged, or a trap")


def in_one_line(error: Exception) -> str:
    """What a library says of a damaged file, as one short line of printable characters."""
    said = " ".join("".join(c if c.isprintable() else " " for c in str(error)[:1000]).split())
    return said[:200] or type(error).__name__
