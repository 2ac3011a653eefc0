"""The alpha of WebM: a film of its own, whose packets lie beside those of the picture, and whose luma is alpha.

libvpx decodes both at once, and takes the memory that a frame says it needs; FFmpeg's own decoders heed a bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import av
import numpy as np

from unrender.files.radiance import Array

_ALPHA = (1).to_bytes(8)
"""In front of what lies beside a block stands what it is (Matroska, BlockAddID)."""


def alpha_packet(packet: av.Packet) -> bytes | None:
    """The packet of alpha that lies beside a packet of the picture, None where none does."""
    if not packet.has_sidedata("matroska_block_additional"):
        return None
    stored = bytes(packet.get_sidedata("matroska_block_additional"))
    return stored[len(_ALPHA) :] if stored.startswith(_ALPHA) else None


class AlphaPackets:
    """Decodes the alpha of packets as they pass on to the decoder of the picture.

    Args:
        decoder: the name of the picture's decoder, "vp8" or "vp9"; alpha has the same.
        most_pixels: of a frame.
    """

    def __init__(self, decoder: str, most_pixels: int) -> None:
        self._decoder: Any = av.CodecContext.create(decoder, "r")
        self._decoder.options = {"max_pixels": str(most_pixels)}
        # One packet in, one frame out: alpha is there before the picture of the same time.
        self._decoder.thread_type = "SLICE"
        self._waiting: dict[int, Array] = {}

    def taken_from(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The packets as they are, after what lies beside them was decoded.

        Raises:
            av.FFmpegError: alpha that cannot be decoded.
        """
        for packet in packets:
            stored = alpha_packet(packet)
            for frame in self._decoder.decode(av.Packet(stored)) if stored else ():
                self._waiting[packet.pts or 0] = _luma(frame)
            yield packet

    def of(self, frame: av.VideoFrame) -> Array:
        """The alpha of a picture's frame, (H, W, 1) in [0, 1]; 1 where none lay beside it, or one of another size."""
        time, size = frame.pts or 0, (frame.height, frame.width, 1)
        alpha = self._waiting.get(time)
        self._waiting = {later: kept for later, kept in self._waiting.items() if later > time}
        return alpha if alpha is not None and alpha.shape == size else np.ones(size, np.float32)


def _luma(frame: av.VideoFrame) -> Array:
    plane, bits = frame.planes[0], frame.format.components[0].bits
    rows = np.frombuffer(bytes(plane), np.uint8 if bits == 8 else np.uint16).reshape(frame.height, -1)
    return (rows[:, : frame.width, None] / np.float32((1 << bits) - 1)).astype(np.float32)
