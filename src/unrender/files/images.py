"""Still pictures: read anything into scene-linear `Frames`, write PNG, JPEG, WebP and EXR."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from unrender.conventions import REC709_CHROMATICITIES
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.exr import read_channels, to_half, write_channels
from unrender.files.high_bit_depth import TiffLayout, decode_still, tiff_layout
from unrender.files.layers import find_maps
from unrender.files.paths import existing_file
from unrender.files.quiet import silenced
from unrender.files.radiance import Array, clean, premultiplied_to_straight, to_rec709
from unrender.scene.color import linear_to_srgb, luminance, srgb_to_linear
from unrender.scene.frames import Frames
from unrender.scene.strips import in_strips

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".exr", ".hdr", ".bmp"})
"""Suffixes of still pictures in folders of frames; a single file is known by its content."""

_EXR_MAGIC, _HDR_MAGIC, _PNG_MAGIC = b"\x76\x2f\x31\x01", b"#?", b"\x89PNG\r\n\x1a\n"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": 0}
_SAVE: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}
WRITTEN_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".exr")
"""Suffixes that pictures can be written with."""

_ORIENTATION_TAG, _EXIF_DIRECTORY, _FOCAL_LENGTH_35MM_TAG = 0x0112, 0x8769, 0xA405


@dataclass(frozen=True)
class Samples:
    """A picture as its file stores it.

    Attributes:
        pixels: (H, W, C): uint8 or uint16, sRGB-encoded, or float32, linear and not yet cleaned; C = 1 grey, 2 grey and
            alpha, 3 rgb, 4 rgb and alpha.
        premultiplied: whether colour is stored multiplied by alpha.
        chromaticities: of float colour.
        metadata: from the file.
    """

    pixels: NDArray[Any]
    premultiplied: bool = False
    chromaticities: tuple[float, ...] = REC709_CHROMATICITIES
    metadata: dict[str, str] = field(default_factory=dict)


def read_image(path: str | Path) -> Frames:
    """Reads one picture: PNG 8/16, JPEG, WebP, TIFF 8/16/float, EXR, Radiance HDR, and whatever else Pillow opens.

    Integer formats are taken as sRGB (embedded ICC profiles of 8-bit pictures are converted to it first) and decoded to
    linear Rec.709; float formats are linear already: NaN and negatives become 0, +inf 65504, and `Frames.hdr` is True.
    EXIF rotation is applied. Alpha becomes `Frames.mask`, with the colour straight (un-premultiplied where the format
    stores it associated). Grey is repeated three times. The kind of file is known by content, not by name.

    Raises:
        UserError: a missing, empty, damaged or truncated file, something that is not a picture, or a picture of two
            channels that are not grey and alpha.
    """
    path = existing_file(path)
    return to_frames(path, decode(path))


def read_mask(path: str | Path) -> Tensor:
    """Reads a mask, (1, 1, H, W) in [0, 1]: the code values of a grey picture as they are, white is 1; of a colour
    picture their luminance; of an EXR its linear values.

    Raises:
        UserError: as `read_image`.
    """
    frames = read_image(path)
    grey = luminance(frames.rgb)
    return (grey if frames.hdr else linear_to_srgb(grey)).clamp(0, 1)


def decode(path: Path) -> Samples:
    """Decodes a picture without cleaning or converting its values; errors as `read_image`."""
    with path.open("rb") as file:
        magic = file.read(26)
    if magic.startswith(_EXR_MAGIC) or path.suffix.lower() == ".exr":
        return _decode_exr(path)
    if magic.startswith(_HDR_MAGIC) or path.suffix.lower() == ".hdr":
        return Samples(decode_still(path))
    if magic.startswith(_TIFF_MAGIC):
        return _decode_tiff(path)
    samples = _decode_display(path)
    # IHDR: byte 24 is the bit depth, byte 25 the colour type, 0 being grey, which Pillow reads whole.
    if magic.startswith(_PNG_MAGIC) and magic[24] == 16 and magic[25] != 0:
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        samples = Samples(_oriented(decode_still(path), orientation), metadata=samples.metadata)
    return samples


def to_frames(path: Path, samples: Samples) -> Frames:
    """Decoded samples as clean, straight, scene-linear Rec.709 frames named after `path`."""
    pixels = samples.pixels
    if 0 in pixels.shape:
        raise UserError(f"{path} has no pixels in it")
    colour, alpha = (pixels[..., :-1], pixels[..., -1:]) if pixels.shape[2] in (2, 4) else (pixels, None)
    is_float = pixels.dtype.kind == "f"
    if alpha is not None and samples.premultiplied and not is_float:
        colour = _straight_integers(colour, alpha)
    planes = clean(_planes(colour)) if is_float else _linear_planes(colour)
    rgb = torch.from_numpy(to_rec709(planes, samples.chromaticities))[None]
    mask = None
    if alpha is not None:
        scale = 1 if is_float else np.iinfo(pixels.dtype).max
        mask = torch.from_numpy(_planes(clean(alpha / np.float32(scale)).clip(0, 1)))[None]
        rgb = premultiplied_to_straight(rgb, mask) if samples.premultiplied and is_float else rgb
    return Frames(rgb, mask, None, path.stem, is_float, samples.metadata)


def write_image(
    path: str | Path,
    rgb_linear: Tensor,
    *,
    alpha: Tensor | None = None,
    bits: Literal[8, 16] = 8,
    transfer: Literal["srgb", "linear"] = "srgb",
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
    """
    path = Path(path)
    suffix = path.suffix.lower()
    pixels = _still(rgb_linear, path).detach().cpu().float()
    alpha = _still(alpha, path) if alpha is not None else None
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise UserError(f"a picture of shape {tuple(pixels.shape)}; expected (3, H, W) or (1, H, W)")
    pixels = torch.from_numpy(clean(pixels.numpy()))
    if suffix == ".exr":
        return _write_exr(path, pixels, alpha)
    if suffix not in _SAVE:
        raise UserError(f"cannot write {path}: pictures end in .png, .jpg, .webp or .exr")
    if alpha is not None and _SAVE[suffix] is _JPEG:
        raise UserError(f"cannot write {path} with alpha; expected .png, .webp or .exr")
    if bits == 16 and suffix != ".png":
        raise UserError(f"cannot write {path} with 16 bits; expected .png")
    levels, kind = 2**bits - 1, torch.uint16 if bits == 16 else torch.uint8

    def code(values: Tensor) -> Tensor:
        coded = linear_to_srgb(values.clamp(0, 1)) if transfer == "srgb" else values.clamp(0, 1)
        return (coded * levels).round().to(kind)

    coded = in_strips(code, pixels)
    if alpha is not None:
        opacity = alpha.detach().cpu().float().clamp(0, 1)
        coded = torch.cat((coded, (opacity * levels).round().to(kind)))
    samples = coded.numpy().transpose(1, 2, 0)
    with atomic_write(path) as partial:
        partial.write_bytes(_encode_png16(samples) if bits == 16 else _encode_8bit(samples, suffix))


