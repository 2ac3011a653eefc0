"""Masks over time: pictures, videos and sequences of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from unrender.files.containers import demuxer
from unrender.files.images import read_mask
from unrender.files.paths import existing_file
from unrender.files.readers import FrameReader, Reader
from unrender.files.sequences import open_sequence
from unrender.files.video import open_video
from unrender.scene.color import linear_to_srgb, luminance
from unrender.scene.frames import Frames


def open_masks(path: str | Path) -> FrameReader:
    """Opens masks: a picture, a video, a folder or `name.####.png`. Their `rgb` is the mask in all three channels:
    linear values of an EXR, code values of all else (see `read_mask`).

    Raises:
        UserError: as `open_frames`.
    """
    path = Path(path)
    masks = open_sequence(path, _mask_frame)
    if masks is not None:
        return masks
    if demuxer(existing_file(path)) is None:
        mask = _mask_frame(path)
        return Reader(path.stem, mask.size, None, 1, lambda: iter((mask,)))
    clip = open_video(path)

    def frames() -> Iterator[Frames]:
        for frame in clip:
            grey = linear_to_srgb(luminance(frame.rgb)).clamp(0, 1)
            yield replace(frame, rgb=grey.expand(-1, 3, -1, -1))

    return replace(clip, open=frames)


def _mask_frame(path: Path) -> Frames:
    return Frames(read_mask(path).expand(-1, 3, -1, -1), name=path.stem)
