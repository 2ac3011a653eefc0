"""A progress bar on a terminal, and nothing in a pipe."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def progress_bar(label: str, unit: str = "") -> Generator[Callable[[int, int | None], None]]:
    """Yields `show(done, total)`, with a total of None where nobody knows. It draws on stderr where that is a terminal
    and does nothing where it is not: how much is done, the time left, and of a `unit` how many there are a second."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
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
