"""EXR files written some rows at a time, so that no copy of a large picture is made on the way to the disk.

OpenEXR's writer of scan lines takes rows as they come, but knows few kinds of attributes; its writer of whole files
knows them all. So the rows go through the first, behind a header that is kept free, and the header comes from the
second, which writes one pixel.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import Imath  # of OpenEXR
import numpy as np
import OpenEXR  # ty: ignore[import-not-found]  # compiled, without type stubs
from numpy.typing import NDArray

from unrender.errors import UserError
from unrender.scene.plate import Box

Rows = Mapping[str, NDArray[Any]]
"""(rows, W) arrays by channel, of the types that the file was opened with."""

_ROOM = "room"
_ROWS = {OpenEXR.ZIP_COMPRESSION: 16, OpenEXR.DWAA_COMPRESSION: 32}
"""That are compressed together."""

_START = 8
"""Bytes in front of the attributes: a number, and the version."""


@dataclass(frozen=True)
class ScanLines:
    """What an EXR of scan lines is like.

    Attributes:
        data: window of the pixels that there are.
        kinds: type of each channel, half or float.
        attributes: of the header, in the types of the library, the display window and `compression` among them.
    """

    data: Box
    kinds: Mapping[str, np.dtype[Any]]
    attributes: Mapping[str, object]


@contextmanager
def scan_lines(path: Path, file: ScanLines) -> Generator[Callable[[Rows], None]]:
    """Yields what writes the next rows, from the top; when the block ends, all of them have to be there.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        wanted = _header(path, file)
        header = _plain_header(file)
        header[_ROOM] = b" " * (len(wanted) - len(_plain_start(path, header)))
        target = OpenEXR.OutputFile(str(path), header)
        try:
            yield lambda rows: target.writePixels(dict(rows), len(next(iter(rows.values()))))
        finally:
            target.close()
        with path.open("r+b") as written:
            written.write(wanted)
        _require_whole(path, len(wanted) + 1, file)
    except (RuntimeError, OSError) as error:
        raise UserError(f"cannot write {path}: {error}") from error


def _plain_header(file: ScanLines) -> dict[str, Any]:
    left, top, right, bottom = file.data
    header = OpenEXR.Header(right - left + 1, bottom - top + 1)
    kind = {np.dtype(np.float16): Imath.PixelType.HALF, np.dtype(np.float32): Imath.PixelType.FLOAT}
    header["channels"] = {name: Imath.Channel(Imath.PixelType(kind[one])) for name, one in file.kinds.items()}
    header["dataWindow"] = header["displayWindow"] = Imath.Box2i(Imath.V2i(left, top), Imath.V2i(right, bottom))
    header["compression"] = Imath.Compression(int(file.attributes["compression"].value))  # ty: ignore
    header[_ROOM] = b""
    return header


def _plain_start(path: Path, header: Mapping[str, Any]) -> bytes:
    OpenEXR.OutputFile(str(path), dict(header)).close()
    return _start(path)[0]


def _header(path: Path, file: ScanLines) -> bytes:
    """How the file begins, up to the zero behind the last attribute."""
    one = {name: np.zeros((1, 1), kind) for name, kind in file.kinds.items()}
    corner = np.array(file.data[:2], np.int32)
    OpenEXR.File({**file.attributes, "dataWindow": (corner, corner)}, one).write(str(path))
    found, window = _start(path)
    return found[:window] + np.array(file.data, "<i4").tobytes() + found[window + 16 :]


def _start(path: Path) -> tuple[bytes, int]:
    """How a file begins, up to the zero behind the last attribute, and where its data window is in that.

    An attribute is name, zero, type, zero, size in four bytes, value.
    """
    file, place, window = path.read_bytes(), _START, 0
    try:
        while file[place]:
            name = file.index(0, place)
            size = file.index(0, name + 1) + 1
            if file[place:name] == b"dataWindow":
                window = size + 4
            place = size + 4 + int.from_bytes(file[size : size + 4], "little")
    except (IndexError, ValueError) as error:
        raise _full() from error
    return file[:place], window


def _require_whole(path: Path, table: int, file: ScanLines) -> None:
    """Raises OSError where the last rows are not on the disk: the library does not say so when it closes a file."""
    height = file.data[3] - file.data[1] + 1
    chunks = -(-height // _ROWS[file.attributes["compression"]])
    with path.open("rb") as written:
        written.seek(table + 8 * (chunks - 1))
        start = int.from_bytes(written.read(8), "little")
        written.seek(start + 4)
        end = start + 8 + int.from_bytes(written.read(4), "little")
    if start == 0 or path.stat().st_size < end:
        raise _full()


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
