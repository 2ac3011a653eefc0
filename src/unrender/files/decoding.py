"""Stills as their files store them: what a file is, is read from its first bytes, and one reader is asked."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from unrender.conventions import REC709_CHROMATICITIES
from unrender.errors import UserError
from unrender.files import colour_statements, hdr_header
from unrender.files.colour_statements import ColourStatement
from unrender.files.exr import read_channels, time_code
from unrender.files.kinds import Kind, still_kind
from unrender.files.layers import find_picture
from unrender.files.notes import note
from unrender.files.ocio import Conversion
from unrender.files.openimageio import StoredPicture, read_stored
from unrender.files.paths import require_affordable
from unrender.files.quiet import silenced
from unrender.files.reading import brief, reading
from unrender.scene.plate import Plate

SLOWEST_RATE = 0.01
"""Frames a second; a film's header that says less says nothing."""

_PILLOW: dict[Kind, tuple[str, ...]] = {
    "png": ("PNG",),
    "jpeg": ("JPEG", "MPO"),
    "webp": ("WEBP",),
    "gif": ("GIF",),
    "bmp": ("BMP",),
    "tga": ("TGA",),
    "avif": ("AVIF",),
    "jp2": ("JPEG2000",),
}
"""The readers of Pillow that are asked, by the kind of file: some of the others start programs."""

_ORIENTATION_TAG, _EXIF_DIRECTORY, _FOCAL_LENGTH_35MM_TAG = 0x0112, 0x8769, 0xA405
_INTEROPERABILITY, _INDEX_TAG = 0xA005, 1


@dataclass(frozen=True)
class Samples:
    """A picture as its file stores it.

    Attributes:
        pixels: (H, W, C): uint8 or uint16, encoded as `colour` says, or float32, linear and not yet cleaned; C = 1
            grey, 2 grey and alpha, 3 rgb, 4 rgb and alpha.
        premultiplied: whether colour is stored multiplied by alpha.
        chromaticities: of float colour, where `colour` does not say it.
        colour: what the file says of its colour; sRGB where it says nothing.
        plate: windows and numbers of a plate, None where the file has none.
        metadata: from the file.
    """

    pixels: NDArray[Any]
    premultiplied: bool = False
    chromaticities: tuple[float, ...] = REC709_CHROMATICITIES
    colour: ColourStatement | Conversion | None = None
    plate: Plate | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def decode(path: Path) -> Samples:
    """Decodes a picture without cleaning or converting its values.

    Raises:
        UserError: damaged, truncated, of a kind that is not read, or larger than its file can be.
    """
    with reading(path, "a picture"):
        try:
            return _decode(path, still_kind(path))
        except UserError as error:
            if str(path) in str(error):
                raise
            raise UserError(f"{path}: {error}") from error


def _decode(path: Path, kind: Kind | None) -> Samples:
    if kind is None:
        raise UserError(f"{path} is not a picture that is read here; expected PNG, JPEG, WebP, TIFF, EXR, HDR or HEIF")
    if kind == "exr":
        return _decode_exr(path)
    if kind == "heif":
        return _decode_heif(path)
    if kind in _PILLOW and not (kind == "png" and _is_deep_png(path)):
        return _decode_display(path, kind)
    return _decode_stored(path, kind)


def _is_deep_png(path: Path) -> bool:
    """Whether a PNG has 16 bits, by its first chunk: byte 24 is the bit depth."""
    with path.open("rb") as file:
        return file.read(25)[24:] == b"\x10"


def _decode_exr(path: Path) -> Samples:
    image = read_channels(path)
    found = find_picture(path, image.channels)
    names = found["rgb"] + found.get("alpha", [])
    pixels = np.stack([image.channels[name] for name in names], axis=-1).astype(np.float32)
    return Samples(pixels, True, image.chromaticities, plate=image.plate, metadata=image.header)


def _decode_stored(path: Path, kind: Kind) -> Samples:
    if kind == "hdr":
        return _decode_hdr(path)
    stored = read_stored(path, kind, "uint16" if kind in ("jxl", "dpx", "cineon") and not _is_linear(kind) else None)
    if kind == "tiff" and ("DNGVersion" in stored.attributes or "tiff:DNGVersion" in stored.attributes):
        raise UserError(f"{path} is a raw photo; expected one that a raw converter developed")
    said, pixels = stored.attributes, stored.pixels
    if stored.colours == 4:
        return _from_inks(path, stored)
    samples = Samples(pixels, stored.alpha == "premultiplied", colour=_statement(path, kind, stored))
    # JPEG XL's decoder has turned the picture already.
    orientation = int(said.get("Orientation", 1)) if kind in ("tiff", "png", "psd") else 1
    plate = _film_plate(pixels.shape[:2], said) if kind == "dpx" else None
    profile = samples.colour.name if samples.colour and samples.colour.name else ""
    metadata = {"icc_profile": profile} if stored.profile and profile else {}
    return replace(samples, pixels=_oriented(pixels, orientation), plate=plate, metadata=metadata)


