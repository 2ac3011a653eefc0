"""Cleaning and colour conversion of pixel values, for every reader."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrender.conventions import REC709_CHROMATICITIES
from unrender.errors import UserError

HALF_MAX = 65504.0
"""The largest finite half float: brighter light is clamped to it, in half-float files and for +inf."""

RINGING = 0.05
"""How far below zero, relative to the mean, a light may go: CC0 maps in DWA-compressed EXR reach 0.025."""

Array = NDArray[np.float32]


def clean(radiance: Array) -> Array:
    """Radiance of any shape made safe: NaN and negatives (-inf too) become 0, +inf becomes `HALF_MAX`. What is safe
    comes back itself, not a copy."""
    if radiance.size and radiance.min() >= 0 and radiance.max() < np.inf:  # false where there is a NaN
        return radiance
    return np.maximum(np.nan_to_num(radiance, nan=0.0, posinf=HALF_MAX, neginf=0.0), 0.0)


_LARGEST_ENTRY = 100.0
"""Of a matrix from any primaries that colours are stored in; those of ACES, the widest in use, stay below 3."""


def require_light(radiance: Array, name: str) -> None:
    """Raises UserError, with counts, unless `radiance` is finite, not negative and not black everywhere.

    Lights are checked more strictly than pictures: one bad texel of a sun changes every pixel that it lights. Negatives
    within `RINGING` of the mean pass (and are cleaned later): lossy EXR compression leaves them around bright texels.
    """
    bad = {
        "NaN": int(np.isnan(radiance).sum()),
        "infinite": int(np.isinf(radiance).sum()),
        "negative": int((radiance < -RINGING * np.nanmean(np.abs(radiance))).sum()),
    }
    if any(bad.values()):
        found = ", ".join(f"{count} {kind}" for kind, count in bad.items() if count)
        raise UserError(f"the light {name} has {found} values of {radiance.size}; every value must be finite and >= 0")
    if not radiance.any():
        raise UserError(f"the light {name} is black everywhere; give a map with some light in it")


def premultiplied_to_straight(rgb: Tensor, alpha: Tensor) -> Tensor:
    """Colour (T, 3, H, W) associated with alpha (T, 1, H, W), as EXR stores it, to straight colour.

    Where alpha is 0 the colour is light without a surface (a glow) and stays as it is.
    """
    return torch.where(alpha > 0, rgb / alpha.clamp(min=1e-6), rgb)


def to_rec709(rgb: Array, chromaticities: tuple[float, ...]) -> Array:
    """Linear rgb (3, H, W) in the primaries of an EXR's `chromaticities` (red, green, blue, white; x, y each) to
    Rec.709, white points adapted by Bradford's method; out-of-gamut negatives become 0. Grey (1, H, W) is repeated."""
    if len(rgb) == 1:
        return rgb.repeat(3, axis=0)
    if np.allclose(chromaticities, REC709_CHROMATICITIES, atol=1e-3):
        return rgb
    return np.maximum(np.einsum("ij,jhw->ihw", rec709_matrix(chromaticities).astype(np.float32), rgb), 0.0)


def rec709_matrix(chromaticities: tuple[float, ...]) -> NDArray[np.float64]:
    """(3, 3), linear rgb of primaries and white (x, y each) to Rec.709, the white adapted by Bradford's method.

    Raises:
        UserError: points that are no primaries and no white.
    """
    try:
        matrix = xyz_to_rec709(tuple(_xyz(*chromaticities[6:8]))) @ _rgb_to_xyz(chromaticities)
    except (ZeroDivisionError, OverflowError, np.linalg.LinAlgError):
        matrix = np.full((3, 3), np.nan)
    if not ((np.abs(matrix) < _LARGEST_ENTRY).all() and np.allclose(matrix.sum(1), 1.0, atol=1e-3)):
        said = ", ".join(f"{value:.3g}" for value in chromaticities[:8])
        raise UserError(f"the chromaticities {said} are none of three colours and a white; expected x and y of each")
    return matrix


def xyz_to_rec709(white: tuple[float, ...]) -> NDArray[np.float64]:
    """(3, 3), XYZ under a white (XYZ) to linear Rec.709, the white adapted by Bradford's method."""
    return np.linalg.inv(_rgb_to_xyz(REC709_CHROMATICITIES)) @ _adaptation(np.array(white))


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _rgb_to_xyz(chromaticities: tuple[float, ...]) -> NDArray[np.float64]:
    """The matrix of SMPTE RP 177: primaries as columns, scaled so that (1, 1, 1) is the white point."""
    primaries = np.stack([_xyz(*chromaticities[i : i + 2]) for i in (0, 2, 4)], axis=1)
    return primaries * np.linalg.solve(primaries, _xyz(*chromaticities[6:8]))


def _adaptation(white: NDArray[np.float64]) -> NDArray[np.float64]:
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    gain = (bradford @ _xyz(*REC709_CHROMATICITIES[6:8])) / (bradford @ white)
    return np.linalg.inv(bradford) @ np.diag(gain) @ bradford
