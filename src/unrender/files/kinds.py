"""What a still picture's file is, by its first bytes; its name says nothing. What is not listed is not opened."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Literal, get_args

Kind = Literal[
    "png",
    "jpeg",
    "webp",
    "tiff",
    "exr",
    "hdr",
    "jxl",
    "heif",
    "avif",
    "gif",
    "bmp",
    "dpx",
    "cineon",
    "psd",
    "pnm",
    "pfm",
    "jp2",
    "tga",
]
"""Kinds of stills. Programs for a printer or a page (EPS, PDF, SVG), raw photos and lists of media are none."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\x76\x2f\x31\x01", "exr"),
    (b"#?", "hdr"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"SDPX", "dpx"),
    (b"XPDS", "dpx"),
    (b"\x80\x2a\x5f\xd7", "cineon"),
    (b"\xd7\x5f\x2a\x80", "cineon"),
    (b"8BPS", "psd"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
)
_AVIF_BRANDS = frozenset({b"avif"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1"})
_MOVING_BRANDS = frozenset({b"avis", b"hevc", b"hevx", b"msf1"})
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_HEAD = 512


def still_kind(path: Path) -> Kind | None:
    """The kind of still picture that a file holds, None where it holds none (or another thing).

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        found = _kind_of(head)
        if found is None and _may_be_targa(head):
            file.seek(-min(26, path.stat().st_size), 2)
            tail = file.read(26)
            found = "tga" if tail.endswith(_TGA_FOOTER) or _is_plain_targa(head, path.stat().st_size) else None
    return found


def _kind_of(head: bytes) -> Kind | None:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[:2] in (b"PF", b"Pf") and head[2:3].isspace():
        return "pfm"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "pnm"
    # "BM", the file's size, four reserved bytes, where pixels begin, and the size of a header that is known.
    if (
        head[:2] == b"BM"
        and len(head) >= 18
        and struct.unpack_from("<I", head, 14)[0] in (12, 40, 52, 56, 64, 108, 124)
    ):
        return "bmp"
    return None


def _of_brands(head: bytes) -> Kind | None:
    """HEIF or AVIF by the brands of an ISO file; None of a film or an animation."""
    size = min(struct.unpack_from(">I", head)[0], len(head))
    major, brands = head[8:12], {head[i : i + 4] for i in range(16, size - 3, 4)}
    if major in _MOVING_BRANDS:
        return None
    if major in _AVIF_BRANDS or (major == b"mif1" and b"avif" in brands):
        return "avif"
    return "heif" if major in _HEIF_BRANDS else None


def _may_be_targa(head: bytes) -> bool:
    return len(head) >= 18 and head[1] in (0, 1) and head[2] in (1, 2, 3, 9, 10, 11) and head[16] in (8, 15, 16, 24, 32)


def _is_plain_targa(head: bytes, size: int) -> bool:
    """Targa of version 1 has no signature: a header that fits the length of the file stands for one."""
    width, height = struct.unpack_from("<HH", head, 12)
    stored = width * height * ((head[16] + 7) // 8)
    return width > 0 and height > 0 and (head[2] >= 9 or 18 + head[0] + stored <= size <= 18 + 256 * 5 + stored)
