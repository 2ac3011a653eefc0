"""What readers guessed or left out: one line each on stderr, and in the run's record."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

_taken: dict[str, str] = {}


class _Lines(logging.Handler):
    """Prints what is new; of a clip's frames, which all say the same, the first."""

    def emit(self, record: logging.LogRecord) -> None:
        said = str(record.args[1]) if isinstance(record.args, tuple) and len(record.args) == 2 else record.getMessage()
        if said in _taken:
            return
        _taken[said] = " ".join(record.getMessage().split())
        print(f"unrender: {_taken[said]}", file=sys.stderr)


@contextmanager
def notes_shown() -> Generator[None]:
    """Shows notes while a command runs, and keeps them for `taken`."""
    logger = logging.getLogger("unrender.files")
    handler, propagates = _Lines(logging.WARNING), logger.propagate
    _taken.clear()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates


def taken() -> list[str]:
    """The notes of the command that runs, or ran last."""
    return list(_taken.values())
