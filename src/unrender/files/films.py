"""Films put together: parts that were encoded one after the other, with the times and the sound of their source."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.containers import open_container, probe
from unrender.files.notes import note
from unrender.files.reading import reading
from unrender.files.video import muxer_options

TICK = Fraction(1, 90_000)
"""Seconds to which the times of uneven frames are rounded."""

_KEPT = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be"},
}
"""Sound that a container takes as it is, by suffix; .mkv takes all. What is not among it is encoded anew, as AAC."""


def join_films(
    path: Path, parts: Sequence[Path], times: Sequence[Fraction] | None = None, sound_of: Path | None = None
) -> None:
    """Writes films of the same codec and size, one after the other, as one film; packets are copied, not encoded anew.

    Args:
        path: where to; it appears whole or not at all.
        parts: films that `VideoWriter` wrote with the same arguments, all in their order.
        times: seconds from the first frame at which each frame begins, and, last, at which the film ends; None for
            frames that last equally long.
        sound_of: the film whose sound is put under it, as long as there are pictures; None for none.

    Raises:
        UserError: the file cannot be written.
    """
    orders = [_order(part) for part in parts]
    frames = sum(map(len, orders))
    with atomic_write(path) as partial, av.open(f"file:{partial}", "w", options=muxer_options(path)) as out:
        with av.open(f"file:{parts[0]}") as first:
            picture = out.add_stream_from_template(first.streams.video[0])
            # Of ProRes it says how many bits there are.
            picture.codec_context.codec_tag = first.streams.video[0].codec_context.codec_tag
            rate = first.streams.video[0].average_rate or Fraction(24)
        if times is not None and len(times) <= frames:
            times = None
        if times is not None:
            picture.time_base = TICK
        length = times[frames] if times is not None else frames / rate
        streams: list[Iterator[tuple[float, int, Any]]] = [_pictures(parts, orders, picture, rate, times)]
        if sound_of is not None:
            streams.append(_sound(sound_of, out, path.suffix.lower(), length))
        try:
            for _, _, packet in heapq.merge(*streams, key=lambda item: item[:2]):
                out.mux(packet)
        except (av.FFmpegError, ValueError) as error:
            raise UserError(f"cannot write {path}: {error}") from error


def _order(part: Path) -> list[int]:
    """The number of each frame of a film, in the order in which they are stored."""
    with av.open(f"file:{part}") as film:
        stream = film.streams.video[0]
        tick = stream.time_base * (stream.average_rate or Fraction(24))  # ty: ignore[unsupported-operator]
        return [round(packet.pts * tick) for packet in film.demux(stream) if packet.size and packet.pts is not None]


def _pictures(
    parts: Sequence[Path], orders: Sequence[list[int]], stream: Any, rate: Fraction, times: Sequence[Fraction] | None
) -> Iterator[tuple[float, int, Any]]:
    """The packets of all parts with their times in the whole, each after its decoding time: packet i is decoded when
    frame i - d is shown, with the least d that never is after its own frame."""
    delay, stored, start = 0, 0, 0
    for order in orders:
        delay = max(delay, *(index - shown for index, shown in enumerate(order)))
    for part, order in zip(parts, orders, strict=True):
        with av.open(f"file:{part}") as film:
            packets = (packet for packet in film.demux(film.streams.video[0]) if packet.size)
            for shown, packet in zip(order, packets, strict=True):
                number = start + shown
                packet.stream, packet.time_base = stream, 1 / rate if times is None else TICK
                packet.pts, packet.dts = _time(number, times), _time(stored - delay, times)
                packet.duration = 1 if times is None else round((times[number + 1] - times[number]) / TICK)
                yield float((stored - delay) / rate if times is None else packet.dts * TICK), 0, packet
                stored += 1
        start += len(order)


def _time(index: int, times: Sequence[Fraction] | None) -> int:
    """The time of frame `index`; before the first one, as evenly as frames begin."""
    if times is None:
        return index
    time = times[index] if index >= 0 else times[0] + index * (times[1] - times[0])
    return round(time / TICK)


def _sound(path: Path, out: Any, suffix: str, length: Fraction) -> Iterator[tuple[float, int, Any]]:
    """The packets of the first sound of a film, from its first picture on, for so many seconds."""
    begins = Fraction(probe(path).begins)
    with open_container(path) as film, reading(path, "sound"):
        if not film.streams.audio:
            return
        source = film.streams.audio[0]
        if suffix not in _KEPT or source.codec_context.name in _KEPT[suffix]:
            stream = out.add_stream_from_template(source)
            packets = (packet for packet in film.demux(source) if packet.size and packet.pts is not None)
        else:
            stream = out.add_stream("aac", rate=source.codec_context.sample_rate)
            note(path, f"has {source.codec_context.name} sound, which {suffix} does not take; it is encoded as AAC")
            packets = _encoded(film, source, stream)
        for packet in cast("Iterator[Any]", packets):
            time = packet.pts * packet.time_base - begins
            if time >= length:
                return
            if time >= 0:
                shift = round(begins / packet.time_base)
                packet.pts -= shift
                packet.dts = packet.pts if packet.dts is None else packet.dts - shift
                packet.stream = stream
                yield float(time), 1, packet


def _encoded(film: Any, source: Any, stream: Any) -> Iterator[Any]:
    """Sound encoded anew by the codec of `stream`."""
    for frame in film.decode(source):
        yield from stream.encode(frame)
    yield from stream.encode(None)
