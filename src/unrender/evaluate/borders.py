"""Which pairs of frames are at the borders of a clip's windows, and where the same pairs are in the middle of one."""

from __future__ import annotations

from unrender.diffusion.windows import ClipOptions


def border_pairs(frames: int, options: ClipOptions) -> tuple[int, ...]:
    """The pairs of frames (t for t and t + 1) at the borders of the windows of a clip: from the last frame that one
    window has alone to the first that the next one has. With windows that overlap by half, all but the first and last
    few pairs are."""
    starts = [start for start, _ in options.parts(frames)[1:]]
    overlap = options.spans[1]
    return tuple(sorted({t for start in starts for t in range(start - 1, min(start + overlap, frames - 1))}))


def middle_pairs(frames: int, window: int) -> list[tuple[int, range]]:
    """Parts of a clip that are one window each, by their first frame, and the pairs to be looked at in each: those
    from its middle on, for a running mean needs some frames before. Every pair but the first few is in one part.

    Args:
        frames: of the clip.
        window: frames of a part, 2 or more; a shorter clip has no part.
    """
    if not 2 <= window <= frames:
        return []
    before = (window - 1) // 2
    stride = window - 1 - before
    starts = [*range(0, frames - window, stride), frames - window]
    first = [start + before for start in starts]
    first[1:] = [max(start, previous + stride) for start, previous in zip(first[1:], first, strict=False)]
    return [(start, range(t, start + window - 1)) for start, t in zip(starts, first, strict=True)]
