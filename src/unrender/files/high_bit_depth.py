"""Stills that Pillow cannot hold: 16-bit colour PNG and TIFF, float TIFF, Radiance .hdr. FFmpeg's decoders, through
PyAV, read them exactly."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from unrender.errors import UserError

_GREY_ALPHA = {"ya8": "u1", "ya8le": "u1", "ya16be": ">u2", "ya16le": "<u2"}


@dataclass(frozen=True)
class TiffLayout:
    """The sample layout in a TIFF's first directory.

    Attributes:
        samples: channels per pixel.
        bits: bits per sample.
        is_float: whether samples are floats.
        alpha: "none", "straight" or "premultiplied".
        orientation: 1 to 8, as EXIF.
    """

    samples: int
    bits: int
    is_float: bool
    alpha: str
    orientation: int


def decode_still(path: Path) -> NDArray[Any]:
    """The first picture of a file, (H, W, C): uint8, uint16 or float32 as stored, C = 1, 2 (grey, alpha), 3 or 4."""
    try:
        # From memory: in a file name FFmpeg would interpret % as a pattern and : as a protocol.
        with av.open(BytesIO(path.read_bytes()), "r") as container:
            frame = next(container.decode(video=0))
            if frame.is_corrupt:
                raise UserError(f"{path} is damaged or truncated")
            pixels = _grey_alpha(frame) if frame.format.name in _GREY_ALPHA else frame.to_ndarray()
    except (av.FFmpegError, StopIteration, IndexError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} cannot be read as a picture; it is damaged, truncated or of an unknown kind"
        ) from error
    return pixels if pixels.ndim == 3 else pixels[..., None]


def tiff_layout(path: Path) -> TiffLayout:
    """Reads the first directory of a TIFF (classic or BigTIFF)."""
    try:
        with path.open("rb") as file:
            header = file.read(8)
            directory = ImageFileDirectory_v2(header + (file.read(8) if header[2] == 43 or header[3] == 43 else b""))
            file.seek(directory.next)
            directory.load(file)
    except (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path} cannot be read as TIFF; it is damaged or truncated") from error
    extra = directory.get(338, ())
    return TiffLayout(
        samples=directory.get(277, 1),
        bits=max(directory.get(258, (1,))),
        is_float=3 in directory.get(339, (1,)),
        alpha={1: "premultiplied", 2: "straight"}.get(extra[0], "none") if extra else "none",
        orientation=directory.get(274, 1),
    )


def _grey_alpha(frame: av.VideoFrame) -> NDArray[Any]:
    """PyAV does not turn the two-channel formats into arrays; the plane is plain, rows padded to its line size."""
    dtype = np.dtype(_GREY_ALPHA[frame.format.name])
    plane = frame.planes[0]
    rows = np.frombuffer(bytes(plane), dtype).reshape(frame.height, plane.line_size // dtype.itemsize)
    return rows[:, : 2 * frame.width].reshape(frame.height, frame.width, 2).astype(dtype.newbyteorder("="))
