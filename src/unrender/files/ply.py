"""The points of PLY files (`vertex` elements), text or little-endian binary; faces and colours are passed over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.paths import existing_file

_TYPES = {
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
}
_HEADER_BYTES = 1 << 16


def read_points(path: str | Path) -> Tensor:
    """(P, 3) float32 places of the vertices.

    Raises:
        UserError: a missing or damaged file, a big-endian one, or no vertices with x, y and z first among the elements.
    """
    path = existing_file(path)
    stored = path.read_bytes()
    end = stored.find(b"end_header\n", 0, _HEADER_BYTES)
    if not stored.startswith(b"ply") or end < 0:
        raise UserError(f"{path} is no PLY file; expected a point cloud")
    lines = stored[:end].decode("ascii", "replace").splitlines()
    kind = next((line.split()[1] for line in lines if line.startswith("format ")), "")
    elements = [i for i, line in enumerate(lines) if line.startswith("element ")]
    head = lines[elements[0]].split() if elements else []
    stop = elements[1] if len(elements) > 1 else len(lines)
    fields = [line.split() for line in lines[elements[0] + 1 : stop]] if elements else []
    named = [(parts[-1], _TYPES.get(parts[1], "")) for parts in fields if len(parts) == 3 and parts[0] == "property"]
    names = [name for name, _ in named]
    known = kind in ("ascii", "binary_little_endian") and all(code for _, code in named)
    if head[1:2] != ["vertex"] or not {"x", "y", "z"} <= set(names) or not known or not head[2].isdigit():
        raise UserError(f"{path} has no vertices that can be read; expected x, y, z in text or little-endian numbers")
    count, body = int(head[2]), stored[end + len(b"end_header\n") :]
    try:
        if kind == "ascii":
            rows = np.array([line.split()[: len(names)] for line in body.splitlines()[:count]], dtype=np.float64)
            columns = [rows[:, names.index(axis)] for axis in "xyz"]
        else:
            table = np.frombuffer(body, np.dtype(named), count)
            columns = [np.asarray(table[axis]) for axis in "xyz"]  # ty: ignore[invalid-argument-type]
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} is damaged: it has fewer vertices than it says, {count}") from error
    points = np.stack(columns, 1).astype(np.float32)
    if not np.isfinite(points).all():
        raise UserError(f"{path} has vertices that are no finite numbers; expected points")
    return torch.from_numpy(points)
