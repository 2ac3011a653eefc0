"""Video in and out through PyAV, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import av
import numpy as np
import torch
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from torch import Tensor

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.paths import existing_file
from unrender.files.radiance import Array, clean, to_rec709
from unrender.files.readers import FrameReader
from unrender.files.transfer import HDR_TRANSFERS, chromaticities, decoding_table
from unrender.files.yuv import BT709, decode_rgb, encode_yuv
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames

Codec = Literal["h264", "ffv1", "prores"]

VIDEO_SUFFIXES: dict[str, Codec] = {".mp4": "h264", ".mkv": "ffv1", ".mov": "prores"}
"""The default codec of each suffix."""

DEFAULT_FPS = 24.0
"""Frames per second of a video, where nobody says how many."""

_ENCODERS: dict[Codec, dict[str, Any]] = {
    "h264": {"name": "libx264", "pix_fmt": "yuv420p", "options": {"crf": "16", "preset": "medium"}},
    "ffv1": {"name": "ffv1", "pix_fmt": "gbrp16le", "options": {"level": "3", "slicecrc": "1"}},
    "prores": {"name": "prores_ks", "pix_fmt": "yuv444p10le", "options": {"profile": "4444"}},
}


def open_video(path: str | Path) -> FrameReader:
    """Opens any video that FFmpeg reads, to be decoded as it is iterated.

    Length is counted over the stream's packets, without decoding. Rotation is applied. Colour goes by the file's tags
    (see `yuv` and `transfer`) to scene-linear Rec.709. Sound is not read.

    Raises:
        UserError: a missing, empty, damaged or truncated file (at opening, or while iterating), or one without video.
    """
    path = existing_file(path)
    length = _count_frames(path)
    first = next(_decode(path), None)
    if first is None:
        raise UserError(f"{path} has no frame that can be decoded")
    return FrameReader(path.stem, first.size, first.fps, length, lambda: _decode(path))


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

    Raises:
        UserError: an unknown suffix or codec, or an output that cannot be written.
    """

    def __init__(self, path: str | Path, fps: float | Fraction, codec: Codec | None = None) -> None:
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
        self._stack = ExitStack()
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> VideoWriter:
        partial = self._stack.enter_context(atomic_write(self.path))
        try:
            self._container = self._stack.enter_context(av.open(f"file:{partial}", "w", options=_muxer(self.path)))
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
                self._container.mux(self._stream.encode(None))
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
        self._count += 1
        self._container.mux(self._stream.encode(frame))

    def _to_frame(self, coded: Array) -> av.VideoFrame:
        if self._codec == "ffv1":
            codes = np.ascontiguousarray(np.rint(coded * 65535).astype(np.uint16))
            return av.VideoFrame.from_ndarray(codes, format="rgb48le").reformat(format="gbrp16le")
        if self._codec == "h264":
            coded = np.pad(coded, ((0, coded.shape[0] % 2), (0, coded.shape[1] % 2), (0, 0)), mode="edge")
        return encode_yuv(coded, _ENCODERS[self._codec]["pix_fmt"])

    def _start(self, size: tuple[int, int]) -> None:
        encoder = _ENCODERS[self._codec]
        stream = self._container.add_stream(encoder["name"], rate=self._rate, options=encoder["options"])
        even = self._codec == "h264"
        stream.height, stream.width = (side + side % 2 if even else side for side in size)
        stream.pix_fmt = encoder["pix_fmt"]
        context = stream.codec_context
        context.time_base = 1 / self._rate
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.IEC61966_2_1
        if self._codec == "ffv1":
            context.color_range = ColorRange.JPEG
        else:
            context.colorspace, context.color_range = BT709, ColorRange.MPEG
        self._stream, self._size, self._count = stream, size, 0


def _muxer(path: Path) -> dict[str, str]:
    return {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".mov") else {}


def _opened(path: Path) -> av.container.InputContainer:
    try:
        # `file:` keeps FFmpeg from reading protocols into names with a colon.
        container = av.open(f"file:{path}", "r")
    except (av.FFmpegError, ValueError) as error:
        raise UserError(f"{path} cannot be read as video; it is damaged, truncated or another format") from error
    if not container.streams.video:
        container.close()
        raise UserError(f"{path} has no video in it")
    return container


def _count_frames(path: Path) -> int:
    """The number of frames shown; UserError where the file ends before its header's duration."""
    with _opened(path) as container:
        stream = container.streams.video[0]
        shown, stored, end, whole_packets = 0, 0, 0.0, True
        for packet in container.demux(stream):
            if packet.size:
                stored += 1
                shown += not packet.is_discard
                whole_packets &= not packet.is_corrupt
                if packet.pts is not None and packet.time_base is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        # Matroska declares no number of frames but a duration, that of its longest stream.
        promised = container.duration / av.time_base if container.duration and len(container.streams) == 1 else 0.0
        frame_time = 1 / float(stream.average_rate) if stream.average_rate else 0.0
    if stored < max(stream.frames, 1) or not whole_packets or end + 1.5 * frame_time < promised:
        raise UserError(f"{path} is truncated: it ends after {stored} frames")
    return shown


def _decode(path: Path) -> Iterator[Frames]:
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        fps = stream.average_rate or stream.guessed_rate
        metadata = {"decoder": f"{stream.codec_context.name}, PyAV {av.__version__}"}
        try:
            for frame in container.decode(stream):
                rgb, alpha, hdr = _to_linear(frame)
                yield Frames(rgb, alpha, float(fps) if fps else None, path.stem, hdr, metadata)
        except av.FFmpegError as error:
            raise UserError(f"{path} is damaged or truncated: {error.strerror}") from error


def _to_linear(frame: av.VideoFrame) -> tuple[Tensor, Tensor | None, bool]:
    codes, alpha = decode_rgb(frame)
    upright = np.ascontiguousarray(np.rot90(codes, frame.rotation // 90).transpose(2, 0, 1))
    linear = decoding_table(frame.color_trc)[upright]
    rgb = torch.from_numpy(to_rec709(linear, chromaticities(frame.color_primaries)))[None]
    mask = None
    if alpha is not None:
        mask = torch.from_numpy(np.ascontiguousarray(np.rot90(alpha, frame.rotation // 90).transpose(2, 0, 1)))[None]
    return rgb, mask, frame.color_trc in HDR_TRANSFERS
