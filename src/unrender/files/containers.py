"""Film containers: known by their first bytes, opened by one demuxer, and which of their streams is the film.

FFmpeg would guess the demuxer itself, and some of those that it knows read text, other files or the network (SDP, HLS,
DASH, concat, image2, lavfi). Here the first bytes choose one of a few that read a single file, and nothing but local
files may be opened.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
from av.stream import Disposition

from unrender.errors import UserError
from unrender.files.alpha_packets import alpha_packet
from unrender.files.film_tables import require_possible_tables
from unrender.files.notes import note
from unrender.files.paths import existing_file
from unrender.files.reading import reading

FILM_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob"}
    | {".flv", ".ogv", ".ogg", ".wmv", ".asf", ".mxf", ".gif", ".y4m", ".3gp"}
)
"""Endings by which a person calls a file a film; what it is, its first bytes say."""

MOST_PIXELS = 1 << 27
"""Of a frame: 16384 x 8192. A header that says more is not believed."""

_SMALL, _DENSEST = 1 << 25, 32
"""A frame of fewer pixels, 8192 x 4096, is read whatever its film's size; of a larger one, so many per byte.
That is what people shoot, and no bound of a format: films pack whole frames into nothing."""

_MOST_BYTES = 1 << 29
"""That FFmpeg may take at once: a frame of `MOST_PIXELS` fits in at 8 bits, one of 12,288 x 6,480 at 16, in 4:4:4."""

_KINDS = "MP4, MOV, MKV, WebM, AVI, MPEG, MXF, FLV, Ogg, WMV, GIF or Y4M"
_MAGIC = (
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"FLV\x01", "flv"),
    (b"OggS", "ogg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"YUV4MPEG2 ", "yuv4mpegpipe"),
)
_MXF_KEY = b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02"
_MXF_RUN_IN = 65536
_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moof", b"styp", b"sidx"})
_STILL_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"jpx ", b"crx "})
# Demuxers whose headers say how many frames there are, or whose packets are frames one by one.
_INDEXED = frozenset({"mov", "matroska"})
# Demuxers that find their streams while they read packets.
_HEADLESS = frozenset({"flv", "mpeg"})
_COMMON_RATES = (
    *(Fraction(rate) for rate in (24, 25, 30, 48, 50, 60, 12, 15, 10, 100, 120)),
    *(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120)),
)


@dataclass(frozen=True)
class Film:
    """What is known of a film before it is decoded.

    Attributes:
        stream: the index of its stream in the file.
        length: the number of frames shown, those that a truncated file lacks among them; None where only decoding
            tells.
        rate: frames per second, None where the file gives no times.
        has_alpha: whether its packets carry alpha beside the picture, as WebM does.
        times: seconds at which its frames begin, and last of all that at which it ends, from 0 on; () where frames
            last equally long.
        begins: the time of the first frame in the file, in seconds.
        pixel_aspect: of a pixel, its width over its height; None where only decoding tells, if anything.
    """

    stream: int
    length: int | None
    rate: Fraction | None
    has_alpha: bool
    times: tuple[Fraction, ...] = ()
    begins: Fraction = Fraction(0)
    pixel_aspect: Fraction | None = None


@dataclass
class _Packets:
    """What the packets of one stream say."""

    stored: int = 0
    whole: bool = True
    has_alpha: bool = False
    times: list[int] = field(default_factory=list)
    shown: int = 0
    last_time: int = -1
    last_duration: int = 0
    end: int = 0

    def add(self, packet: av.Packet) -> None:
        self.stored += 1
        self.whole &= not packet.is_corrupt
        self.has_alpha |= alpha_packet(packet) is not None
        if packet.pts is not None:
            self.end = max(self.end, packet.pts + (packet.duration or 0))
        if packet.is_discard:
            return
        self.shown += 1
        if packet.pts is not None:
            self.times.append(packet.pts)
            if packet.pts >= self.last_time:
                self.last_time, self.last_duration = packet.pts, packet.duration or 0


def demuxer(path: Path) -> str | None:
    """FFmpeg's name of the demuxer for a file, by its first bytes; None for what is no film."""
    with path.open("rb") as file:
        head = file.read(_MXF_RUN_IN)
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in _BOXES:
        return None if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS else "mov"
    for start, step in ((0, 188), (4, 192), (0, 204)):
        sync = head[start : start + 5 * step : step]
        if len(sync) > 1 and set(sync) == {0x47} and b"\0" in head:
            return "mpegts"
    return "mxf" if _MXF_KEY in head else None


