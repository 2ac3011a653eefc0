"""A worker: begins once, and answers to one item after the other. What it raises becomes a value that travels."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

from unrender.errors import UserError
from unrender.files.storage import storage_error
from unrender.scale.work import Item, ItemOutcome, Result, Tell, Work

THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Reply(Generic[Result]):
    """What a worker says of an item, or of its beginning.

    Attributes:
        result, reason, trace: see `ItemOutcome`.
        end: what ends the whole run, where something does.
        units: of progress since the last answer.
    """

    result: Result | None = None
    reason: str = ""
    trace: str = ""
    end: Exception | None = None
    units: int = 0

    def outcome(self, item: Item) -> ItemOutcome[Item, Result]:
        """The outcome of that item.

        Raises what ends the whole run.
        """
        self.check()
        return ItemOutcome(item, self.result, self.reason, self.trace)

    def check(self) -> None:
        """Raises what ends the whole run."""
        if self.end is not None:
            raise self.end


class Worker(Generic[Item, Result]):
    """Does items one by one, in whichever process it lives."""

    def __init__(self, work: Work[Item, Result], tell: Tell | None = None) -> None:
        self._work, self._tell = work, tell or self._count
        self._do: Callable[[Item], Result] | None = None
        self._units = 0

    def begin(self) -> Reply[Any]:
        """Begins, where that was not yet done."""
        if self._do is not None:
            return Reply()
        try:
            self._do = self._work.begin(self._tell)
        except (UserError, ModuleNotFoundError) as error:
            return Reply(end=error)
        except Exception as error:
            return Reply(end=storage_error(error) or RuntimeError(f"a worker cannot begin\n{traceback.format_exc()}"))
        return Reply()

    def answer(self, item: Item) -> Reply[Result]:
        """Does an item."""
        begun = self.begin()
        if self._do is None:
            return begun
        try:
            result = self._do(item)
        except ModuleNotFoundError as error:
            return Reply(end=error)
        except Exception as error:
            if (end := storage_error(error)) is not None:
                return Reply(end=end)
            if isinstance(error, UserError):
                return Reply(reason=str(error), units=self._taken())
            return Reply(reason=f"{type(error).__name__}: {error}", trace=traceback.format_exc(), units=self._taken())
        return Reply(result, units=self._taken())

    def _count(self, units: int) -> None:
        self._units += units

    def _taken(self) -> int:
        units, self._units = self._units, 0
        return units


def set_threads(count: int) -> None:
    """Makes this process compute on `count` threads, whether torch is loaded or comes later."""
    os.environ.update(dict.fromkeys(THREAD_COUNTS, str(count)))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
