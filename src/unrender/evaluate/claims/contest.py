"""Measures contestants: all run on the same items, one after the other, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.judging import Answer
from unrender.evaluate.claims.models import Models
from unrender.evaluate.report import Scores

Progress = Callable[[], None]


@dataclass(frozen=True)
class Discipline:
    """How contestants answer for items of one kind. Only answering is timed.

    Attributes:
        answer: what a contestant makes of an item.
        score: the figures of that.
        warm_up: whether each contestant runs once, with one step, before it is timed.
    """

    answer: Callable[[Contestant, Any, Models], Any]
    score: Callable[[Contestant, Any, Any, Models], Scores]
    warm_up: bool = False


def measure(
    discipline: Discipline, contestants: Sequence[Contestant], items: Sequence[Any], models: Models, progress: Progress
) -> dict[Contestant, Answer]:
    """Runs contestants on items. All contestants run on an item before the next one.

    Args:
        progress: called after every result.
    """
    rows: dict[Contestant, list[Scores]] = {one: [] for one in contestants}
    seconds: dict[Contestant, list[float]] = {one: [] for one in contestants}
    if discipline.warm_up:  # excluded from the timing
        for one in contestants:
            discipline.answer(replace(one, steps=1, ensemble_size=1), items[0], models)
    for item in items:
        for one in contestants:
            start = time.perf_counter()
            answer = discipline.answer(one, item, models)
            seconds[one].append(time.perf_counter() - start)
            rows[one].append(discipline.score(one, answer, item, models))
            progress()
    return {one: Answer(rows[one], seconds[one], models.trained(one)) for one in contestants}
