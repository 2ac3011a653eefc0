"""Arrays for kernels: opaque arguments rather than literals, and records read at once."""

from __future__ import annotations

from typing import Any

import numpy as np


def opaque(kind: Any, values: Any) -> Any:
    """A number or numbers as an opaque Dr.Jit array of type `kind` (Float or UInt32): a separate argument of kernels.

    A literal would be compiled in: every scene, camera or seed would compile a kernel of its own. Dr.Jit also merges
    equal literals into one argument, and compiles another kernel for unaligned memory, as numpy's sometimes is.
    """
    import drjit as dr
    import mitsuba as mi

    array = kind(_aligned(np.ravel(values).astype(np.float32 if kind is mi.Float else np.uint32)))
    dr.make_opaque(array)
    return array


def _aligned(values: np.ndarray) -> np.ndarray:
    """The same numbers at an address aligned to 64 bytes."""
    room = np.empty(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    moved = room[start : start + values.nbytes].view(values.dtype)
    moved[:] = values
    return moved


def read_record(source: Any, index: Any, stride: int, active: Any) -> Any:
    """`stride` numbers from `index` * `stride` on, an ArrayXf; four or more at once are one load a lane."""
    import drjit as dr
    import mitsuba as mi

    kind: Any = mi.ArrayXf
    return dr.gather(kind, source, index, active, shape=(stride, dr.width(index)))