def _film_plate(size: tuple[int, ...], said: dict[str, Any]) -> Plate | None:
    """Pixel aspect, frame rate and time code of a DPX file; None where it says none of them."""
    aspect = float(said.get("PixelAspectRatio", 1.0))
    rate = float(said.get("dpx:TemporalFrameRate", said.get("dpx:FrameRate", 0.0)))
    code = time_code(str(said.get("dpx:TimeCode", "")))
    plate = Plate.of_size(size, aspect if 0.01 < aspect < 100 else 1.0)
    if SLOWEST_RATE <= rate <= 1000:
        plate = plate.at_rate(rate)
    if code is not None:
        plate = replace(plate, attributes={"timeCode": code})
    return plate if plate.pixel_aspect != 1.0 or plate.fps is not None or code is not None else None


def _decode_hdr(path: Path) -> Samples:
    header = hdr_header.read(path)
    if header.xyz:
        with tempfile.TemporaryDirectory() as folder:
            renamed = Path(folder) / "picture.hdr"
            renamed.write_bytes(hdr_header.as_rgbe(path))
            pixels = read_stored(renamed, "hdr").pixels
    else:
        pixels = read_stored(path, "hdr").pixels
    colour = ColourStatement((), header.matrix, "Radiance header") if header.matrix is not None else None
    return Samples(_oriented(pixels, header.orientation), colour=colour)


def _is_linear(kind: Kind) -> bool:
    return kind not in ("jxl", "dpx", "cineon")


def _statement(path: Path, kind: Kind, stored: StoredPicture) -> ColourStatement | None:
    """What a file says of its colour, for integers and floats alike; a profile of tables is noted."""
    said = stored.attributes
    if kind in ("dpx", "cineon"):
        return _film_statement(kind, said)
    if kind == "png":
        found = colour_statements.of_png(path)
        if found is not None:
            return found
    points = said.get("CICP")
    if points is not None and kind != "png" and int(points[1]) in (8, 16, 18):
        return colour_statements.of_coding_points(int(points[0]), int(points[1]))
    profile = stored.profile or (colour_statements.png_profile(path) if kind == "png" else None)
    if profile is None:
        return None
    found = colour_statements.of_matrix_profile(profile)
    if found is None:
        note(path, "its colour profile is no matrix, and at this depth it is taken as sRGB")
    return found


def _film_statement(kind: Kind, said: dict[str, Any]) -> ColourStatement | None:
    transfer = str(said.get("dpx:Transfer", "")).lower()
    if kind == "cineon" or "log" in transfer or "density" in transfer:
        return colour_statements.of_film_density()
    if transfer == "linear":
        return replace(colour_statements.SRGB, curves=(colour_statements.power(1.0),), name="linear", hdr=True)
    return None


def _from_inks(path: Path, stored: StoredPicture) -> Samples:
    """CMYK to sRGB, by its profile where it has one. Little CMS, as Pillow has it, knows 8 bits of it."""
    pixels = stored.pixels
    if pixels.dtype == np.uint16:
        note(path, "is CMYK of 16 bits, and 8 of them are used")
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise UserError(f"{path} is CMYK in floats; expected whole numbers")
    metadata: dict[str, str] = {}
    image = Image.fromarray(np.ascontiguousarray(pixels), "CMYK")
    image = _to_srgb(path, image, stored.profile, metadata).convert("RGB")
    orientation = int(stored.attributes.get("Orientation", 1))
    return Samples(_oriented(np.asarray(image), orientation), metadata=metadata)


def _decode_display(path: Path, kind: Kind) -> Samples:
    try:
        with silenced(), path.open("rb") as file:
            image = Image.open(file, formats=_PILLOW[kind])
            require_affordable(path, *image.size, 1)
            metadata, index = _metadata(image), _interoperability(image)
            frames = getattr(image, "n_frames", 1) if kind != "jpeg" else 1
            image.load()
            image = ImageOps.exif_transpose(image)
            image = _in_plain_mode(image) if image.mode in ("P", "PA") else image  # a palette may lack colours
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not a picture; it is damaged, or begins like one by chance") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path} is too large to be a picture: {error}") from error
    except Exception as error:  # decoders raise whatever a damaged file brings them to
        raise UserError(f"{path} is damaged or truncated: {brief(error)}") from error
    if frames > 1:
        note(path, f"has {frames} frames, and the first alone is used")
    colour = _display_statement(path, kind, image, index)
    if colour is not None and image.mode in ("1", "P", "L", "LA", "PA", "RGB", "RGBA", "RGBX"):
        profile = image.info.get("icc_profile")
        if profile and colour.name:
            metadata["icc_profile"] = colour.name
    else:
        image, colour = _to_srgb(path, image, image.info.get("icc_profile"), metadata), None
    pixels = np.asarray(_in_plain_mode(image))
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return Samples(pixels, colour=colour, metadata=metadata)


