"""Still pictures: read anything into scene-linear `Frames`, write PNG, JPEG, WebP and EXR."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unrender.conventions import REC709_CHROMATICITIES
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.colour_statements import SRGB
from unrender.files.decoding import Samples, decode
from unrender.files.exr import to_half, write_channels
from unrender.files.linear_spaces import LinearSpace
from unrender.files.ocio import Conversion, input_conversion, output_space
from unrender.files.openimageio import write_png16
from unrender.files.paths import existing_file
from unrender.files.radiance import Array, clean, premultiplied_to_straight, to_rec709
from unrender.scene.color import linear_to_srgb, luminance
from unrender.scene.frames import Frames
from unrender.scene.plate import Plate
from unrender.scene.strips import strips

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".exr", ".hdr", ".bmp", ".jxl", ".heic"}
    | {".heif", ".avif", ".dpx", ".cin", ".psd", ".pfm", ".ppm", ".pgm", ".tga", ".jp2"}
)
"""Suffixes of still pictures in folders of frames; a single file is known by its content."""

_JPEG: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": 0}
_SAVE: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}
WRITTEN_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".exr")
"""Suffixes that pictures can be written with."""


def read_image(path: str | Path, colorspace: str | None = None) -> Frames:
    """Reads one picture: PNG, JPEG, WebP, TIFF, EXR, Radiance HDR, HEIC, AVIF, JPEG XL, JPEG 2000, DPX, Cineon, PSD,
    PPM, PFM, GIF, BMP, Targa.

    Integer formats are decoded to linear Rec.709 by what they say of their colour (ICC profile, gAMA and cHRM, coding
    points), as sRGB where they say nothing; float formats are linear already: NaN and negatives become 0, +inf 65504,
    and `Frames.hdr` is True. EXIF rotation is applied. Alpha becomes `Frames.mask`, with the colour straight
    (un-premultiplied where the format stores it associated) and black where nothing is seen of it. Grey is repeated
    three times. The kind of file is known by content, not by name.

    Args:
        path: the picture.
        colorspace: the colour space that its values are in, whatever it says itself: an OpenColorIO name such as
            "ARRI LogC4" (see `ocio`).

    Raises:
        UserError: a missing, empty, damaged or truncated file, something that is not a picture, a picture of two
            channels that are not grey and alpha, or no such colour space.
    """
    conversion = input_conversion(colorspace)
    path = existing_file(path)
    samples = decode(path)
    return to_frames(path, samples if conversion is None else _restated(samples, conversion))


def _restated(samples: Samples, conversion: Conversion) -> Samples:
    """The same values, in the colour space that the caller knows."""
    return replace(samples, colour=conversion, chromaticities=REC709_CHROMATICITIES)


def read_mask(path: str | Path) -> Tensor:
    """Reads a mask, (1, 1, H, W) in [0, 1]: the code values of a grey picture as they are, white is 1; of a colour
    picture their luminance; of an EXR its linear values.

    Raises:
        UserError: as `read_image`.
    """
    path = existing_file(path)
    samples = decode(path)
    integers = samples.pixels.dtype.kind != "f"
    frames = to_frames(path, replace(samples, colour=None) if integers else samples)
    grey = luminance(frames.rgb)
    return (grey if frames.hdr else linear_to_srgb(grey)).clamp(0, 1)


def to_frames(path: Path, samples: Samples) -> Frames:
    """Decoded samples as clean, straight, scene-linear Rec.709 frames named after `path`."""
    pixels = samples.pixels
    if 0 in pixels.shape:
        raise UserError(f"{path} has no pixels in it")
    colour, alpha = (pixels[..., :-1], pixels[..., -1:]) if pixels.shape[2] in (2, 4) else (pixels, None)
    is_float = pixels.dtype.kind == "f"
    if alpha is not None and samples.premultiplied and not is_float:
        colour = _straight_integers(colour, alpha)
    statement = samples.colour or SRGB
    if is_float:
        planes = clean(_planes(colour)) if samples.colour is None else clean(statement.rotated(_planes(colour)))
    else:
        planes = statement.planes(colour)
    rgb = torch.from_numpy(to_rec709(planes, samples.chromaticities))[None]
    mask = None
    if alpha is not None:
        scale = 1 if is_float else np.iinfo(pixels.dtype).max
        mask = torch.from_numpy(_planes(clean(alpha / np.float32(scale)).clip(0, 1)))[None]
        if samples.premultiplied and is_float:
            rgb = premultiplied_to_straight(rgb, mask)
        else:
            rgb = rgb.masked_fill(mask == 0, 0.0)  # nobody sees it: whatever was left there must not count
    plate = samples.plate
    fps = plate.fps[0] / plate.fps[1] if plate is not None and plate.fps is not None else None
    return Frames(rgb, mask, fps, path.stem, is_float or statement.hdr, samples.metadata, plate)


def write_image(
    path: str | Path,
    rgb_linear: Tensor,
    *,
    alpha: Tensor | None = None,
    bits: Literal[8, 16] = 8,
    transfer: Literal["srgb", "linear"] = "srgb",
    plate: Plate | None = None,
    colorspace: str | None = None,
) -> None:
    """Writes one picture; the suffix chooses the format: .png (8 or 16 bits), .jpg, .webp or .exr (half float).

    Args:
        path: where to; it appears whole or not at all.
        rgb_linear: (3, H, W), or (1, H, W) for grey; linear. Display formats clip it to [0, 1]. One frame of a clip,
            (1, 3, H, W), will do as well; for more of them see `ImageWriter`.
        alpha: (1, H, W) in [0, 1], straight; not for .jpg. EXR stores the colour multiplied by it.
        bits: of a PNG.
        transfer: "srgb" for pictures; "linear" for data maps (roughness, normals as colours), stored as
            they are. EXR is always linear.
        plate: windows and numbers that an EXR carries.
        colorspace: the linear space of an EXR, by OpenColorIO's name, such as "ACEScg"; Rec.709.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    pixels = _still(rgb_linear, path).detach().cpu().float()
    alpha = _still(alpha, path) if alpha is not None else None
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise UserError(f"a picture of shape {tuple(pixels.shape)}; expected (3, H, W) or (1, H, W)")
    pixels = torch.from_numpy(clean(pixels.numpy()))
    if suffix == ".exr":
        return _write_exr(path, pixels, alpha, plate, output_space(colorspace))
    if suffix not in _SAVE:
        raise UserError(f"cannot write {path}: pictures end in .png, .jpg, .webp or .exr")
    if alpha is not None and _SAVE[suffix] is _JPEG:
        raise UserError(f"cannot write {path} with alpha; expected .png, .webp or .exr")
    if bits == 16 and suffix != ".png":
        raise UserError(f"cannot write {path} with 16 bits; expected .png")
    with picture_rows(path, pixels.shape[1], bits, transfer) as write:
        for rows in strips((pixels.shape[1], pixels.shape[2])):
            write(pixels[:, rows], None if alpha is None else alpha[:, rows].detach().cpu().float())