def open_container(path: Path) -> av.container.InputContainer:
    """Opens a film with the one demuxer that its first bytes name, local files only.

    FFmpeg decodes while it opens: frames of more than `most_pixels` are refused, and where streams are found too late
    to say so, pictures are not decoded.

    Raises:
        UserError: what is no film, or is damaged.
    """
    path = existing_file(path)
    kind = demuxer(path)
    if kind is None:
        raise UserError(f"{path} cannot be read as video; expected {_KINDS}")
    _bound_memory()
    options = {"protocol_whitelist": "file", "max_pixels": str(most_pixels(path))}
    if kind in _HEADLESS:
        options["codec_whitelist"] = _sound_decoders()
    with reading(path, "a video"):
        if kind == "mov":
            require_possible_tables(path)
        # `file:` keeps FFmpeg from reading protocols into names with a colon.
        return av.open(f"file:{path}", "r", format=kind, options=options)


def most_pixels(path: Path) -> int:
    """How many pixels a frame of a film may have."""
    return min(MOST_PIXELS, max(_SMALL, _DENSEST * path.stat().st_size))


@cache
def _bound_memory() -> None:
    """Bounds what FFmpeg takes at once in this process: some demuxers take, and clear, what a file says it needs."""
    from av.container import core

    try:
        limit = ctypes.CDLL(core.__file__).av_max_alloc
    except (OSError, AttributeError):  # where a library does not show those that it is linked to (Windows)
        return
    limit.argtypes, limit.restype = [ctypes.c_size_t], None
    limit(_MOST_BYTES)


@cache
def _sound_decoders() -> str:
    return ",".join(name for name in av.codecs_available if _is_sound_decoder(name))


def _is_sound_decoder(name: str) -> bool:
    try:
        return av.Codec(name, "r").type == "audio"
    except av.codec.codec.UnknownCodecError:  # it encodes alone
        return False


def probe(path: Path) -> Film:
    """Finds the film among the streams and counts its packets, without decoding.

    Of several video streams covers, thumbnails and single pictures are passed over; of several films the one that is
    marked as the default is taken, else the largest, and that is said. Frame times that are not even are said, too.

    Raises:
        UserError: no film in it, frames that are too large, or a file without any.
    """
    with open_container(path) as container, reading(path, "a video"):
        packets = {stream.index: _Packets() for stream in container.streams.video}
        if not packets:
            raise UserError(f"{path} has no video in it; expected a film with pictures")
        try:
            for packet in container.demux(*container.streams.video):
                if packet.size:
                    packets[packet.stream.index].add(packet)
        except av.FFmpegError:  # what lies before is counted
            for found in packets.values():
                found.whole = False
        stream = _film_stream(path, container.streams.video, packets)
        found = packets[stream.index]
        missing = _missing(path, container, stream, found)
        if stream.width * stream.height > most_pixels(path):
            raise UserError(
                f"{path} says that its frames are {stream.width} x {stream.height}, in {path.stat().st_size} bytes; "
                f"expected {most_pixels(path)} pixels or less"
            )
        alpha = found.has_alpha and stream.codec_context.name in ("vp8", "vp9")
        length = found.shown + missing if container.format.name.split(",")[0] in _INDEXED else None
        rate, times = (stream.average_rate, ()) if missing else _rate(path, stream, found)
        begins = min(found.times, default=0) * (stream.time_base or Fraction(0))
        return Film(stream.index, length, rate, alpha, times, begins, stream.sample_aspect_ratio or None)


