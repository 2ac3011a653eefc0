"""`--shard I/N`: one of N parts of the items, for machines that know nothing of one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unrender.errors import UserError
from unrender.scale.work import Item


@dataclass(frozen=True)
class Part:
    """Every `count`-th item, from the `index`-th on, counted from 1.

    Raises:
        UserError: index outside 1 to count.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise UserError(f"shard {self.index}/{self.count}; expected i/n with i from 1 to n")

    @classmethod
    def parse(cls, text: str) -> Part:
        """`2/8`.

        Raises:
            UserError: anything else.
        """
        first, slash, second = text.partition("/")
        if not (slash and all(number.isascii() and number.isdigit() for number in (first, second))):
            raise UserError(f"--shard {text}; expected I/N, such as 2/8")
        return cls(int(first), int(second))

    @property
    def label(self) -> str:
        """ "2-of-8" for names of files, "" where it is the whole."""
        return "" if self.count == 1 else f"{self.index}-of-{self.count}"

    def has(self, number: int) -> bool:
        """Whether the item of that number, from 0, is in it."""
        return number % self.count == self.index - 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Those of `items` that are in it."""
        return list(items[self.index - 1 :: self.count])


WHOLE = Part()
