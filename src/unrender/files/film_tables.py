"""Tables of MP4 and MOV that say how many samples there are without naming one: FFmpeg makes an entry for each."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unrender.errors import UserError

_HOLDERS = frozenset(
    {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"edts", b"dinf", b"udta", b"sinf"}
)
_OF_EACH_SAMPLE = 0xF00
"""Flags of `trun`: duration, size, flags and time are there for each sample (ISO 14496-12, 8.8.8)."""


def require_possible_tables(path: Path) -> None:
    """Raises UserError where an MP4 or MOV says that it has more samples than bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        most = max(_said_counts(file, size), default=0)
    if most > size:
        raise UserError(f"{path} says that it has {most} samples, in {size} bytes; it is damaged, truncated or a trap")


def _said_counts(file: BinaryIO, end: int) -> Iterator[int]:
    """The numbers of samples that all have the same size."""
    spans = [(0, end)]
    while spans:
        at, end = spans.pop()
        while at + 8 <= end:
            file.seek(at)
            head = file.read(24).ljust(24, b"\0")
            (size,), kind, begin = struct.unpack_from(">I", head), head[4:8], 8
            if size == 1:
                (size,), begin = struct.unpack_from(">Q", head, 8), 16
            stop = min(at + size, end) if size else end
            if stop < at + begin:
                break
            first, second, third = struct.unpack_from(">III", head, 8)
            if kind in _HOLDERS:
                spans.append((at + begin, stop))
            elif kind == b"stsz" and second:
                yield third
            elif kind == b"trun" and not first & _OF_EACH_SAMPLE:
                yield second
            at = stop