def _display_statement(path: Path, kind: Kind, image: Image.Image, index: str) -> ColourStatement | None:
    """What a file that Pillow reads says of its colour; None where Little CMS alone understands it, or nothing is."""
    if kind == "png":
        found = colour_statements.of_png(path)
        if found is not None:
            return found
    if kind == "avif":
        points = _coding_points(path)
        if points is not None:
            return colour_statements.of_coding_points(*points)
    profile = image.info.get("icc_profile")
    if profile:
        return colour_statements.of_matrix_profile(profile)
    return colour_statements.of_adobe_rgb() if index.startswith("R03") else None


def _decode_heif(path: Path) -> Samples:
    """A phone's picture, its grid of tiles put together and turned, by pillow-heif."""
    try:
        import pillow_heif
    except ImportError as error:
        raise UserError(f"{path} is HEIC, and pillow-heif is not installed; expected it, or a JPEG") from error
    try:
        with silenced():
            file = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)
            image = file[file.primary_index]
            require_affordable(path, *image.size, 1)
            # Ten and twelve bits come in the upper part of sixteen.
            mode, pixels = image.mode, np.ascontiguousarray(np.asarray(image))
            premultiplied = bool(getattr(image, "premultiplied_alpha", False))
            profile, points = image.info.get("icc_profile"), image.info.get("nclx_profile")
            count = len(file)
    except UserError:
        raise
    except Exception as error:  # whatever a damaged file brings the decoder to
        raise UserError(f"{path} is damaged or truncated, or a HEIC that is not read: {brief(error)}") from error
    if count > 1:
        note(path, f"holds {count} pictures, and the main one alone is used")
    colour = colour_statements.of_matrix_profile(profile) if isinstance(profile, bytes) else None
    if colour is None and isinstance(points, dict):
        primaries, transfer = points.get("color_primaries", 1), points.get("transfer_characteristics", 13)
        colour = colour_statements.of_coding_points(int(str(primaries)), int(str(transfer)))
    elif colour is None and profile:
        note(path, "its colour profile is no matrix, and it is taken as sRGB")
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    named = {"icc_profile": colour.name} if profile and colour and colour.name else {}
    return Samples(pixels, premultiplied and mode.startswith("RGBa"), colour=colour, metadata=named)


def _coding_points(path: Path) -> tuple[int, int] | None:
    """Primaries and transfer of the first `colr` box of an AVIF, None without."""
    with path.open("rb") as file:
        head = file.read(2**16)
    at = head.find(b"colrnclx")
    if at < 0 or len(head) < at + 12:
        return None
    return int.from_bytes(head[at + 8 : at + 10]), int.from_bytes(head[at + 10 : at + 12])


def _in_plain_mode(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("L", "LA") else "RGBA")
    if image.mode.startswith("I;16") or image.mode in ("L", "RGB", "F"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _metadata(image: Image.Image) -> dict[str, str]:
    focal = image.getexif().get_ifd(_EXIF_DIRECTORY).get(_FOCAL_LENGTH_35MM_TAG)
    return {"focal_length_35mm": str(focal)} if focal else {}


def _interoperability(image: Image.Image) -> str:
    return str(image.getexif().get_ifd(_INTEROPERABILITY).get(_INDEX_TAG, ""))


def _to_srgb(path: Path, image: Image.Image, profile: bytes | None, metadata: dict[str, str]) -> Image.Image:
    """The picture in sRGB by Little CMS, where it has another profile and a mode that can be converted."""
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        metadata["icc_profile"] = ImageCms.getProfileDescription(source).strip()
        if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK"):
            return image
        space = source.profile.xcolor_space.strip()
        expected = {"CMYK": "CMYK", "L": "GRAY", "LA": "GRAY"}.get(image.mode, "RGB")
        if space != expected:
            return image
        mode = image.mode if image.mode in ("L", "RGB", "RGBA") else "RGB"
        if image.mode == "LA":
            return image
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB" if mode == "L" else mode)
    except (ImageCms.PyCMSError, OSError):
        # A broken profile does not make a broken picture: like other readers, take it as sRGB.
        metadata["icc_profile"] = "unreadable"
        note(path, "its colour profile cannot be read, and it is taken as sRGB")
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
