"""What a film plate says of itself: where its pixels lie, how wide they are, and when they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

Box = tuple[int, int, int, int]
"""Left, top, right, bottom: the pixels of both corners are inside."""


_BROADCAST = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames a second as a fraction; decimals that are near a broadcast rate (23.976, 23.98, 29.97, ...) mean that."""
    rate = Fraction(fps).limit_denominator(1001)
    near = min(_BROADCAST, key=lambda known: abs(known - rate))
    return near if rate.denominator > 1 and abs(near - rate) < Fraction(1, 200) else rate


@dataclass(frozen=True)
class Plate:
    """Windows and times of one picture. In memory a picture is the smallest box around both windows.

    Attributes:
        display_window: the picture that is meant to be seen.
        data_window: the pixels that there are: more of them where there is overscan, fewer where it was cropped.
        pixel_aspect: width of a pixel divided by its height.
        fps: frames per second as (numerator, denominator), None where nothing is said.
        attributes: what else goes with it (time code, film, lens), by OpenEXR's names, in the types of its library.
    """

    display_window: Box
    data_window: Box
    pixel_aspect: float = 1.0
    fps: tuple[int, int] | None = None
    attributes: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of_size(size: tuple[int, ...], pixel_aspect: float = 1.0) -> Plate:
        """The plate of a picture (height, width) whose windows are both all of it."""
        box = (0, 0, size[1] - 1, size[0] - 1)
        return Plate(box, box, pixel_aspect)

    def at_rate(self, fps: float) -> Plate:
        """The same plate at so many frames a second; where it says about as many itself, it is as it was."""
        if self.fps is not None and abs(self.fps[0] / self.fps[1] - fps) < 1e-4 * fps:
            return self
        rate = exact_rate(fps)
        return replace(self, fps=(rate.numerator, rate.denominator))

    @property
    def canvas(self) -> Box:
        """The smallest box around both windows."""
        return union(self.display_window, self.data_window)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the canvas."""
        left, top, right, bottom = self.canvas
        return bottom - top + 1, right - left + 1

    @property
    def data_slices(self) -> tuple[slice, slice]:
        """Rows and columns of the data window in the canvas."""
        (left, top, _, _), data = self.canvas, self.data_window
        return slice(data[1] - top, data[3] - top + 1), slice(data[0] - left, data[2] - left + 1)


Plates = tuple[Plate | None, ...]
"""Of each frame of a clip; () where one serves all of them."""


def join_plates(parts: Sequence[tuple[Plate | None, Plates, int]]) -> Plates:
    """The plates of the frames of several parts, each with its plate, its plates and how many frames it has."""
    plates = [plate for first, own, count in parts for plate in (own or (first,) * count)]
    return tuple(plates) if any(plate is not plates[0] for plate in plates) else ()


def union(*boxes: Box) -> Box:
    """The smallest box around others."""
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
