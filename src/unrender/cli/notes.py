"""What is said on the way of inputs that were read partly, or guessed: on stderr, and in run.json."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

LOGGER = "unrender"  # as `files.notes` has it, which --help does not wait for

_heard: list[str] = []


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in _heard:
            _heard.append(line)
            print(f"unrender: {line}", file=sys.stderr)


@contextmanager
def listening() -> Generator[None]:
    """Shows each note once, and keeps it for `heard`, while one command runs."""
    logger, handler = logging.getLogger(LOGGER), _Handler(logging.WARNING)
    _heard.clear()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def heard() -> tuple[str, ...]:
    """The notes of this run so far."""
    return tuple(_heard)
