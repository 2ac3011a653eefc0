"""From figures to verdicts. Contestants are compared picture by picture, so that differences are told from noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Literal, Protocol

from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.report import Figure, Scores, mean_scores

Word = Literal["replays", "does not replay", "undecided", "not measured"]


@dataclass(frozen=True)
class Answer:
    """The measurements of a contestant.

    Attributes:
        rows: its figures, picture by picture.
        seconds: the time of each picture.
        trained: optimiser steps of each of its models; None where unknown.
    """

    rows: Sequence[Scores]
    seconds: Sequence[float]
    trained: tuple[int | None, ...] = ()

    @property
    def scores(self) -> Scores:
        """The means over pictures."""
        return mean_scores(self.rows)

    @property
    def typical_seconds(self) -> float:
        """The median over pictures, which a slow first picture does not change."""
        return median(self.seconds)


Evidence = Mapping[Contestant, Answer]


@dataclass(frozen=True)
class Verdict:
    """A verdict's word, and the reason."""

    word: Word
    why: str


class Rule(Protocol):
    """One part of a claim, as a test on figures."""

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """The contestants whose figures it needs."""
        ...

    @property
    def words(self) -> str:
        """The rule in words."""
        ...

    def __call__(self, evidence: Evidence) -> Verdict:
        """The verdict by these figures."""
        ...


@dataclass(frozen=True)
class Below:
    """The error of `first` is below `factor` times that of `second`.

    Tested picture by picture: the mean of factor x second - first (of PSNR: first - second + 20 log10 factor, as for
    root mean square errors) has to be above zero by twice its standard error; below by as much fails; anything between
    is undecided.
    """

    first: Contestant
    second: Contestant
    figure: Figure
    factor: float = 1.0

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """Both."""
        return self.first, self.second

    @property
    def words(self) -> str:
        """The rule in words."""
        factor = "" if self.factor == 1 else f"{self.factor:.3g} x "
        sign = "<"
        error = self.figure.name
        if self.figure.unit == "dB":
            error = f"{error}'s RMSE"
        elif self.figure.higher_is_better:
            sign = ">"
        return f"{self.figure.map} {error}{pixels_of(self.figure)}: {self.first.name} {sign} {factor}{self.second.name}"

    def __call__(self, evidence: Evidence) -> Verdict:
        """`replays`, `does not replay`, or `undecided`; `not measured` where no picture has the figure of both."""
        pairs = [
            (first[self.figure], second[self.figure])
            for first, second in zip(evidence[self.first].rows, evidence[self.second].rows, strict=True)
            if math.isfinite(first[self.figure] + second[self.figure])
        ]
        what = f"{self.figure.map} {self.figure.name}{pixels_of(self.figure)} ({self.figure.space})"
        if not pairs:
            return Verdict("not measured", f"{what}: no picture has both figures")
        means = " against ".join(f"{fmean(values):.3g}" for values in zip(*pairs, strict=True))
        margins = [self._margin(*pair) for pair in pairs]
        margin, chance = fmean(margins), 2 * _standard_error(margins)
        word: Word = "undecided" if not abs(margin) > chance else "replays" if margin > 0 else "does not replay"
        unit = f" {self.figure.unit}" if self.figure.unit else ""
        return Verdict(word, f"{what} {means}{unit}, margin {margin:+.2g} ± {chance:.2g} on {len(pairs)}")

    def _margin(self, first: float, second: float) -> float:
        if self.figure.higher_is_better:
            return first - second + 20 * math.log10(self.factor)
        return self.factor * second - first


@dataclass(frozen=True)
class Faster:
    """`first` takes at most 1 / `times` of what `second` takes, by the medians of one run."""

    first: Contestant
    second: Contestant
    times: float

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """Both."""
        return self.first, self.second

    @property
    def words(self) -> str:
        """The rule in words."""
        return f"time: {self.first.name} at least {self.times:g} times faster than {self.second.name}"

    def __call__(self, evidence: Evidence) -> Verdict:
        """`replays` or `does not replay`."""
        ratio = evidence[self.second].typical_seconds / evidence[self.first].typical_seconds
        return Verdict("replays" if ratio >= self.times else "does not replay", f"{ratio:.3g} times faster")


@dataclass(frozen=True)
class TrainedAlike:
    """The models of all contestants were trained for equally many steps, as far as their runs say."""

    contestants: tuple[Contestant, ...]

    @property
    def words(self) -> str:
        """The rule in words."""
        return "trained equally long"

    def __call__(self, evidence: Evidence) -> Verdict:
        """`replays`, or `not measured` for the whole claim where the numbers of steps differ."""
        steps = [step for who in self.contestants for step in evidence[who].trained]
        summary = "trained for " + ", ".join("?" if step is None else str(step) for step in steps) + " steps"
        return Verdict("replays" if len({step for step in steps if step is not None}) < 2 else "not measured", summary)


def judge(rules: Sequence[Rule], evidence: Evidence) -> Verdict:
    """The verdict on a claim of several parts: the worst of theirs."""
    parts = [rule(evidence) for rule in rules]
    words: tuple[Word, ...] = ("not measured", "does not replay", "undecided", "replays")
    return Verdict(next(word for word in words if any(part.word == word for part in parts)), _why(parts))


def _why(parts: Sequence[Verdict]) -> str:
    return "; ".join(f"{part.word}: {part.why}" if len(parts) > 1 else part.why for part in parts)


def pixels_of(figure: Figure) -> str:
    """The pixels that count, where they are not simply all surfaces."""
    return "" if figure.mask == "surface" else f" of {figure.mask}"


def _standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean; infinite for a single value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