@contextmanager
def picture_rows(
    path: Path, height: int, bits: Literal[8, 16] = 8, transfer: Literal["srgb", "linear"] = "srgb"
) -> Generator[Callable[[Tensor, Tensor | None], None]]:
    """Yields what takes the next rows of a picture for display, from the top: their colour (C, rows, W), linear, and
    their alpha (1, rows, W) or None; `height` rows in all. The picture is written when the block ends; see
    `write_image`."""
    levels, kind = 2**bits - 1, torch.uint16 if bits == 16 else torch.uint8
    coded: list[NDArray[Any]] = []
    top = 0

    def write(colour: Tensor, alpha: Tensor | None) -> None:
        values = linear_to_srgb(colour.clamp(0, 1)) if transfer == "srgb" else colour.clamp(0, 1)
        values = values if alpha is None else torch.cat((values, alpha.clamp(0, 1)))
        rows = (values * levels).round().to(kind).numpy().transpose(1, 2, 0)
        if not coded:
            coded.append(np.empty((height, *rows.shape[1:]), rows.dtype))
        nonlocal top
        coded[0][top : top + len(rows)] = rows
        top += len(rows)

    yield write
    with atomic_write(path) as partial:
        if bits == 16:
            write_png16(partial, coded[0])
        else:
            partial.write_bytes(_encode_8bit(coded[0], path.suffix.lower()))


def _still(values: Tensor, path: Path) -> Tensor:
    """(C, H, W) of a still that came as (1, C, H, W)."""
    if values.ndim == 4 and len(values) > 1:
        raise UserError(
            f"{path} is one picture and there are {len(values)} frames; expected {path.stem}.####{path.suffix}"
        )
    return values[0] if values.ndim == 4 and len(values) == 1 else values


def _straight_integers(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Integer formats associate the encoded values with alpha, so they are un-premultiplied before decoding."""
    levels = np.iinfo(colour.dtype).max
    straight = np.rint(colour.astype(np.float64) * levels / np.maximum(alpha, 1))
    return np.minimum(straight, levels).astype(colour.dtype)


def _planes(pixels: NDArray[Any]) -> Array:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)


def _write_exr(path: Path, pixels: Tensor, alpha: Tensor | None, plate: Plate | None, space: LinearSpace) -> None:
    names = "RGB" if len(pixels) == 3 else "Y"
    opacity = torch.ones(()) if alpha is None else alpha.detach().cpu().float()
    channels = dict(zip(names, to_half((space.of_rec709(pixels) * opacity).numpy()), strict=True))
    if alpha is not None:
        channels["A"] = to_half(opacity[0].numpy())
    with atomic_write(path) as partial:
        write_channels(partial, channels, {}, plate, space=space)


def _encode_8bit(samples: NDArray[Any], suffix: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.squeeze(samples, 2) if samples.shape[2] == 1 else samples).save(buffer, **_SAVE[suffix])
    return buffer.getvalue()
