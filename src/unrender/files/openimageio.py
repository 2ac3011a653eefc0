"""Stills by OpenImageIO: the one place that uses the library. It is imported when a picture needs it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrender.errors import UserError
from unrender.files.kinds import Kind
from unrender.files.notes import note
from unrender.files.paths import require_affordable
from unrender.files.quiet import silenced

_READERS: dict[Kind, tuple[str, str]] = {
    "png": ("png", ".png"),
    "tiff": ("tiff", ".tif"),
    "hdr": ("hdr", ".hdr"),
    "jxl": ("jpegxl", ".jxl"),
    "dpx": ("dpx", ".dpx"),
    "cineon": ("cineon", ".cin"),
    "psd": ("psd", ".psd"),
    "pnm": ("pnm", ".ppm"),
    "pfm": ("pnm", ".pfm"),
}
"""The library's reader of each kind, and the ending that it is told: it chooses readers by names, and we by content."""

_PLAIN_TYPES = {"uint8": "uint8", "uint16": "uint16", "uint": "uint16", "half": "float", "float": "float"}
_PLAIN_TYPES |= {"double": "float"}
_WHITE_IS_0, _INKS, _LAB = 0, 5, (8, 9, 10)  # of TIFF's PhotometricInterpretation
_REDUCED = 1  # bit 0 of TIFF's NewSubfileType: a smaller copy of another picture


@dataclass(frozen=True)
class StoredPicture:
    """The picture of a file, as it is stored.

    Attributes:
        pixels: (H, W, C): uint8, uint16 or float32; alpha, where there is one, is the last channel.
        alpha: "none", "straight" or "premultiplied".
        colours: how many channels are colour: 1 grey, 3 rgb, 4 CMYK.
        attributes: what the file says besides, by the library's names.
    """

    pixels: NDArray[Any]
    alpha: str
    colours: int
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def profile(self) -> bytes | None:
        """The ICC profile."""
        said = self.attributes.get("ICCProfile")
        return None if said is None else np.asarray(said, np.uint8).tobytes()


def read_stored(path: Path, kind: Kind, most: str | None = None) -> StoredPicture:
    """The first whole picture of a file; alpha stays as it is stored, CMYK stays CMYK.

    Args:
        path: the file.
        kind: what it is, by its content; no other reader is asked.
        most: the type of the pixels where the stored one does not matter ("uint16").

    Raises:
        UserError: damaged, truncated, larger than its file can be, or with samples of a type that is none of pictures.
    """

    name, ending = _READERS[kind]
    with silenced(), _called(path, ending) as alias:
        source = _opened(path, alias, name, raw=True)
        if not _has_inks(source.spec()):  # raw YCbCr is of no use, and the library converts it
            source.close()
            source = _opened(path, alias, name, raw=False)
        try:
            pages = _pages(source)
            source.seek_subimage(pages[0], 0)
            spec = source.spec()
            attributes = {a.name: a.value for a in spec.extra_attribs}
            require_affordable(path, spec.width, spec.height, spec.nchannels)
            if name == "tiff" and str(spec.format) == "double" and spec.tile_width and spec.nchannels > 1:
                _require_separate(path, attributes)
            dtype = _plain_type(path, str(spec.format), most)
            photometric = attributes.get("tiff:PhotometricInterpretation")
            if photometric in _LAB:
                raise UserError(f"{path} is a TIFF in Lab; expected RGB, grey or CMYK")
            colours, alpha = _channels(path, spec, attributes)
            keep = colours + (alpha != "none")
            if alpha != "none" and 0 <= spec.alpha_channel != colours:
                raise UserError(f"{path} has its alpha before colour; expected it after")
            pixels = source.read_image(pages[0], 0, 0, keep, dtype)
            if pixels is None or source.has_error:
                raise _damaged(path)
            if photometric == _WHITE_IS_0 and str(spec.format) in ("uint16", "uint"):
                pixels = np.iinfo(pixels.dtype).max - pixels  # which the library does of 8 bits alone
        finally:
            source.close()
    if len(pages) > 1 and kind != "psd":
        note(path, f"holds {len(pages)} pictures, and the first alone is used")
    shape = (spec.height, spec.width, keep)
    return StoredPicture(np.ascontiguousarray(pixels).reshape(shape), alpha, colours, attributes)


