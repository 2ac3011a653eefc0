"""What two renderers are compared by: noise, time at equal noise, agreement. Pure functions of pictures and seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from unrender.scene.color import linear_to_srgb

Array = np.ndarray


class Seconds(NamedTuple):
    """Of the clock, and of the processor, which other work on the machine changes less."""

    clock: float
    processor: float

    @classmethod
    def now(cls) -> Seconds:
        """Of this process, all of its threads."""
        return cls(time.time(), time.process_time())

    def plus(self, other: Seconds, times: float = 1.0) -> Seconds:
        """The sum with `times` times `other`."""
        return Seconds(self.clock + times * other.clock, self.processor + times * other.processor)

    def since(self, earlier: Seconds) -> Seconds:
        """What has passed since `earlier`."""
        return self.plus(earlier, -1.0)


def noise(one: Array, two: Array, where: Array, *, worst: float = 0.0) -> float:
    """The noise of a picture relative to its mean, from two (3, H, W) of the same with different seeds.

    The root mean square over pixels `where` (H, W) of their difference, divided by sqrt 2 and by the mean of both; the
    share `worst` of the pixels with the largest differences is left out, for a few fireflies can be most of the sum.
    """
    squares = np.sort(np.square(one - two)[:, where].mean(0))
    kept = squares[: max(1, round(len(squares) * (1 - worst)))]
    return math.sqrt(float(kept.mean()) / 2) / float((one + two)[:, where].mean() / 2)


def noise_of_one(samples: Sequence[int], noises: Sequence[float]) -> float:
    """The noise that one sample would have, if its square falls as 1 / N: the geometric mean over what was measured."""
    return math.exp(float(np.mean([math.log(level * math.sqrt(n)) for n, level in zip(samples, noises, strict=True)])))


def samples_for(level: float, of_one: float) -> float:
    """How many samples bring the noise to `level`: `of_one` is that of one sample."""
    return (of_one / level) ** 2


def split_time(samples: tuple[int, int], took: tuple[Seconds, Seconds]) -> tuple[Seconds, Seconds]:
    """What a render costs apart from its samples, not below 0, and what a sample costs: a line through two renders."""
    each = Seconds(*((late - early) / (samples[1] - samples[0]) for early, late in zip(*took, strict=True)))
    fixed = took[0].plus(each, -samples[0])
    return Seconds(max(0.0, fixed.clock), max(0.0, fixed.processor)), each


def psnr(one: Array, two: Array, where: Array) -> float:
    """Decibels between two linear pictures (3, H, W) as a display shows them, over pixels `where` (H, W).

    Both are exposed alike: the 90th percentile of the first is 0.8.
    """
    gain = 0.8 / max(float(np.percentile(one[:, where].mean(0), 90)), 1e-6)
    shown = [linear_to_srgb(torch.from_numpy(np.clip(picture[:, where] * gain, 0, 1))) for picture in (one, two)]
    return -10 * math.log10(max(float((shown[0] - shown[1]).square().mean()), 1e-12))


def region_differences(one: Array, two: Array, regions: Array, *, least: int) -> dict[int, float]:
    """For every region of at least `least` pixels: its mean in `two` relative to that in `one`, less 1.

    Args:
        one: (3, H, W) linear, as is `two`.
        two: as above.
        regions: (H, W) whole numbers, 0 for no region.
        least: pixels.
    """
    numbers, counts = np.unique(regions[regions > 0], return_counts=True)
    return {
        int(n): float(two[:, regions == n].mean() / one[:, regions == n].mean() - 1)
        for n, count in zip(numbers, counts, strict=True)
        if count >= least
    }


def degrees_between(one: Array, two: Array) -> Array:
    """Angles (N,) between vectors (3, N) that need not be unit."""
    lengths = np.linalg.norm(one, axis=0) * np.linalg.norm(two, axis=0)
    return np.degrees(np.arccos(np.clip((one * two).sum(0) / np.maximum(lengths, 1e-12), -1, 1)))
