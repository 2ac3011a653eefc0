"""A progress bar on a terminal; elsewhere a line now and then, and none of what is soon done."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")

FIRST_LINE, NEXT_LINE = 10.0, 30.0
"""Seconds, where there is no terminal."""


_silent: list[bool] = []


@contextmanager
def silent() -> Generator[None]:
    """No progress is shown of what runs in the block: it is one item of many, whose progress is shown."""
    _silent.append(True)
    try:
        yield
    finally:
        _silent.pop()


@contextmanager
def progress_bar(label: str, unit: str = "") -> Generator[Callable[[int, int | None], None]]:
    """Yields `show(done, total)`, with a total of None where nobody knows. It draws on stderr where that is a terminal:
    how much is done, the time left, and of a `unit` how many there are a second. Where it is none, it prints a line
    after `FIRST_LINE` seconds and then every `NEXT_LINE`."""
    if _silent:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[rate]}"))
    # Over ten minutes: what comes in bursts, as clips do, has a steady rate all the same.
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=600) as progress:
        task = progress.add_task(label, total=None, rate="")
        start = time.monotonic()
        before: list[int] = []  # what an earlier run had done when this one began

        def show(done: int, total: int | None) -> None:
            if not before:
                before.append(done)
            more = done - before[0]
            rate = f"{more / (time.monotonic() - start):.2f} {unit}/s" if unit and more else ""
            progress.update(task, completed=done, total=total, rate=rate)

        yield show


def _lines(label: str) -> Callable[[int, int | None], None]:
    start = time.monotonic()
    before: list[int] = []  # what an earlier run had done when this one began
    due = [start + FIRST_LINE]

    def show(done: int, total: int | None) -> None:
        if not before:
            before.append(done)
        now = time.monotonic()
        if now < due[0] or done == total:
            return
        due[0] = now + NEXT_LINE
        line = f"{label}: {done}" + (f" of {total}" if total else "")
        if total and done > before[0]:
            line += f", about {_duration((now - start) * (total - done) / (done - before[0]))} left"
        print(line, file=sys.stderr, flush=True)

    return show


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{round(seconds)} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def track(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Passes `items` on and shows how many have gone by."""
    with progress_bar(label) as show:
        iterator, made, done = iter(items), [], 0
        while True:
            try:
                made.append(next(iterator))
            except StopIteration:
                return
            show(done, total)
            yield made.pop()  # and is not kept: it may be as large as a picture
            done += 1
