"""Arrays of kernels: arguments rather than numbers in the code, and records read whole."""

from __future__ import annotations

from typing import Any


def opaque(kind: Any, values: Any) -> Any:
    """`values` as a Dr.Jit array of type `kind` that is an argument of kernels.

    A number would be compiled in: every scene, camera or seed would compile a kernel of its own.
    """
    import drjit as dr

    array = kind(values)
    dr.make_opaque(array)
    return array


def read_record(source: Any, index: Any, stride: int, active: Any) -> Any:
    """`stride` numbers from `index` * `stride` on, an ArrayXf; four or more at once are one load a lane."""
    import drjit as dr
    import mitsuba as mi

    kind: Any = mi.ArrayXf
    return dr.gather(kind, source, index, active, shape=(stride, dr.width(index)))
