"""Pictures over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.scene.plate import Plate, Plates, join_plates
from unrender.scene.records import same, summary


@dataclass(frozen=True, eq=False, repr=False)
class Frames:
    """A picture or a clip.

    Attributes:
        rgb: (T, 3, H, W) float32, scene-linear Rec.709, >= 0; a still has T = 1.
        mask: (T, 1, H, W) in [0, 1], the source's alpha, or None where it had none.
        fps: frames per second, None for stills and folders of frames.
        name: for messages and file names.
        hdr: True where the source was scene-referred (EXR, HDR), False for display pictures.
        metadata: from the file (ICC profile name, focal length, decoder, ...).
        plate: windows and numbers of a film plate, None where the source has none; of a clip those of its first frame.
        plates: those of each frame of a clip, where they are not all the same; else ().
    """

    rgb: Tensor
    mask: Tensor | None = None
    fps: float | None = None
    name: str = "picture"
    hdr: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    plate: Plate | None = None
    plates: Plates = ()

    def __post_init__(self) -> None:
        if self.rgb.ndim != 4 or self.rgb.shape[1] != 3:
            raise UserError(f"Frames.rgb has shape {tuple(self.rgb.shape)}; expected (T, 3, H, W)")
        if not self.rgb.is_floating_point():
            raise UserError(
                f"Frames.rgb holds {str(self.rgb.dtype).removeprefix('torch.')} numbers; expected scene-linear floats "
                "(of a display picture, `files.as_frames` makes them)"
            )
        expected = (self.rgb.shape[0], 1, *self.rgb.shape[2:])
        if self.mask is not None and self.mask.shape != expected:
            raise UserError(f"Frames.mask has shape {tuple(self.mask.shape)}; expected {expected}")

    @staticmethod
    def concatenate(parts: Sequence[Frames]) -> Frames:
        """Joins frames of the same size and kind along time; rate, name and metadata are those of the first part.

        Raises:
            UserError: no part, or parts of different size, or of which only some are scene-referred or have a mask.
        """
        if not parts:
            raise UserError("no frames to join; expected at least one part")
        first = parts[0]
        if any(part.size != first.size for part in parts):
            sizes = sorted({part.size for part in parts})
            raise UserError(f"frames of the sizes {sizes} cannot be joined; expected one size for every frame")
        if len({(part.hdr, part.mask is None) for part in parts}) != 1:
            raise UserError(
                f"the parts of {first.name} cannot be joined; expected all of them with a mask or none, and all "
                "scene-referred or none"
            )
        masks = [part.mask for part in parts if part.mask is not None]
        if len(parts) == 1:
            return first
        plates = join_plates([(part.plate, part.plates, len(part)) for part in parts])
        rgb, mask = torch.cat([part.rgb for part in parts]), torch.cat(masks) if masks else None
        return replace(first, rgb=rgb, mask=mask, plates=plates)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)

    def __len__(self) -> int:
        return self.rgb.shape[0]

    def __iter__(self) -> Iterator[Frames]:
        """Every frame as a still with T = 1, as a `FrameReader` gives them."""
        return (self.frame(index) for index in range(len(self)))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[2], self.rgb.shape[3]

    def frame(self, index: int) -> Frames:
        """Frame `index` alone, as a still with T = 1."""
        i = range(len(self))[index]
        return self.part(i, i + 1)

    def part(self, start: int, stop: int) -> Frames:
        """Frames `start` to `stop`, the last one left out."""
        mask, plates = self.mask[start:stop] if self.mask is not None else None, self.plates[start:stop]
        plate = plates[0] if plates else self.plate
        return replace(self, rgb=self.rgb[start:stop], mask=mask, plate=plate, plates=plates)


@dataclass(frozen=True)
class Window:
    """Consecutive frames of a clip, that are handled together.

    Attributes:
        frames: the frames, (T, 3, H, W).
        repeated: how many of the first of them the window before had, too; 0 in the first window.
        last: whether no window follows, where somebody looked ahead; else False.
    """

    frames: Frames
    repeated: int = 0
    last: bool = False


def windows(clip: Iterable[Frames], size: int = 1, overlap: int = 0, *, look_ahead: bool = False) -> Iterator[Window]:
    """Cuts a clip into windows of `size` frames, each of which begins with the last `overlap` frames of the one before.

    The clip is read as the windows are taken, and one window is held at a time, so that memory does not grow with its
    length. Where windows overlap the last one is as long as the others: it is shifted back, and repeats more frames.
    Else, and where the clip is shorter than a window, it may be shorter. It always has a frame that no other window
    has.

    Args:
        clip: frames in order, a `FrameReader` or `Frames` for example; parts of several frames are taken apart.
        size: frames a window, at least 1.
        overlap: frames that neighbouring windows share, less than `size`.
        look_ahead: read one frame more than a window, to know whether it is the last.

    Raises:
        UserError: a size below 1, or an overlap that is not in [0, size).
    """
    if size < 1 or not 0 <= overlap < size:
        raise UserError(f"windows of {size} frames that overlap by {overlap}; expected 0 <= overlap < frames a window")
    return _windows(_with_last(single_frames(clip), look_ahead), size, overlap)


def single_frames(clip: Iterable[Frames]) -> Iterator[Frames]:
    """The frames of a clip one by one (T = 1), whatever parts it comes in."""
    return (frame for part in clip for frame in part)


def _windows(clip: Iterable[tuple[Frames, bool]], size: int, overlap: int) -> Iterator[Window]:
    held: deque[Frames] = deque(maxlen=size)
    fresh, wanted = 0, size
    for frame, last in clip:
        held.append(frame)
        fresh += 1
        if last or fresh == wanted:
            yield _window(held, fresh, overlap, last)
            fresh, wanted = 0, size - overlap
    if fresh:
        yield _window(held, fresh, overlap, last=False)


def _window(held: deque[Frames], fresh: int, overlap: int, last: bool) -> Window:
    """The frames held, of which `fresh` are new; where windows do not overlap, those alone."""
    frames = list(held) if overlap else list(held)[-fresh:]
    return Window(Frames.concatenate(frames), len(frames) - fresh, last)


def _with_last(frames: Iterator[Frames], look_ahead: bool) -> Iterator[tuple[Frames, bool]]:
    """Each frame, with whether it is the last one, where somebody looks ahead for that."""
    if not look_ahead:
        yield from ((frame, False) for frame in frames)
        return
    before = next(frames, None)
    for frame in frames:
        if before is not None:
            yield before, False
        before = frame
    if before is not None:
        yield before, True
