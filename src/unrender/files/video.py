"""Video in and out through PyAV, one frame at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import av
import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from numpy.typing import NDArray
from torch import Tensor

from unrender.errors import UserError
from unrender.files.alpha_packets import AlphaPackets
from unrender.files.atomic import atomic_write
from unrender.files.containers import Film, most_pixels, open_container, probe
from unrender.files.notes import note
from unrender.files.ocio import Conversion, input_conversion
from unrender.files.paths import existing_file
from unrender.files.radiance import Array, clean, to_rec709
from unrender.files.readers import FrameReader
from unrender.files.reading import reading
from unrender.files.transfer import HDR_TRANSFERS, chromaticities, decoding_table
from unrender.files.yuv import BT709, decode_rgb, encode_yuv
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames
from unrender.scene.strips import strips

Codec = Literal["h264", "ffv1", "prores"]

VIDEO_SUFFIXES: dict[str, Codec] = {".mp4": "h264", ".mkv": "ffv1", ".mov": "prores"}
"""The default codec of each suffix."""

DEFAULT_FPS = 24.0
"""Frames per second of a video, where nobody says how many."""

_CLOCK = 90_000
"""Ticks of a second, where frames do not last equally long; as MPEG has it."""

_ENCODERS: dict[Codec, dict[str, Any]] = {
    "h264": {
        "name": "libx264",
        "pix_fmt": "yuv420p",
        # Without these, x264 gives other bytes for small pictures now and then, and on other processors.
        "options": {"crf": "16", "preset": "medium", "x264-params": "cpu-independent=1:sync-lookahead=0"},
    },
    "ffv1": {"name": "ffv1", "pix_fmt": "gbrp16le", "options": {"level": "3", "slicecrc": "1"}},
    "prores": {"name": "prores_ks", "pix_fmt": "yuv444p10le", "options": {"profile": "4444"}},
}


def open_video(path: str | Path, colorspace: str | None = None) -> FrameReader:
    """Opens a film, to be decoded as it is iterated: MP4, MOV, MKV, WebM, AVI, MPEG, MXF and others (see `containers`).

    Covers are passed over. Frames are counted over the packets, where the container has one for each, else by decoding
    once. The display matrix is applied: turns by quarters, and mirrors. Alpha is the mask, WebM's too. Colour goes by
    the file's tags (see `yuv` and `transfer`) to scene-linear Rec.709. Sound is not read. Frames that do not last
    equally long have `times`; where those are of no use they are taken as equally long, over the same time. A note says
    so.

    A damaged or truncated file gives the frames up to its fault, fewer than the reader's length, which is what the file
    promises; a note says so.

    Args:
        path: the film.
        colorspace: the colour space of its R'G'B', in place of its tags: an OpenColorIO name such as "ARRI LogC4".

    Raises:
        UserError: a missing or empty file, one that is no film, has no video or no frame that can be decoded, or (while
            iterating) frames of another size.
    """
    conversion = input_conversion(colorspace)
    path = existing_file(path)
    film = probe(path)
    first = next(_decode(path, film, conversion), None)
    if first is None:
        raise UserError(f"{path} has no frame that can be decoded; expected at least one")
    length = _frame_count(path, film)
    times = film.times if len(film.times) == length + 1 else ()
    return FrameReader(
        path.stem, first.size, first.fps, length, lambda: _decode(path, film, conversion, length), times=times
    )


class VideoWriter:
    """Writes a clip frame by frame; the file appears when the `with` block ends, and not at all if it fails.

    h264    8-bit 4:2:0, for viewing (.mp4). Odd sizes are padded, by repeating the last row or column, to even ones:
            players want 4:2:0, and it has no odd sizes.
    ffv1    16-bit RGB, lossless, for work (.mkv).
    prores  ProRes 4444, 10-bit, for editors (.mov).

    Values are clipped to [0, 1], sRGB-encoded, and tagged so, with the BT.709 matrix where there is one.

    Args:
        path: where to; its suffix chooses the codec where none is given.
        fps: frames per second, exact as a `Fraction`; a float is taken for the nearest fraction with a
            denominator up to 1001, as all broadcast rates have.
        codec: one of the above.
        times: seconds at which frames begin, and last of all that at which the clip ends; frames beyond, and all where
            it is (), last equally long.

    Raises:
        UserError: an unknown suffix or codec, or an output that cannot be written.
    """

    def __init__(
        self, path: str | Path, fps: float | Fraction, codec: Codec | None = None, times: Sequence[Fraction] = ()
    ) -> None:
        self.path = Path(path)
        self._rate = Fraction(fps).limit_denominator(1001)
        chosen = codec or VIDEO_SUFFIXES.get(self.path.suffix.lower())
        if chosen is None:
            raise UserError(f"cannot write {path}: videos end in {', '.join(VIDEO_SUFFIXES)}")
        if chosen not in _ENCODERS:
            raise UserError(f"unknown video codec {chosen!r}; expected one of {', '.join(get_args(Codec))}")
        if self._rate <= 0:
            raise UserError(f"cannot write {path} at {fps} frames per second; expected a positive rate")
        self._codec: Codec = chosen
        self._ticks = [round(time * _CLOCK) for time in times]
        self._lasts: dict[int, int] = {}
        self._stack = ExitStack()
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> VideoWriter:
        partial = self._stack.enter_context(atomic_write(self.path))
        try:
            self._container = self._stack.enter_context(
                av.open(f"file:{partial}", "w", options=muxer_options(self.path))
            )
        except (av.FFmpegError, ValueError) as error:
            self._stack.close()
            raise UserError(f"cannot write {self.path}: {error}") from error
        return self

    def write(self, rgb_linear: Tensor) -> None:
        """Adds frames: (3, H, W) or (T, 3, H, W), linear, all of one size."""
        for picture in rgb_linear.reshape(-1, *rgb_linear.shape[-3:]):
            self._write_one(picture)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._size is None:
                    raise UserError(f"{self.path} would have no frame; write at least one")
                self._mux(None)
        except BaseException as failed:
            self._stack.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)

    def _write_one(self, picture: Tensor) -> None:
        linear = torch.from_numpy(clean(picture.detach().cpu().float().numpy()))
        coded = linear_to_srgb(linear.clamp(0, 1)).permute(1, 2, 0).numpy()
        if self._size is None:
            self._start(coded.shape[:2])
        if coded.shape[:2] != self._size:
            raise UserError(f"{self.path} has frames of {self._size} and of {coded.shape[:2]}; expected one size")
        frame = self._to_frame(coded)
        frame.pts, frame.time_base = self._count, 1 / self._rate
        if self._ticks:
            start, end = (self._tick(self._count + step) for step in (0, 1))
            frame.pts, frame.time_base, self._lasts[start] = start, Fraction(1, _CLOCK), end - start
        self._count += 1
        self._mux(frame)

    def _tick(self, index: int) -> int:
        """When frame `index` begins."""
        beyond = index - len(self._ticks) + 1
        return self._ticks[index] if beyond <= 0 else self._ticks[-1] + round(beyond * _CLOCK / self._rate)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            if self._ticks and packet.pts in self._lasts:
                packet.duration = self._lasts[packet.pts]
            self._container.mux(packet)

    def _to_frame(self, coded: Array) -> av.VideoFrame:
        if self._codec == "ffv1":
            codes = np.ascontiguousarray(np.rint(coded * 65535).astype(np.uint16))
            return av.VideoFrame.from_ndarray(codes, format="rgb48le").reformat(format="gbrp16le")
        if self._codec == "h264":
            coded = np.pad(coded, ((0, coded.shape[0] % 2), (0, coded.shape[1] % 2), (0, 0)), mode="edge")
        return encode_yuv(coded, _ENCODERS[self._codec]["pix_fmt"])

    def _start(self, size: tuple[int, int]) -> None:
        encoder = _ENCODERS[self._codec]
        options = dict(encoder["options"])
        if self._ticks and self._codec == "h264":
            options["bf"] = "0"  # stored out of order, frames of unlike lengths give MP4 a wrong duration
        stream = self._container.add_stream(encoder["name"], rate=self._rate, options=options)
        even = self._codec == "h264"
        stream.height, stream.width = (side + side % 2 if even else side for side in size)
        stream.pix_fmt = encoder["pix_fmt"]
        context = stream.codec_context
        context.time_base = Fraction(1, _CLOCK) if self._ticks else 1 / self._rate
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.IEC61966_2_1
        if self._codec == "ffv1":
            context.color_range = ColorRange.JPEG
        else:
            context.colorspace, context.color_range = BT709, ColorRange.MPEG
        self._stream, self._size, self._count = stream, size, 0


def muxer_options(path: Path) -> dict[str, str]:
    """What FFmpeg is told of a container that it writes."""
    return {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".mov") else {}


def _frame_count(path: Path, film: Film) -> int:
    return film.length if film.length is not None else sum(1 for _ in _decoded(path, film))


def _decoded(path: Path, film: Film) -> Iterator[tuple[av.VideoCodecContext, av.VideoFrame, Array | None]]:
    """The frames of a film as they are stored, each with its decoder, and alpha (H, W, 1) that is stored beside it."""
    with open_container(path) as container, reading(path, "a video"):
        stream = container.streams[film.stream]
        assert isinstance(stream, av.VideoStream), "Film.stream is one of the video streams"
        decoder = stream.codec_context
        decoder.options = {"max_pixels": str(most_pixels(path))}
        decoder.thread_type = "AUTO"
        beside = AlphaPackets(decoder.name, most_pixels(path)) if film.has_alpha else None
        packets = container.demux(stream)
        for frame in _to_the_first_fault(beside.taken_from(packets) if beside else packets, decoder):
            assert isinstance(frame, av.VideoFrame), "a video decoder gives pictures"
            yield decoder, frame, beside.of(frame) if beside else None


def _to_the_first_fault(packets: Iterable[av.Packet], decoder: Any) -> Iterator[Any]:
    """The frames of a stream, in a damaged file up to where it cannot be read or decoded any more.

    Raises:
        av.FFmpegError: that is so before the first frame.
    """
    some = False
    try:
        for packet in packets:
            for frame in decoder.decode(packet if packet.size else None):
                some = True
                yield frame
    except av.FFmpegError:
        left = _left_in(decoder)
        if not some and not left:
            raise
        yield from left


def _left_in(decoder: Any) -> list[Any]:
    try:
        return decoder.decode(None)
    except av.FFmpegError:
        return []


def _decode(path: Path, film: Film, conversion: Conversion | None, length: int | None = None) -> Iterator[Frames]:
    """The frames of a film, of which `length` are promised."""
    count, size, damaged = 0, None, 0
    for decoder, frame, beside in _decoded(path, film):
        if not count and length is None:
            _note_aspect(path, film.pixel_aspect or decoder.sample_aspect_ratio)
        with reading(path, "a video"):
            rgb, alpha, hdr = _to_linear(frame, conversion, beside)
        metadata = {"decoder": f"{decoder.name}, PyAV {av.__version__}"}
        picture = Frames(rgb, alpha, float(film.rate) if film.rate else None, path.stem, hdr, metadata)
        size = size or picture.size
        if picture.size != size:
            raise UserError(f"{path} is {size} and from frame {count + 1} on {picture.size}; expected one size for all")
        count, damaged = count + 1, damaged + frame.is_corrupt
        yield picture
    if length is not None and count != length:
        note(path, f"is damaged or truncated: {count} of its {length} frames can be decoded, and are used")
    if damaged and length is not None:
        note(path, f"is damaged in {damaged} of its {count} frames; they are used as the decoder mends them")


def _note_aspect(path: Path, aspect: Fraction | None) -> None:
    if aspect and aspect != 1:
        note(path, f"has pixels {float(aspect):.4g} times as wide as high; they are kept as they are stored")


def _to_linear(
    frame: av.VideoFrame, conversion: Conversion | None, beside: Array | None
) -> tuple[Tensor, Tensor | None, bool]:
    codes, alpha = decode_rgb(frame)
    alpha = alpha if beside is None else beside
    matrix = _display_matrix(frame)
    codes, hdr = _displayed(codes, matrix), frame.color_trc in HDR_TRANSFERS
    if conversion is not None:
        linear, hdr = conversion.planes(codes.transpose(1, 2, 0)), conversion.hdr
    else:
        table, primaries = decoding_table(frame.color_trc), chromaticities(frame.color_primaries)
        linear = np.empty(codes.shape, np.float32)
        for rows in strips(codes.shape[1:]):
            linear[:, rows] = to_rec709(table[codes[:, rows]], primaries)
    mask = torch.from_numpy(_displayed(alpha, matrix))[None] if alpha is not None else None
    return torch.from_numpy(linear)[None], mask, hdr


def _display_matrix(frame: av.VideoFrame) -> tuple[float, float, float, float]:
    """(a, b, c, d): a stored point (x, y) is shown at (a x + c y, b x + d y), y down."""
    stored = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return 1.0, 0.0, 0.0, 1.0
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(stored)[:36])
    return a / 65536, b / 65536, c / 65536, d / 65536


def _displayed(pixels: NDArray[Any], matrix: tuple[float, float, float, float]) -> NDArray[Any]:
    """Pixels (H, W, C) as (C, H, W), turned by quarters and mirrored as a display matrix says; angles in between are
    those of the nearest quarter."""
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    pixels = pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
