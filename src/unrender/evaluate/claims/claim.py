"""A claim of a paper, as data: what it says, and the rules by which it is judged."""

from __future__ import annotations

from dataclasses import dataclass

from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.judging import Below, Rule
from unrender.evaluate.report import Figure

NEARLY_EQUAL = 1.1
"""E2E-FT's own Table 1: the fixed single step errs up to 1.09 times as much as 50 x 10 (KITTI, 10.8 against 9.9)."""


@dataclass(frozen=True)
class Claim:
    """What a paper claims.

    Attributes:
        id: short, for tables and files.
        paper, where: who says it, and where in the paper.
        says: what it says, in our words, with its figures where they could be read.
        rules: by which it is judged; all have to hold.
        figures: what the table shows of each contestant, as far as it has them.
        shown: contestants listed in the table beside those of the rules.
    """

    id: str
    paper: str
    where: str
    says: str
    rules: tuple[Rule, ...]
    figures: tuple[Figure, ...]
    shown: tuple[Contestant, ...] = ()

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        """The contestants whose figures it needs, each once."""
        return tuple(dict.fromkeys([*(one for rule in self.rules for one in rule.contestants), *self.shown]))

    @property
    def rule(self) -> str:
        """All rules in words."""
        return "; ".join(rule.words for rule in self.rules)


def below(first: Contestant, second: Contestant, figures: tuple[Figure, ...], factor: float = 1.0) -> tuple[Below, ...]:
    """The error of `first` is below `factor` times that of `second`, by each of several figures."""
    return tuple(Below(first, second, figure, factor) for figure in figures)
