"""What is done to items, what it needs, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Taken = TypeVar("Taken", contravariant=True)
Given = TypeVar("Given", covariant=True)
Tell = Callable[[int], None]
"""Is told how many units of progress more are done."""


@dataclass(frozen=True)
class Needs:
    """What a worker, a process that does one item after the other, needs.

    Attributes:
        threads: that it computes on. Their number decides the last bits of sums.
        gpu: whether it has a GPU for itself, where a cluster has some.
        lifetime: items after which another process takes its place, for what leaks memory; 0 for all.
    """

    threads: int = 1
    gpu: bool = False
    lifetime: int = 0


class Work(Protocol[Taken, Given]):
    """What is done to items. It can be pickled, and so can items and results, which are small: names, not pictures.

    An item may be begun more than once, where its worker is killed; so what it writes appears whole, and is known
    again.
    """

    @property
    def needs(self) -> Needs:
        """What a worker needs."""
        ...

    def begin(self, tell: Tell) -> Callable[[Taken], Given]:
        """What a worker does once (loads its model, say), and the function that does an item.

        A `UserError` of that function sets the item aside; one of `begin` ends the run.
        """
        ...


@dataclass(frozen=True)
class ItemOutcome(Generic[Item, Result]):
    """What came of an item.

    Attributes:
        item: it.
        result: what the work gave for it; None where it failed.
        reason: why it failed, in one line; "" where it did not.
        trace: the traceback, where the reason was none of the caller's mistakes.
    """

    item: Item
    result: Result | None = None
    reason: str = ""
    trace: str = ""


class Executor(Protocol):
    """Where items are done."""

    def run(self, work: Work[Item, Result], items: Sequence[Item], tell: Tell) -> Iterator[ItemOutcome[Item, Result]]:
        """Does every item once, and gives the outcomes as they come; no more items are under way than there are
        workers.

        Raises:
            UserError: the work cannot begin, or there is nobody to do it.
            OSError: a disk has no room, or fails: that is nobody's item's fault.
        """
        ...
