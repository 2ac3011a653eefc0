"""Hashes that know files again, wherever they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

from unrender.files.numbering import find_numbered, natural_order


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(clip: Path) -> str:
    """Of the bytes of a picture or video; of a folder or `name.####.png`, of those of its files in order.

    Raises:
        UserError: there is no such file.
    """
    if clip.is_file():
        return file_hash(clip)
    files = (
        sorted((path for path in clip.iterdir() if path.is_file() and path.name[0] != "."), key=natural_order)
        if clip.is_dir()
        else find_numbered(clip)[0]
    )
    return hashlib.sha256("".join(file_hash(path) for path in files).encode()).hexdigest()
