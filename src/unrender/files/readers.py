"""Lazy readers of pictures, clips and sequences, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

Item = TypeVar("Item", Frames, GBuffer)


@dataclass(frozen=True)
class Reader(Generic[Item]):
    """A picture, a clip or a sequence that is read as it is iterated; each iteration starts at the first frame.

    Attributes:
        name: for messages and file names.
        size: (height, width) in pixels, after rotation is applied.
        fps: frames per second, None where unknown (stills, most sequences).
        length: number of frames.
        open: starts an iteration; every item has T = 1.
        first: number of the first frame, as its file is numbered; 1 where nothing is.
        times: of a film whose frames do not last equally long, the seconds at which each begins, and last of all that
            at which it ends; else ().
    """

    name: str
    size: tuple[int, int]
    fps: float | None
    length: int
    open: Callable[[], Iterator[Item]]
    first: int = 1
    times: tuple[Fraction, ...] = ()

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Item]:
        return self.open()


FrameReader = Reader[Frames]
GBufferReader = Reader[GBuffer]
