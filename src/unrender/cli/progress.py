"""A progress bar on a terminal, and nothing in a pipe."""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def progress_bar(label: str) -> Generator[Callable[[int, int | None], None]]:
    """Yields `show(done, total)`, with a total of None where nobody knows. It draws on stderr where that is a terminal
    and does nothing where it is not."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def track(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """Passes `items` on and shows how many have gone by."""
    with progress_bar(label) as show:
        for done, item in enumerate(items):
            show(done, total)
            yield item
