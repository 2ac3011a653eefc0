# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenEXR by zlib and numpy, which Blender brings: single-part scan-line files, as unrender and Blender write them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_MAGIC, _TILED, _DEEP, _MULTIPART, _LONG_NAMES = 20000630, 0x200, 0x800, 0x1000, 0x400
_ROWS = {0: 1, 2: 1, 3: 16}  # uncompressed, ZIPS, ZIP: rows a block
_TYPES = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}


class Unreadable(Exception):
    """A file of another kind: one line."""


@dataclass(frozen=True)
class Exr:
    """An EXR in memory.

    Attributes:
        channels: (H, W) float32 by full name, the top row first.
        text: attributes that are strings.
        chromaticities: eight numbers where the file says them.
    """

    channels: Mapping[str, np.ndarray]
    text: Mapping[str, str] = field(default_factory=dict)
    chromaticities: tuple[float, ...] = ()


def read(path: Path) -> Exr:
    """Reads every channel of the data window. Raises `Unreadable`."""
    data = path.read_bytes()
    if len(data) < 8 or struct.unpack_from("<i", data)[0] != _MAGIC:
        raise Unreadable(f"{path.name} is no OpenEXR file")
    if struct.unpack_from("<i", data, 4)[0] & (_TILED | _DEEP | _MULTIPART):
        raise Unreadable(f"{path.name} is tiled, deep or of several parts; expected scan lines of one part")
    said, place = _attributes(data, 8)
    compression = said["compression"][1][0]
    if compression not in _ROWS:
        raise Unreadable(f"{path.name} is compressed in another way than ZIP; expected ZIP, or none")
    left, top, right, bottom = struct.unpack("<4i", said["dataWindow"][1])
    width, height = right - left + 1, bottom - top + 1
    kinds = _channels(said["channels"][1])
    row_bytes = sum(kind.itemsize for kind in kinds.values()) * width
    planes = {name: np.zeros((height, width), np.float32) for name in kinds}
    for (start,) in struct.iter_unpack("<Q", data[place : place + 8 * -(-height // _ROWS[compression])]):
        first, size = struct.unpack_from("<ii", data, start)
        rows = min(_ROWS[compression], bottom - first + 1)
        block = data[start + 8 : start + 8 + size]
        if compression and size < rows * row_bytes:
            block = _expanded(block)
        _spread(block, planes, kinds, range(first - top, first - top + rows))
    text = {name: value.decode("utf-8", "replace") for name, (kind, value) in said.items() if kind == "string"}
    points = struct.unpack("<8f", said["chromaticities"][1]) if "chromaticities" in said else ()
    return Exr(planes, text, points)


def write(path: Path, image: Exr) -> None:
    """Writes channels of one size as 32-bit floats, ZIP."""
    names = sorted(image.channels)
    planes = [np.ascontiguousarray(image.channels[name], "<f4") for name in names]
    height, width = planes[0].shape
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iB3xii", 2, 0, 1, 1) for name in names) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    said = {
        "channels": ("chlist", listed),
        "compression": ("compression", b"\3"),
        "dataWindow": ("box2i", window),
        "displayWindow": ("box2i", window),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", struct.pack("<2f", 0, 0)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
    }
    if image.chromaticities:
        said["chromaticities"] = ("chromaticities", struct.pack("<8f", *image.chromaticities))
    said |= {name: ("string", value.encode()) for name, value in image.text.items()}
    head = struct.pack("<ii", _MAGIC, 2 | _LONG_NAMES)
    for name, (kind, value) in said.items():
        head += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    head += b"\0"
    blocks = []
    for first in range(0, height, _ROWS[3]):
        rows = range(first, min(first + _ROWS[3], height))
        raw = b"".join(plane[row].tobytes() for row in rows for plane in planes)
        packed = _packed(raw)
        blocks.append(struct.pack("<ii", first, min(len(packed), len(raw))) + min(packed, raw, key=len))
    at, offsets = len(head) + 8 * len(blocks), []
    for block in blocks:
        offsets.append(struct.pack("<Q", at))
        at += len(block)
    path.write_bytes(b"".join((head, *offsets, *blocks)))


def _attributes(data: bytes, place: int) -> tuple[dict[str, tuple[str, bytes]], int]:
    """Kinds and values by name, and where they end."""
    said = {}
    while data[place]:
        name, place = _word(data, place)
        kind, place = _word(data, place)
        (size,) = struct.unpack_from("<i", data, place)
        said[name] = (kind, data[place + 4 : place + 4 + size])
        place += 4 + size
    return said, place + 1


def _channels(listed: bytes) -> dict[str, np.dtype]:
    kinds, place = {}, 0
    while listed[place]:
        name, place = _word(listed, place)
        kind, _, across, down = struct.unpack_from("<iB3xii", listed, place)
        if (across, down) != (1, 1):
            raise Unreadable(f"the channel {name} is of another size than the picture")
        kinds[name] = _TYPES[kind]
        place += 16
    return kinds


def _word(data: bytes, place: int) -> tuple[str, int]:
    end = data.index(b"\0", place)
    return data[place:end].decode("utf-8", "replace"), end + 1


def _spread(block: bytes, planes: Mapping[str, np.ndarray], kinds: Mapping[str, np.dtype], rows: range) -> None:
    place = 0
    for row in rows:
        for name, kind in kinds.items():
            width = planes[name].shape[1]
            planes[name][row] = np.frombuffer(block, kind, width, place)
            place += width * kind.itemsize


def _expanded(block: bytes) -> bytes:
    """Undoes zlib, the differences of bytes, and their order: even places first."""
    coded = np.frombuffer(zlib.decompress(block), np.uint8).copy()
    coded[1:] -= 128
    ordered = np.cumsum(coded, dtype=np.uint8)
    raw, half = np.empty_like(ordered), (len(ordered) + 1) // 2
    raw[0::2], raw[1::2] = ordered[:half], ordered[half:]
    return raw.tobytes()


def _packed(raw: bytes) -> bytes:
    values = np.frombuffer(raw, np.uint8)
    ordered = np.concatenate((values[0::2], values[1::2]))
    coded = ordered.copy()
    coded[1:] = ordered[1:] - ordered[:-1] + np.uint8(128)
    return zlib.compress(coded.tobytes(), 4)