def _still(values: Tensor, path: Path) -> Tensor:
    """(C, H, W) of a still that came as (1, C, H, W)."""
    if values.ndim == 4 and len(values) > 1:
        raise UserError(
            f"{path} is one picture and there are {len(values)} frames; expected {path.stem}.####{path.suffix}"
        )
    return values[0] if values.ndim == 4 and len(values) == 1 else values


def _linear_planes(values: NDArray[Any]) -> Array:
    """Integer sRGB (H, W, C) to linear (C, H, W) by table, exact for 8 and 16 bits."""
    levels = np.iinfo(values.dtype).max
    table = srgb_to_linear(torch.arange(levels + 1, dtype=torch.float64) / levels).float().numpy()
    planes = np.empty((values.shape[2], *values.shape[:2]), np.float32)
    for index, plane in enumerate(planes):
        table.take(values[..., index], out=plane, mode="clip")
    return planes


def _straight_integers(colour: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Integer formats associate the encoded values with alpha, so they are un-premultiplied before decoding."""
    levels = np.iinfo(colour.dtype).max
    straight = np.rint(colour.astype(np.float64) * levels / np.maximum(alpha, 1))
    return np.minimum(straight, levels).astype(colour.dtype)


def _planes(pixels: NDArray[Any]) -> Array:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)


def _decode_exr(path: Path) -> Samples:
    image = read_channels(path)
    found = find_maps(image.channels)
    if "rgb" not in found:
        listed = ", ".join(sorted(image.channels)[:12])
        count = len(image.channels)
        raise UserError(f"{path} has no picture in its {count} channels ({listed}); expected R, G, B or Y")
    names = found["rgb"] + found.get("alpha", [])
    pixels = np.stack([image.channels[name] for name in names], axis=-1).astype(np.float32)
    return Samples(pixels, premultiplied=True, chromaticities=image.chromaticities, metadata=image.header)


def _decode_tiff(path: Path) -> Samples:
    layout = tiff_layout(path)
    if layout.samples == 2 and layout.alpha == "none":
        raise UserError(f"{path} has two channels that are not grey and alpha; expected one, three or four")
    if layout.bits != 32 if layout.is_float else layout.bits > 16:
        kind = "float" if layout.is_float else "integer"
        raise UserError(
            f"{path} is a TIFF of {layout.bits}-bit {kind}s; expected 8 or 16-bit integers or 32-bit floats"
        )
    if layout.samples == 1 or layout.bits <= 8:
        return _decode_display(path)
    return Samples(_oriented(decode_still(path), layout.orientation), _is_associated(layout))


def _is_associated(layout: TiffLayout) -> bool:
    return layout.alpha == "premultiplied" or (layout.is_float and layout.alpha == "none")


def _decode_display(path: Path) -> Samples:
    try:
        with silenced(), path.open("rb") as file:
            image = Image.open(file)
            metadata = _metadata(image)
            image.load()
            image = ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not a picture; expected PNG, JPEG, WebP, TIFF, EXR or HDR") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is too large to be a picture: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path} is damaged or truncated: {error}") from error
    profile = image.info.get("icc_profile")
    if profile:
        image = _to_srgb(image, profile, metadata)
    pixels = np.asarray(_in_plain_mode(image))
    return Samples(pixels if pixels.ndim == 3 else pixels[..., None], metadata=metadata)


def _in_plain_mode(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("L", "LA") else "RGBA")
    if image.mode.startswith("I;16") or image.mode in ("L", "RGB", "F"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _metadata(image: Image.Image) -> dict[str, str]:
    focal = image.getexif().get_ifd(_EXIF_DIRECTORY).get(_FOCAL_LENGTH_35MM_TAG)
    return {"focal_length_35mm": str(focal)} if focal else {}


def _to_srgb(image: Image.Image, profile: bytes, metadata: dict[str, str]) -> Image.Image:
    """The picture in sRGB, where it has another profile and a mode that can be converted."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip()
        metadata["icc_profile"] = name
        if "srgb" in name.lower() or image.mode not in ("RGB", "RGBA", "CMYK"):
            return image
        mode = "RGB" if image.mode == "CMYK" else image.mode
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError):
        # A broken profile does not make a broken picture: like other readers, take it as sRGB.
        metadata["icc_profile"] = "unreadable"
        return image
    return converted if converted is not None else image


