"""What the header of a Radiance picture says: where up is, and in which colour its values are (Ward, "Radiance File
Formats")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unrender.errors import UserError
from unrender.files.radiance import rec709_matrix, xyz_to_rec709

_ORIENTATION = {"-Y+X": 1, "-Y-X": 2, "+Y-X": 3, "+Y+X": 4, "+X-Y": 5, "-X-Y": 6, "-X+Y": 7, "+X+Y": 8}
_RESOLUTION = re.compile(rb"^([+-][XY]) +(\d+) +([+-][XY]) +(\d+) *$")
_MOST = 2**16


@dataclass(frozen=True)
class HdrHeader:
    """A Radiance header.

    Attributes:
        orientation: 1 to 8, as EXIF.
        matrix: (3, 3), stored values to linear Rec.709; None where they are that.
        xyz: whether values are XYZ.
    """

    orientation: int
    matrix: NDArray[np.float64] | None
    xyz: bool = False


def read(path: Path) -> HdrHeader:
    """Reads the header of a Radiance file.

    Raises:
        UserError: it has no line that says its size.
    """
    with path.open("rb") as file:
        lines = file.read(_MOST).split(b"\n")
    said: dict[bytes, bytes] = {}
    for line in lines:
        if match := _RESOLUTION.match(line.rstrip(b"\r")):
            order = (match[1] + match[3]).decode()
            if order not in _ORIENTATION:
                break
            return HdrHeader(_ORIENTATION[order], _matrix(said), _is_xyz(said))
        key, found, value = line.partition(b"=")
        if found:
            said[key.strip().upper()] = value.strip()
    raise UserError(f"{path} has a header without a size; it is damaged or truncated")


def as_rgbe(path: Path) -> bytes:
    """The bytes of a file whose values are XYZ under a header that says rgb, for readers that know no other."""
    head, found, rest = path.read_bytes().partition(b"_xyze")
    return head + (b"_rgbe" if found else b"") + rest


def _is_xyz(said: dict[bytes, bytes]) -> bool:
    return said.get(b"FORMAT", b"").endswith(b"_xyze")


def _matrix(said: dict[bytes, bytes]) -> NDArray[np.float64] | None:
    if _is_xyz(said):
        return xyz_to_rec709((1.0, 1.0, 1.0))
    try:
        numbers = tuple(float(number) for number in said[b"PRIMARIES"].split())
    except (KeyError, ValueError):
        return None
    # Radiance writes its own default, whose white is equal energy, where nobody asked for anything.
    if len(numbers) != 8 or min(numbers[1::2]) <= 0 or not np.isfinite(numbers).all():
        return None
    return rec709_matrix(numbers)
