"""Transfer functions of video: code values to linear light."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorTrc

from unrender.conventions import REC709_CHROMATICITIES
from unrender.files.radiance import Array
from unrender.scene.color import srgb_to_linear

HDR_TRANSFERS = frozenset({int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)})

_REFERENCE_WHITE_NITS = 203.0
_D65 = REC709_CHROMATICITIES[6:]
_PRIMARIES = {
    int(ColorPrimaries.BT2020): (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    int(ColorPrimaries.SMPTE432): (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}


def chromaticities(primaries: int) -> tuple[float, ...]:
    """Red, green, blue and white (x, y) of a clip's primaries; Rec.709 for those of standard-definition and unknown."""
    return _PRIMARIES.get(primaries, REC709_CHROMATICITIES)


@cache
def decoding_table(transfer: int) -> Array:
    """Linear values of the 16-bit code values 0 to 65535, float32.

    Display clips, whatever curve of the BT.709 family they name, are decoded as sRGB, like pictures, as players
    do. PQ (BT.2100, SMPTE ST 2084) and HLG (BT.2100, ARIB STD-B67) become scene light in which reference white (203
    nits, 75 % HLG signal; BT.2408) is 1.
    """
    coded = torch.arange(65536, dtype=torch.float64) / 65535
    if transfer == ColorTrc.SMPTE2084:
        linear = _pq(coded)
    elif transfer == ColorTrc.ARIB_STD_B67:
        linear = _hlg(coded) / _hlg(torch.tensor(0.75, dtype=torch.float64))
    elif transfer == ColorTrc.LINEAR:
        linear = coded
    else:
        linear = srgb_to_linear(coded)
    return linear.numpy().astype(np.float32)


def _pq(coded: torch.Tensor) -> torch.Tensor:
    """The EOTF of ST 2084 (equation 4.1), in units of reference white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = coded ** (1 / m2)
    return 10000 / _REFERENCE_WHITE_NITS * ((power - c1).clamp(min=0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg(coded: torch.Tensor) -> torch.Tensor:
    """The inverse OETF of BT.2100 (table 5): scene light in [0, 1]."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return torch.where(coded <= 0.5, coded**2 / 3, (torch.exp((coded - c) / a) + b) / 12)