def write_png16(path: Path, samples: NDArray[np.uint16]) -> None:
    """Writes (H, W, C) codes as a 16-bit PNG, C = 1, 2 (grey, alpha), 3 or 4.

    Raises:
        UserError: it cannot be written.
    """
    import OpenImageIO as oiio

    height, width, count = samples.shape
    spec = oiio.ImageSpec(width, height, count, "uint16")
    spec.channelnames = ("Y", "A")[:count] if count < 3 else ("R", "G", "B", "A")[:count]
    if count in (2, 4):
        spec.alpha_channel = count - 1
        spec.attribute("oiio:UnassociatedAlpha", 1)
    with tempfile.TemporaryDirectory() as folder:  # its ending names the format, and `path` may have another
        whole = Path(folder) / "picture.png"
        target = oiio.ImageOutput.create(str(whole))
        if target is None or not target.open(str(whole), spec):
            raise UserError(f"cannot write {path}: {oiio.geterror()}")
        written = target.write_image(np.ascontiguousarray(samples)) and target.close()
        if not written:
            raise UserError(f"cannot write {path}: {target.geterror()}")
        path.write_bytes(whole.read_bytes())


def _opened(path: Path, alias: Path, name: str, raw: bool) -> Any:
    """The library's reader of that name, of `alias`; alpha unassociated where it is stored so, colour raw or not."""
    import OpenImageIO as oiio

    settings = oiio.ImageSpec()
    settings.attribute("oiio:UnassociatedAlpha", 1)
    settings.attribute("oiio:RawColor", int(raw))
    source = oiio.ImageInput.open(str(alias), settings)
    if source is None or source.format_name() != name:
        oiio.geterror()
        raise _damaged(path)
    return source


def _has_inks(spec: Any) -> bool:
    """Whether a picture, opened raw, is CMYK."""
    said = spec.get_string_attribute("tiff:ColorSpace") + spec.get_string_attribute("oiio:ColorSpace")
    printed = spec.get_int_attribute("tiff:PhotometricInterpretation", -1) == _INKS
    return printed or "CMYK" in said.upper() or tuple(spec.channelnames[:4]) == ("C", "M", "Y", "K")


def _require_separate(path: Path, attributes: dict[str, Any]) -> None:
    """OpenImageIO 3.2 mixes up the pixels of tiles of 64-bit floats, where channels lie side by side."""
    if attributes.get("planarconfig") != "separate":
        raise UserError(f"{path} is a TIFF of 64-bit floats in tiles; expected 32-bit floats, or strips")


def _plain_type(path: Path, stored: str, most: str | None) -> str:
    if stored not in _PLAIN_TYPES:
        raise UserError(f"{path} has samples of type {stored}; expected whole numbers from 0, or floats")
    dtype = _PLAIN_TYPES[stored]
    return most if most is not None and dtype == "float" else dtype


def _channels(path: Path, spec: Any, attributes: dict[str, Any]) -> tuple[int, str]:
    """How many channels are colour, and how alpha is stored."""
    count, has_alpha = spec.nchannels, spec.alpha_channel >= 0
    if _has_inks(spec) and count >= 4:
        return 4, "none"
    straight = "straight" if attributes.get("oiio:UnassociatedAlpha") else "premultiplied"
    if count == 1:
        return 1, "none"
    if count == 2:
        if not has_alpha:
            raise UserError(f"{path} has two channels that are not grey and alpha; expected one, three or four")
        return 1, straight
    if has_alpha:
        return (1 if spec.alpha_channel == 1 else 3), straight
    # A fourth channel that nobody names is alpha, associated in floats, as renderers write it.
    unnamed = "premultiplied" if str(spec.format) in ("half", "float", "double") else "straight"
    return 3, (unnamed if count == 4 else "none")


def _pages(source: Any) -> list[int]:
    """The numbers of whole pictures, without smaller copies; at least one."""
    found, index = [], 0
    while index < 10_000 and source.seek_subimage(index, 0):
        if not source.spec().get_int_attribute("tiff:subfiletype") & _REDUCED:
            found.append(index)
        index += 1
    source.geterror()
    return found or [0]


@contextmanager
def _called(path: Path, ending: str) -> Generator[Path]:
    """The file under a name that ends as its kind does."""
    if path.suffix.lower() == ending:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        alias = Path(folder) / f"picture{ending}"
        try:
            os.symlink(path.absolute(), alias)
        except OSError:
            shutil.copyfile(path, alias)
        yield alias


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} cannot be read as a picture; it is damaged, truncated or of an unknown kind")
