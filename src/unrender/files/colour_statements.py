"""What a display picture says of its colour (an ICC profile, gAMA and cHRM, coding points), to linear Rec.709.

Matrix profiles are worked out here, at the depth of the picture: Little CMS, through Pillow, knows 8 bits alone. It
converts what a matrix cannot say (tables, CMYK).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unrender.conventions import REC709_CHROMATICITIES
from unrender.files.radiance import HALF_MAX, Array, rec709_matrix, xyz_to_rec709
from unrender.scene.color import srgb_to_linear

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

D50 = (0.9642, 1.0, 0.8249)  # the ICC's profile connection space, XYZ
_D65 = REC709_CHROMATICITIES[6:]

PRIMARIES: dict[int, tuple[float, ...]] = {
    1: REC709_CHROMATICITIES,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.310, 0.316),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    10: (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
"""Red, green, blue and white (x, y) of the colour primaries of ITU-T H.273 (table 2)."""

ADOBE_RGB = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65)
_PQ, _HLG, _LINEAR = 16, 18, 8


@dataclass(frozen=True)
class ColourStatement:
    """How stored values become linear Rec.709.

    Attributes:
        curves: stored values in [0, 1] to linear ones, one for all channels or one for each.
        matrix: (3, 3), linear rgb to Rec.709.
        name: for people.
        hdr: whether 1 is a reference white that light may pass, not the most that can be stored.
    """

    curves: tuple[Curve, ...]
    matrix: NDArray[np.float64]
    name: str = ""
    hdr: bool = False

    def planes(self, values: NDArray[Any]) -> Array:
        """Integer values (H, W, C) as linear planes (C, H, W) by table, C = 1 or 3; not below 0."""
        levels = np.iinfo(values.dtype).max
        codes = np.arange(levels + 1) / levels
        curves = self.curves if len(self.curves) == values.shape[2] else self.curves[:1] * values.shape[2]
        planes = np.empty((values.shape[2], *values.shape[:2]), np.float32)
        for index, (plane, curve) in enumerate(zip(planes, curves, strict=True)):
            table = np.maximum(curve(codes).astype(np.float32), 0)  # a profile's curve may say anything
            table.take(values[..., index], out=plane, mode="clip")
        return self.rotated(planes)

    def rotated(self, planes: Array) -> Array:
        """Linear planes (C, H, W) in Rec.709; grey stays grey."""
        if len(planes) != 3 or np.allclose(self.matrix, np.eye(3), atol=1.5e-3):
            return planes
        matrix = self.matrix.astype(np.float32)
        return np.maximum(np.tensordot(matrix, planes, 1), 0)


def srgb(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The curve of sRGB, [0, 1] to [0, 1]."""
    return srgb_to_linear(torch.from_numpy(np.asarray(codes, np.float64))).numpy()


SRGB = ColourStatement((srgb,), np.eye(3), "sRGB")


def power(exponent: float) -> Curve:
    """The curve of a plain power."""
    return lambda codes: codes**exponent


def of_chromaticities(chromaticities: tuple[float, ...], curve: Curve, name: str = "") -> ColourStatement:
    """A curve for all channels, and primaries (red, green, blue, white; x, y each)."""
    return ColourStatement((curve,), rec709_matrix(chromaticities), name)


def of_adobe_rgb() -> ColourStatement:
    """Adobe RGB (1998): what cameras that write no profile mean by the interoperability index R03."""
    return of_chromaticities(ADOBE_RGB, power(563 / 256), "Adobe RGB")


def of_coding_points(primaries: int, transfer: int) -> ColourStatement | None:
    """Coding-independent code points (ITU-T H.273), as cICP, HEIF and JPEG XL have them; None where they say nothing.

    The curves of the BT.709 family are decoded as sRGB, as those of clips are.
    """
    if primaries not in PRIMARIES and transfer in (0, 2):
        return None
    curve = _transfer_curve(transfer)
    matrix = rec709_matrix(PRIMARIES.get(primaries, REC709_CHROMATICITIES))
    hdr = transfer in (_PQ, _HLG, _LINEAR)
    return ColourStatement((curve,), matrix, f"coding points {primaries}/{transfer}", hdr)


def _transfer_curve(transfer: int) -> Curve:
    if transfer == _LINEAR:
        return power(1.0)
    if transfer in (4, 5):
        return power({4: 2.2, 5: 2.8}[transfer])
    if transfer == 17:  # SMPTE ST 428-1
        return lambda codes: 52.37 / 48 * codes**2.6
    if transfer in (_PQ, _HLG):
        from unrender.files.transfer import decoding_table  # brings the video library

        table = decoding_table(transfer).astype(np.float64)
        return lambda codes: np.interp(codes * 65535, np.arange(65536), table)
    return srgb


def of_png(path: Path) -> ColourStatement | None:
    """What the chunks of a PNG say, the strongest first (PNG 3, 4.3): cICP, iCCP, sRGB, gAMA with cHRM; None for
    nothing, or for a profile that is no matrix."""
    chunks = _colour_chunks(path)
    if len(said := chunks.get(b"cICP", b"")) == 4:
        return of_coding_points(said[0], said[1])
    if b"iCCP" in chunks:
        return None  # Pillow and OpenImageIO hand the profile over
    if b"sRGB" in chunks or not chunks:
        return SRGB if b"sRGB" in chunks else None
    gamma = struct.unpack(">I", chunks[b"gAMA"])[0] / 1e5 if len(chunks.get(b"gAMA", b"")) == 4 else 1 / 2.2
    primaries = REC709_CHROMATICITIES
    if len(said := chunks.get(b"cHRM", b"")) == 32:
        white, *rest = np.array(struct.unpack(">8I", said)).reshape(4, 2) / 1e5
        if min(white[1], *(point[1] for point in rest)) > 0:
            primaries = tuple(float(v) for point in (*rest, white) for v in point)
    # 1/2.2 is how writers say sRGB in this chunk; other decoders take it so, too.
    curve = srgb if abs(gamma - 1 / 2.2) < 0.01 or not 0.05 < gamma < 20 else power(1 / gamma)
    return of_chromaticities(primaries, curve, "gAMA and cHRM")


