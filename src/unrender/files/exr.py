"""OpenEXR files as named channels: the one place that uses the OpenEXR library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR  # ty: ignore[import-not-found]  # compiled, without type stubs
from numpy.typing import NDArray

from unrender.conventions import REC709_CHROMATICITIES
from unrender.errors import UserError
from unrender.files.quiet import silenced
from unrender.files.radiance import HALF_MAX

Channels = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ExrImage:
    """An EXR file in memory.

    Attributes:
        channels: (H, W) arrays by full name ("normal.X"), half or float as stored; integer channels as float32.
        header: text attributes ("unrender:model") by name.
        chromaticities: red, green, blue and white (x, y), as stored; Rec.709 where the file has none.
    """

    channels: Channels
    header: dict[str, str] = field(default_factory=dict)
    chromaticities: tuple[float, ...] = REC709_CHROMATICITIES

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = next(iter(self.channels.values())).shape
        return height, width


def read_channels(path: Path) -> ExrImage:
    """Every channel of every part of an EXR. Channels of a named second part that lack its name are given it.

    The picture is the union of the data window and the display window: a cropped data window is padded with zeros,
    overscan is kept.

    Raises:
        UserError: not an EXR, truncated, or without a channel.
    """
    try:
        with silenced():
            parts = OpenEXR.File(str(path), separate_channels=True).parts
            channels = {
                name: _to_union_window(channel.pixels, part.header)
                for index, part in enumerate(parts)
                for name, channel in _named(part, index)
            }
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read as OpenEXR; it is damaged, truncated or another format") from error
    if not channels or 0 in next(iter(channels.values())).shape:
        raise UserError(f"{path} has no pixels in it")
    sizes = {pixels.shape for pixels in channels.values()}
    if len(sizes) > 1:
        raise UserError(f"{path} has channels of different sizes {sorted(sizes)}; expected one size for all")
    header = parts[0].header
    text = {name: value for name, value in header.items() if isinstance(value, str)}
    return ExrImage(channels, text, tuple(header.get("chromaticities", REC709_CHROMATICITIES)))


def write_channels(path: Path, channels: Mapping[str, NDArray[Any]], header: Mapping[str, str]) -> None:
    """Writes (H, W) arrays, half or float by their dtype, as one ZIP-compressed (lossless) scan-line part.

    `header` becomes text attributes; Rec.709 chromaticities are added.
    """
    attributes: dict[str, object] = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": REC709_CHROMATICITIES,
    }
    arrays = {name: np.ascontiguousarray(pixels) for name, pixels in channels.items()}
    try:
        OpenEXR.File(attributes | dict(header), arrays).write(str(path))
    except RuntimeError as error:
        raise UserError(f"cannot write {path}: {error}") from error


def to_half(values: NDArray[Any]) -> NDArray[np.float16]:
    """Values as half floats, those out of range clamped."""
    return np.clip(values, -HALF_MAX, HALF_MAX).astype(np.float16)


def _named(part: OpenEXR.Part, index: int) -> Iterator[tuple[str, OpenEXR.Channel]]:
    name = part.header.get("name", "")
    for channel_name, channel in part.channels.items():
        bare = "." not in channel_name
        yield (f"{name}.{channel_name}" if index and name and bare else channel_name), channel


def _to_union_window(pixels: NDArray[Any], header: dict) -> NDArray[Any]:
    if pixels.dtype.kind != "f":
        pixels = pixels.astype(np.float32)
    (data_low, data_high), (low, high) = header["dataWindow"], header["displayWindow"]
    before = np.maximum(data_low - low, 0)[::-1]
    after = np.maximum(high - data_high, 0)[::-1]
    if not before.any() and not after.any():
        return pixels
    return np.pad(pixels, list(zip(before, after, strict=True)))
