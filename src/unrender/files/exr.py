"""OpenEXR files as named channels: the one place that uses the OpenEXR library.

OpenImageIO reads EXR as well, but brings every channel of a part to one type: half and float layers side by side, and
numbers of objects, come and go whole through the format's own library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import OpenEXR  # ty: ignore[import-not-found]  # compiled, without type stubs
from numpy.typing import NDArray

from unrender.conventions import REC709_CHROMATICITIES
from unrender.errors import UserError
from unrender.files.exr_parts import Naming, name_channels
from unrender.files.exr_strips import Rows, ScanLines, scan_lines
from unrender.files.linear_spaces import REC709, LinearSpace, stated_chromaticities
from unrender.files.notes import note
from unrender.files.paths import require_affordable
from unrender.files.quiet import silenced
from unrender.files.radiance import HALF_MAX, rec709_matrix
from unrender.scene.plate import Box, Plate, union
from unrender.scene.strips import strips

Channels = dict[str, NDArray[Any]]

Compression = Literal["zip", "dwaa"]
"""`zip` loses nothing. `dwaa` loses what eyes do not see, in channels called R, G, B and Y: for pictures, never for
data, and no choice for a file that has both."""

_COMPRESSIONS = {"zip": OpenEXR.ZIP_COMPRESSION, "dwaa": OpenEXR.DWAA_COMPRESSION}

_CARRIED = (
    "adoptedNeutral",
    "altitude",
    "aperture",
    "capDate",
    "comments",
    "expTime",
    "focus",
    "imageCounter",
    "isoSpeed",
    "keyCode",
    "latitude",
    "longitude",
    "owner",
    "reelName",
    "screenWindowCenter",
    "screenWindowWidth",
    "timeCode",
    "utcOffset",
    "whiteLuminance",
    "worldToCamera",
    "worldToNDC",
    "xDensity",
)
"""Standard attributes that say something of the plate, which holds for what is made of it."""

_CARRIED_GROUPS = ("input/", "com.")
"""How attributes begin by which compositors and cameras say the same."""


@dataclass(frozen=True)
class ExrImage:
    """An EXR file in memory.

    Attributes:
        channels: (H, W) arrays by full name ("normal.X"), half or float as stored; integer channels as float32.
        header: text attributes ("unrender:model") by name.
        chromaticities: red, green, blue and white (x, y), as the file says them (see `linear_spaces`).
        plate: its windows, pixel aspect, frame rate, time code.
    """

    channels: Channels
    header: dict[str, str] = field(default_factory=dict)
    chromaticities: tuple[float, ...] = REC709_CHROMATICITIES
    plate: Plate | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = next(iter(self.channels.values())).shape
        return height, width


def read_channels(path: Path) -> ExrImage:
    """Every channel of every part of an EXR. In a file of several parts, channels without a layer's name are given that
    of their part (see `exr_parts`); of several views the first one is read.

    The picture is the union of the data windows and the display window: what a part lacks of it is padded with zeros,
    overscan is kept.

    Raises:
        UserError: not an EXR, truncated, without a channel, of several displays, or larger than its file can be.
    """
    try:
        with silenced():
            headers = [part.header for part in OpenEXR.File(str(path), header_only=True).parts]
            counts = [max(1, len(header.get("channels", ()))) for header in headers]
            windows = [_windows(header) for header in headers]
            for (_, data), header, count in zip(windows, headers, counts, strict=True):
                _require_flat(path, header)
                require_affordable(path, data[2] - data[0] + 1, data[3] - data[1] + 1, count)
            canvas = union(*(box for both in windows for box in both))
            _require_small_frame(path, canvas, [data for _, data in windows], counts)
            parts = OpenEXR.File(str(path), separate_channels=True).parts
            naming = name_channels([(part.header, tuple(part.channels)) for part in parts])
            channels: Channels = {}
            for full, (index, name) in naming.channels.items():
                channels[full] = _on_canvas(parts[index].channels[name].pixels, windows[index][1], canvas)
    except UserError:
        raise
    except Exception as error:  # a damaged file brings the library to raise about anything
        raise UserError(f"{path} cannot be read as OpenEXR; it is damaged, truncated or another format") from error
    if not channels or 0 in next(iter(channels.values())).shape:
        raise UserError(f"{path} has no pixels in it")
    for said in naming.notes:
        note(path, said)
    header = headers[naming.main]
    text = {name: value for h in (*reversed(headers), header) for name, value in h.items() if isinstance(value, str)}
    chromaticities = stated_chromaticities(header)
    try:
        rec709_matrix(chromaticities)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return ExrImage(channels, text, chromaticities, _plate(header, windows, naming))


@dataclass(frozen=True)
class Plane:
    """A channel that becomes what it is in the file some rows at a time.

    Attributes:
        values: (H, W).
        stored: makes of some of its rows, (rows, W), what the file gets: half or float, of the same shape.
    """

    values: NDArray[Any]
    stored: Callable[[NDArray[Any]], NDArray[Any]]


def write_channels(
    path: Path,
    channels: Mapping[str, NDArray[Any] | Plane],
    header: Mapping[str, str],
    plate: Plate | None = None,
    compression: Compression = "zip",
    space: LinearSpace = REC709,
) -> None:
    """Writes (H, W) arrays, half or float by their dtype, as one scan-line part, some rows at a time.

    `header` becomes text attributes; `space`, which colours are in already, is added as `chromaticities` and
    `colorInteropID`. Arrays that are of the size of `plate` get its
    windows, pixel aspect, frame rate and time code. Which compression a file has, holds for all of its channels.
    """
    planes = {name: one if isinstance(one, Plane) else Plane(one, _itself) for name, one in channels.items()}
    if not planes:
        raise UserError(f"cannot write {path}: nothing is in it; expected a channel at least")
    size = next(iter(planes.values())).values.shape
    kinds = {name: one.stored(one.values[:1]).dtype for name, one in planes.items()}
    with row_writer(path, size, kinds, header, plate, compression, space) as write:
        for rows in strips(size):
            write({name: one.stored(one.values[rows]) for name, one in planes.items()})


@contextmanager
def row_writer(
    path: Path,
    size: tuple[int, ...],
    kinds: Mapping[str, np.dtype[Any]],
    header: Mapping[str, str],
    plate: Plate | None = None,
    compression: Compression = "zip",
    space: LinearSpace = REC709,
) -> Generator[Callable[[Rows], None]]:
    """Yields what writes the next rows of all channels, from the top; see `write_channels`.

    Args:
        size: (height, width) of all of them.
        kinds: their types, half or float.
    """
    attributes: dict[str, object] = {
        "compression": _COMPRESSIONS[compression],
        "type": OpenEXR.scanlineimage,
    }
    attributes |= space.header(kinds)
    data, window = (slice(0, size[0]), slice(0, size[1])), (0, 0, size[1] - 1, size[0] - 1)
    if plate is not None and tuple(size) == plate.size:
        attributes |= _plate_attributes(plate)
        data, window = plate.data_slices, plate.data_window
    attributes.setdefault("displayWindow", (np.array(window[:2], np.int32), np.array(window[2:], np.int32)))
    attributes |= dict(header)
    top = 0
    with scan_lines(path, ScanLines(window, kinds, attributes)) as write:

        def write_inside(rows: Rows) -> None:
            nonlocal top
            count = len(next(iter(rows.values())))
            first, stop = max(data[0].start - top, 0), min(data[0].stop - top, count)
            top += count
            if first < stop:
                write({name: np.ascontiguousarray(part[first:stop, data[1]]) for name, part in rows.items()})

        yield write_inside


def _itself(values: NDArray[Any]) -> NDArray[Any]:
    return values


def time_code(text: str) -> object | None:
    """`01:02:03:04` as the attribute `timeCode` of a plate; None for what is no time code."""
    parts = text.replace(";", ":").split(":")
    if len(parts) != 4 or not all(part.isdigit() and len(part) == 2 for part in parts):
        return None
    hours, minutes, seconds, frame = map(int, parts)
    if hours > 23 or max(minutes, seconds) > 59 or frame > 59:
        return None
    return OpenEXR.TimeCode(hours, minutes, seconds, frame, *[0] * 6, *[0] * 8)


def to_half(values: NDArray[Any]) -> NDArray[np.float16]:
    """Values as half floats, those out of range clamped."""
    return np.clip(values, -HALF_MAX, HALF_MAX).astype(np.float16)


def _require_flat(path: Path, header: Mapping[str, Any]) -> None:
    if header.get("type") in (OpenEXR.deepscanline, OpenEXR.deeptile):
        raise UserError(f"{path} is a deep EXR; expected a flat one")


def _require_small_frame(path: Path, canvas: Box, data: Sequence[Box], channels: Sequence[int]) -> None:
    """Refuses display windows that are out of all proportion to what there is to see in them."""
    width, height = canvas[2] - canvas[0] + 1, canvas[3] - canvas[1] + 1
    sides = [((box[2] - box[0] + 1) * (box[3] - box[1] + 1), count) for box, count in zip(data, channels, strict=True)]
    seen, samples = sum(pixels for pixels, _ in sides), sum(pixels * count for pixels, count in sides)
    if width * height * sum(channels) > max(2**25, 64 * samples):
        raise UserError(f"{path} has windows of {width}x{height} pixels with {seen} in them; expected nearer windows")
    require_affordable(path, width, min(height, 2**25 // max(width, 1) + 1), 1)


def _windows(header: Mapping[str, Any]) -> tuple[Box, Box]:
    """The display window and the data window."""
    display, data = (
        (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        for low, high in (header["displayWindow"], header["dataWindow"])
    )
    return display, data


def _on_canvas(pixels: NDArray[Any], data: Box, canvas: Box) -> NDArray[Any]:
    if pixels.dtype.kind != "f":
        pixels = pixels.astype(np.float32)
    height, width = data[3] - data[1] + 1, data[2] - data[0] + 1
    if pixels.shape != (height, width):  # chroma of half the size
        rows, columns = height // pixels.shape[0], width // pixels.shape[1]
        pixels = pixels.repeat(max(rows, 1), 0).repeat(max(columns, 1), 1)
        pixels = np.pad(pixels, ((0, height), (0, width)), mode="edge")[:height, :width]
    if data == canvas:
        return pixels
    whole = np.zeros((canvas[3] - canvas[1] + 1, canvas[2] - canvas[0] + 1), pixels.dtype)
    top, left = data[1] - canvas[1], data[0] - canvas[0]
    whole[top : top + height, left : left + width] = pixels
    return whole


def _plate(header: Mapping[str, Any], windows: Sequence[tuple[Box, Box]], naming: Naming) -> Plate:
    used = {index for index, _ in naming.channels.values()}
    data = union(*(windows[index][1] for index in sorted(used)))
    boxes = union(*(box for both in windows for box in both))
    display = windows[naming.main][0]
    if union(display, data) != boxes:  # the parts have display windows of their own
        data = boxes
    rate = header.get("framesPerSecond", header.get("FramesPerSecond"))
    fps = (rate.numerator, rate.denominator) if isinstance(rate, Fraction) and rate > 0 else None
    aspect = float(header.get("pixelAspectRatio", 1.0))
    carried = {n: v for n, v in header.items() if n in _CARRIED or n.startswith(_CARRIED_GROUPS)}
    return Plate(display, data, aspect if aspect > 0 else 1.0, fps, carried)


def _plate_attributes(plate: Plate) -> dict[str, object]:
    def window(box: Box) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return np.array(box[:2], np.int32), np.array(box[2:], np.int32)

    said: dict[str, object] = dict(plate.attributes)
    said["displayWindow"], said["dataWindow"] = window(plate.display_window), window(plate.data_window)
    said["pixelAspectRatio"] = float(plate.pixel_aspect)
    if plate.fps is not None:
        said["framesPerSecond"] = Fraction(*plate.fps)
    return said