def _colour_chunks(path: Path) -> dict[bytes, bytes]:
    """The colour chunks before the pixels, by name; their names alone where they are long."""
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name in (b"IDAT", b"IEND"):
                break
            if name in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
                found[name] = file.read(min(length, 64))
                file.seek(length - len(found[name]) + 4, 1)
            else:
                file.seek(length + 4, 1)
    return found


def png_profile(path: Path) -> bytes | None:
    """The ICC profile of a PNG, None without one or where it is broken."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"iCCP" and length < 2**24:
                _, _, packed = file.read(length).partition(b"\0")
                try:
                    return zlib.decompressobj().decompress(packed[1:], 2**24)
                except zlib.error:
                    return None
            if name in (b"IDAT", b"IEND"):
                break
            file.seek(length + 4, 1)
    return None


@cache
def of_matrix_profile(profile: bytes) -> ColourStatement | None:
    """An ICC profile of three primaries and curves, or of one grey curve (ICC.1:2022, annex F.3); None for another
    kind, or a broken one."""
    try:
        tags = _profile_tags(profile)
        if any(name in tags for name in (b"A2B0", b"A2B1")) or profile[20:24] != b"XYZ ":
            return None
        name = _description(tags.get(b"desc", b""))
        if profile[16:20] == b"GRAY":
            return _recognised(ColourStatement((_curve(tags[b"kTRC"]),), np.eye(3), name))
        if profile[16:20] != b"RGB ":
            return None
        columns = [np.array(struct.unpack(">3i", tags[t][8:20])) / 65536 for t in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = tuple(_curve(tags[t]) for t in (b"rTRC", b"gTRC", b"bTRC"))
        return _recognised(ColourStatement(curves, xyz_to_rec709(D50) @ np.stack(columns, axis=1), name))
    except (KeyError, ValueError, IndexError, struct.error):
        return None


def _recognised(statement: ColourStatement) -> ColourStatement:
    """sRGB itself where a profile says no more than that, within a quarter of an 8-bit code; ValueError where a curve
    leads out of all bounds."""
    codes = np.arange(256) / 255
    with np.errstate(all="ignore"):
        values = np.stack([curve(codes) for curve in statement.curves])
    if not np.all(np.abs(values) < HALF_MAX):
        raise ValueError("a curve without bounds")
    near = all(np.abs(curve(codes) - srgb(codes)).max() < 1e-3 for curve in statement.curves)
    if near and np.allclose(statement.matrix, np.eye(3), atol=2e-3):
        return ColourStatement((srgb,), np.eye(3), statement.name)
    return statement


def _profile_tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(min(count, 256))]
    return {name: profile[start : start + size] for name, start, size in entries}


def _curve(tag: bytes) -> Curve:
    """A tone curve: `curv` (10.6), sampled or a power, or `para` (10.18)."""
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return power(1.0)
        samples = np.frombuffer(tag, ">u2", count, 12).astype(np.float64)
        if count == 1:
            return power(samples[0] / 256)
        return lambda codes: np.interp(codes * (count - 1), np.arange(count), samples / 65535)
    if tag[:4] != b"para":
        raise ValueError("a curve of another kind")
    (kind,) = struct.unpack_from(">H", tag, 8)
    values = np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], 12) / 65536
    g, a, b, c, d, e, f = _parameters(kind, [float(v) for v in values])

    def parametric(codes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(codes >= d, np.maximum(a * codes + b, 0) ** g + e, c * codes + f)

    return parametric


def _parameters(kind: int, values: list[float]) -> tuple[float, ...]:
    """g, a, b, c, d, e, f of the fullest form, of parametric curves of any form (ICC.1:2022, table 68)."""
    g, a, b, *rest = (*values, 1.0, 0.0) if kind == 0 else values
    if kind == 0:
        return g, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind == 1:
        return g, a, b, 0.0, -b / a, 0.0, 0.0
    if kind == 2:
        return g, a, b, 0.0, -b / a, rest[0], rest[0]
    c, d, *offsets = rest
    e, f = offsets or (0.0, 0.0)
    return g, a, b, c, d, e, f


def _description(tag: bytes) -> str:
    if tag[:4] == b"desc":
        (length,) = struct.unpack_from(">I", tag, 8)
        return tag[12 : 12 + min(length, 200)].rstrip(b"\0").decode("ascii", "replace").strip()
    if tag[:4] == b"mluc" and len(tag) >= 28:
        length, start = struct.unpack_from(">II", tag, 20)
        return tag[start : start + min(length, 400)].decode("utf-16-be", "replace").strip("\0 ")
    return ""


def of_film_density() -> ColourStatement:
    """Cineon's printing density (Kodak, "Grayscale Transformations of Cineon Digital Film Data", 1995): ten bits, black
    at 95, white at 685, 0.002 density a code, a gamma of 0.6. White is 1."""
    black = 10 ** ((95 - 685) * 0.002 / 0.6)

    def curve(codes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum((10 ** ((codes * 1023 - 685) * 0.002 / 0.6) - black) / (1 - black), 0)

    return ColourStatement((curve,), np.eye(3), "film density", hdr=True)
