"""Frames joined and cut: parts, windows, iteration."""

import pytest
import torch

from unrender.errors import UserError
from unrender.scene.frames import Frames, windows


def counted(frames: int, **others: object) -> Frames:
    """Frame i has the value i everywhere."""
    return Frames(torch.arange(float(frames))[:, None, None, None].expand(-1, 3, 2, 4), **others)


def numbers(frames: Frames) -> list[int]:
    return frames.rgb[:, 0, 0, 0].int().tolist()


def test_frames_are_iterated_as_stills_and_joined_again():
    clip = counted(3, mask=torch.rand(3, 1, 2, 4), fps=12.0, name="clip", hdr=True)
    stills = list(clip)
    assert [len(still) for still in stills] == [1, 1, 1]
    again = Frames.concatenate([clip.part(0, 2), clip.frame(2)])
    assert torch.equal(again.rgb, clip.rgb)
    assert torch.equal(again.mask, clip.mask)
    assert (again.fps, again.name, again.hdr) == (12.0, "clip", True)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Frames(torch.zeros(1, 3, 2, 5)), "sizes"),
        (counted(1, hdr=True), "scene-referred"),
        (counted(1, mask=torch.ones(1, 1, 2, 4)), "mask"),
    ],
)
def test_what_does_not_fit_cannot_be_joined(other: Frames, named: str):
    with pytest.raises(UserError, match=named):
        Frames.concatenate([counted(2), other])


@pytest.mark.parametrize(
    ("length", "size", "overlap", "right"),
    [
        (3, 1, 0, [([0], 0), ([1], 0), ([2], 0)]),
        (5, 2, 0, [([0, 1], 0), ([2, 3], 0), ([4], 0)]),
        (6, 4, 2, [([0, 1, 2, 3], 0), ([2, 3, 4, 5], 2)]),
        (7, 4, 2, [([0, 1, 2, 3], 0), ([2, 3, 4, 5], 2), ([3, 4, 5, 6], 3)]),
        (9, 4, 1, [([0, 1, 2, 3], 0), ([3, 4, 5, 6], 1), ([5, 6, 7, 8], 2)]),
        (5, 4, 0, [([0, 1, 2, 3], 0), ([4], 0)]),
        (2, 4, 2, [([0, 1], 0)]),
        (0, 4, 2, []),
    ],
)
def test_windows(length: int, size: int, overlap: int, right: list[tuple[list[int], int]]):
    clip = counted(max(length, 1)).part(0, length)
    assert [(numbers(window.frames), window.repeated) for window in windows(clip, size, overlap)] == right
    batches = [clip.part(0, 2), clip.part(2, length)]
    assert [(numbers(window.frames), window.repeated) for window in windows(batches, size, overlap)] == right


@pytest.mark.parametrize("length", [1, 3, 4, 6, 7])
def test_a_look_ahead_tells_the_last_window(length: int):
    clip = counted(8).part(0, length)
    plain = [(numbers(window.frames), window.repeated) for window in windows(clip, 4, 2)]
    ahead = list(windows(clip, 4, 2, look_ahead=True))
    assert [(numbers(window.frames), window.repeated) for window in ahead] == plain
    assert [window.last for window in ahead] == [False] * (len(plain) - 1) + [True]


def test_windows_read_no_further_than_they_are_taken():
    read = []

    def frames():
        for index in range(100):
            read.append(index)
            yield counted(1)

    next(windows(frames(), 4, 1))
    assert read == [0, 1, 2, 3]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (2, 2), (2, -1)])
def test_windows_that_cannot_be(size: int, overlap: int):
    with pytest.raises(UserError, match="overlap"):
        windows(counted(3), size, overlap)