def _film_stream(path: Path, streams: Iterable[av.VideoStream], packets: dict[int, _Packets]) -> av.VideoStream:
    aside = Disposition.attached_pic | Disposition.timed_thumbnails
    films = [stream for stream in streams if not stream.disposition & aside]
    if not films:
        raise UserError(f"{path} has sound and a cover picture, and no video; expected a film")
    moving = [stream for stream in films if packets[stream.index].shown > 1] or films

    def rank(stream: av.VideoStream) -> tuple[bool, int, int]:
        default = bool(stream.disposition & Disposition.default)
        return default, stream.width * stream.height, packets[stream.index].shown

    chosen = max(moving, key=rank)
    if len(moving) > 1:
        note(path, f"has {len(moving)} films in it; stream {chosen.index}, {chosen.width} x {chosen.height}, is read")
    return chosen


def _missing(path: Path, container: av.container.InputContainer, stream: av.VideoStream, found: _Packets) -> int:
    """How many frames a file lacks that its header promises."""
    tick = stream.time_base or Fraction(0)
    # Matroska declares no number of frames but a duration, that of its longest stream.
    alone = container.duration and len(container.streams) == 1
    promised = container.duration / av.time_base if alone else 0.0
    frame_time = max(_span(found) / max(len(found.times), 1), found.last_duration) * float(tick)
    ends_early = found.end * float(tick) + 1.5 * frame_time < promised
    # Streams for broadcasting have no header that promises anything, and joined ones jump back in time.
    indexed = container.format.name.split(",")[0] in _INDEXED
    if not found.whole and not indexed:
        note(path, "has damaged or joined parts; what can be decoded is read")
    if not found.stored:
        of = f" of {stream.frames}" if stream.frames else ""
        raise UserError(f"{path} is truncated: it has no{of} frames in it; expected a whole file")
    missing = max(stream.frames - found.stored, 0)
    if indexed and not missing and (ends_early or not found.whole):
        missing = max(round(promised * float(stream.average_rate or 0)) - found.stored, int(ends_early))
    return missing


def _span(found: _Packets) -> Fraction:
    """From the first frame to the end of the last, in ticks; a last duration that cannot be is taken as an even one."""
    times = sorted(found.times)
    if len(times) < 2:
        return Fraction(found.last_duration)
    gaps = sorted(later - earlier for earlier, later in pairwise(times))
    last = found.last_duration if 2 * found.last_duration >= gaps[0] else gaps[len(gaps) // 2]
    return Fraction(times[-1] - times[0] + last)


def _rate(path: Path, stream: av.VideoStream, found: _Packets) -> tuple[Fraction | None, tuple[Fraction, ...]]:
    """Frames per second, so that all frames together last as long as the file says, and the times of uneven ones."""
    said = stream.average_rate or stream.guessed_rate
    tick, count = stream.time_base, len(found.times)
    if not tick or count < 2 or count < found.shown or _span(found) <= 0:
        return said, ()
    seconds = _span(found) * tick
    measured = count / seconds
    rate = said
    # Times are whole ticks, at both ends.
    slack = 2 * tick + seconds / 200
    if not said or abs(count / said - seconds) > slack:
        near = [common for common in _COMMON_RATES if abs(count / common - seconds) <= slack]
        rate = min(near, key=lambda common: abs(common - measured), default=measured.limit_denominator(1001))
    times = sorted(found.times)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if max(gaps) > 1.5 * min(gaps) and max(gaps) - min(gaps) > 2:
        shortest, longest = (round(float(gap * tick) * 1000) for gap in (min(gaps), max(gaps)))
        note(
            path,
            f"has frames that last {shortest} to {longest} ms; a video of them keeps that, elsewhere they are taken as "
            f"equally long, {float(rate or measured):.4g} a second, over the same {float(seconds):.4g} s",
        )
        return rate, tuple((time - times[0]) * tick for time in (*times, times[0] + _span(found)))
    return rate, ()
