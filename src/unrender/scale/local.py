"""Executors of this machine: this process, or several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from unrender.errors import UserError
from unrender.scale.work import Item, ItemOutcome, Result, Tell, Work
from unrender.scale.worker import THREAD_COUNTS, Reply, Worker, set_threads

_TELL_SECONDS = 0.5
_here: list[Worker] = []  # in a worker's process: the worker


@dataclass(frozen=True)
class Inline:
    """This process, one item after the other."""

    def run(self, work: Work[Item, Result], items: Sequence[Item], tell: Tell) -> Iterator[ItemOutcome[Item, Result]]:
        """See `Executor.run`."""
        worker = Worker(work, tell)
        if items:
            worker.begin().check()
        for item in items:
            yield worker.answer(item).outcome(item)


@dataclass(frozen=True)
class Processes:
    """Several processes of this machine; they end with this one.

    Attributes:
        count: how many.

    Raises:
        UserError: fewer than one; when run, a worker that was killed from outside: nobody knows which item it had.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"{self.count} workers; expected 1 or more")

    def run(self, work: Work[Item, Result], items: Sequence[Item], tell: Tell) -> Iterator[ItemOutcome[Item, Result]]:
        """See `Executor.run`."""
        # New processes for every batch rather than `max_tasks_per_child`, with which an executor can deadlock (CPython
        # gh-115634).
        batch = self.count * work.needs.lifetime or max(1, len(items))
        for first in range(0, len(items), batch):
            yield from self._batch(work, items[first : first + batch], tell)

    def _batch(
        self, work: Work[Item, Result], items: Sequence[Item], tell: Tell
    ) -> Iterator[ItemOutcome[Item, Result]]:
        context, told = multiprocessing.get_context("spawn"), 0
        with _quiet_start():  # it starts a process that watches over it
            units = context.Value("q", 0)
        workers = min(self.count, len(items))
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(work, units))
        try:
            with threads_each(work.needs.threads), _quiet_start():  # what is submitted starts the workers
                pending = {pool.submit(_answer, item): item for item in items}
            while pending:
                ended, _ = wait(pending, timeout=_TELL_SECONDS, return_when=FIRST_COMPLETED)
                tell(units.value - told)
                told = units.value
                for future in ended:
                    answer: Reply[Result] = future.result()
                    yield answer.outcome(pending.pop(future))
            tell(units.value - told)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed from outside, perhaps out of memory; the same command resumes, "
                f"with fewer than {self.count} workers in less memory"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def threads_each(count: int) -> Generator[None]:
    """Processes started meanwhile have so many threads for linear algebra: numpy's BLAS reads the number when it is
    loaded, and the thread pools of several workers would compete for the same cores."""
    before = {name: os.environ.get(name) for name in THREAD_COUNTS}
    os.environ.update(dict.fromkeys(THREAD_COUNTS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet_start() -> Generator[None]:
    """Processes started meanwhile hear Ctrl-C only from `_begin` on: while they import they would report it. And where
    a signal ends this one, nobody warns of what it has not put away."""
    warnings = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (warnings, "ignore:resource_tracker:UserWarning")))
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if warnings is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = warnings


def _begin(work: Work[Item, Result], units: Any) -> None:
    """Makes a worker's process count its progress in `units`, and exit at once on Ctrl-C and when its parent ends."""

    def tell(more: int) -> None:
        with units.get_lock():
            units.value += more

    set_threads(work.needs.threads)
    _here.append(Worker(work, tell))
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()

    def end_after(process: multiprocessing.process.BaseProcess) -> None:
        process.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=end_after, args=(parent,), daemon=True).start()


def _answer(item: Item) -> Reply:
    return _here[0].answer(item)
