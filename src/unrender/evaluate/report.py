"""The results of a protocol, as a table, Markdown or JSON; each number with its colour space, mask and alignment."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any


@dataclass(frozen=True)
class Figure:
    """The definition of a number.

    Attributes:
        map: of what, such as "base_color".
        name: which figure, such as "PSNR"; `docs/metrics.md` has the formula.
        unit: its unit, "" for none.
        space: the colour space of the values that were compared, or the axes of those that are no colours.
        mask: which pixels counted; the protocol says what the word means.
        alignment: what was fitted to the truth before comparing, "none" where nothing was.
        higher_is_better: whether more of it is better.
    """

    map: str
    name: str
    unit: str
    space: str
    mask: str
    alignment: str = "none"
    higher_is_better: bool = False


Scores = dict[Figure, float]


@dataclass(frozen=True)
class Report:
    """The results of a protocol.

    Attributes:
        protocol: in words: data, masks, alignments, averages.
        pictures: how many were measured.
        answers: name of an answer ("model", or a trivial one) to its scores; the first is the report's subject, the
            second its baseline.
    """

    protocol: str
    pictures: int
    answers: dict[str, Scores]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures that were measured of the first answer."""
        return tuple(next(iter(self.answers.values())))


def mean_scores(rows: Iterable[Scores]) -> Scores:
    """The mean of each figure over pictures. A picture that has none (NaN: its mask is empty) is left out of it; NaN
    where no picture has one."""
    rows = list(rows)
    return {figure: _mean(row[figure] for row in rows if figure in row) for figure in rows[0]}


def table(report: Report) -> str:
    """The report as lines of text: a row a figure, a column an answer, and the first against the second."""
    rows = _cells(report)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = len(_WORDS)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(report: Report) -> str:
    """The report as a Markdown table, with the protocol below."""
    head, *rows = _cells(report)
    rule = ["---"] * len(_WORDS) + ["---:"] * (len(head) - len(_WORDS))
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))
    return f"{lines}\n\n{report.pictures} pictures; {report.protocol}.\n"


def as_dict(report: Report) -> dict[str, Any]:
    """The report as plain values for JSON, which cannot express two of them: NaN is None, infinity is "inf"."""
    figures = [
        asdict(figure)
        | {"values": {name: _plain(scores.get(figure, math.nan)) for name, scores in report.answers.items()}}
        for figure in report.figures
    ]
    return {"protocol": report.protocol, "pictures": report.pictures, "figures": figures}


_WORDS = ("map", "figure", "space", "mask", "alignment")


def _cells(report: Report) -> list[list[str]]:
    names = list(report.answers)
    beside = [f"{names[0]} / {names[1]}"] if len(names) > 1 else []
    rows = [[*_WORDS, *names, *beside]]
    for figure in report.figures:
        values = [scores.get(figure) for scores in report.answers.values()]
        numbers = ["-" if value is None else f"{value:.3f} {figure.unit}".strip() for value in values]
        compared = [_compare(figure, *values[:2])] if beside else []
        rows.append([figure.map, figure.name, figure.space, figure.mask, figure.alignment, *numbers, *compared])
    return rows


def _compare(figure: Figure, value: float | None, other: float | None) -> str:
    if value is None or other is None:
        return "-"
    if figure.higher_is_better:
        return f"{value - other:+.2f} {figure.unit}".strip()
    # The baseline can be exact: every metallic of a small set may be the same.
    return f"{100 * value / other:.0f} %" if other else "-"


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def _plain(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)
