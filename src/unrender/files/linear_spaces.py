"""Linear colour spaces in which an EXR can be stored: how its header names them, and what it means in memory.

The identifiers are those of the Color Interop Forum (ASWF, "Color space encodings"), which ComfyUI, OpenImageIO and
OpenColorIO read as the header attribute `colorInteropID`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrender.conventions import COLOR_SPACE, REC709_CHROMATICITIES
from unrender.files.radiance import rec709_matrix

DATA = "data"
"""The identifier of what is no colour: depth, normals, masks."""

_D65 = REC709_CHROMATICITIES[6:]
_ACES_WHITE = (0.32168, 0.33767)
_COLOURS = frozenset({"R", "G", "B", "RED", "GREEN", "BLUE", "Y"})


@dataclass(frozen=True)
class LinearSpace:
    """Primaries and a white.

    Attributes:
        name: in the header, as `unrender:color_space`.
        chromaticities: red, green, blue and white (x, y).
        interop_id: of the Color Interop Forum; "unknown" where it has none.
    """

    name: str
    chromaticities: tuple[float, ...]
    interop_id: str

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3), linear Rec.709 to this space, the white adapted by Bradford's method: what readers undo."""
        return np.linalg.inv(rec709_matrix(self.chromaticities)).astype(np.float64)

    def of_rec709(self, rgb: Tensor) -> Tensor:
        """Linear Rec.709 (..., 3, H, W) in this space, out-of-gamut negatives 0; grey (..., 1, H, W), and everything
        where this is Rec.709, comes back itself."""
        if self is REC709 or rgb.shape[-3] != 3:
            return rgb
        matrix = torch.from_numpy(self.matrix).to(rgb)
        return torch.einsum("ij,...jhw->...ihw", matrix, rgb).clamp(min=0)

    def header(self, channels: Iterable[str]) -> dict[str, object]:
        """The attributes of an EXR with `channels`: "data" is said where none of them is a colour."""
        coloured = any(name.rpartition(".")[2].upper() in _COLOURS and not _is_single(name) for name in channels)
        return {"chromaticities": self.chromaticities, "colorInteropID": self.interop_id if coloured else DATA}


REC709 = LinearSpace(COLOR_SPACE, REC709_CHROMATICITIES, "lin_rec709_scene")
STANDARD = (
    REC709,
    LinearSpace("ACEScg", (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, *_ACES_WHITE), "lin_ap1_scene"),
    LinearSpace("ACES2065-1", (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, *_ACES_WHITE), "lin_ap0_scene"),
    LinearSpace("lin_p3d65", (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65), "lin_p3d65_scene"),
    LinearSpace("lin_rec2020", (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65), "lin_rec2020_scene"),
    LinearSpace("lin_adobergb", (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), "lin_adobergb_scene"),
)
"""Spaces with a name that everybody knows."""


def stated_chromaticities(header: Mapping[str, object]) -> tuple[float, ...]:
    """The primaries and white of an EXR's colours by its header: its `colorInteropID` where that names a linear space,
    else ACES2065-1 where it says it is an ACES container (SMPTE ST 2065-4), else its chromaticities, else Rec.709."""
    for space in STANDARD:
        if header.get("colorInteropID") == space.interop_id:
            return space.chromaticities
    if header.get("acesImageContainerFlag") == 1:
        return STANDARD[2].chromaticities
    said: Iterable[float] = header.get("chromaticities", REC709_CHROMATICITIES)  # ty: ignore[invalid-assignment]
    return tuple(float(value) for value in said)


def space_of_matrix(name: str, to_rec709: NDArray[np.float64], interop_id: str = "") -> LinearSpace:
    """The space whose linear rgb a (3, 3) matrix brings to Rec.709: one of `STANDARD` where it is that, else one whose
    primaries are stated under Rec.709's white, which readers take for the same matrix."""
    for space in STANDARD:
        if np.allclose(rec709_matrix(space.chromaticities), to_rec709, atol=1e-3):
            return space
    xyz = _REC709_TO_XYZ @ to_rec709
    points = (xyz / xyz.sum(0)).T[:, :2]
    return LinearSpace(name, (*(float(v) for v in points.ravel()), *_D65), interop_id or "unknown")


def _is_single(name: str) -> bool:
    """Whether a `Y` is a value of its own (roughness.Y), and not a grey picture."""
    return name.upper().endswith(".Y")


def _rec709_to_xyz() -> NDArray[np.float64]:
    x, y = np.array(REC709_CHROMATICITIES).reshape(4, 2).T
    columns = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


_REC709_TO_XYZ = _rec709_to_xyz()