def _oriented(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Applies EXIF orientation 1 to 8 to (H, W, C)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _write_exr(path: Path, pixels: Tensor, alpha: Tensor | None) -> None:
    names = "RGB" if len(pixels) == 3 else "Y"
    opacity = torch.ones(()) if alpha is None else alpha.detach().cpu().float()
    channels = dict(zip(names, to_half((pixels * opacity).numpy()), strict=True))
    if alpha is not None:
        channels["A"] = to_half(opacity[0].numpy())
    with atomic_write(path) as partial:
        write_channels(partial, channels, {})


def _encode_8bit(samples: NDArray[Any], suffix: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.squeeze(samples, 2) if samples.shape[2] == 1 else samples).save(buffer, **_SAVE[suffix])
    return buffer.getvalue()


def _encode_png16(samples: NDArray[Any]) -> bytes:
    """A 16-bit PNG from (H, W, 1, 3 or 4) uint16, by FFmpeg's encoder: Pillow has no 16-bit colour."""
    if samples.shape[2] == 2:
        samples = np.concatenate((samples[..., :1].repeat(3, 2), samples[..., 1:]), axis=2)
    layout = {1: "gray16be", 3: "rgb48be", 4: "rgba64be"}[samples.shape[2]]
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = samples.shape[:2]
    encoder.pix_fmt, encoder.time_base = layout, Fraction(1)
    plain = samples[..., 0] if samples.shape[2] == 1 else samples
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(plain), format=layout)
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
