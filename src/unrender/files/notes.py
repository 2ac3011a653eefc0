"""What a reader guessed or left out, said in one line: on stderr, and in the run's record."""

from __future__ import annotations

import logging
from pathlib import Path

LOGGER = logging.getLogger("unrender.files")
"""Where notes go. Nothing is set up for it: Python prints warnings that nobody handles on stderr."""


def note(path: str | Path, what: str) -> None:
    """Says what was guessed or left out of `path`, as "PATH: WHAT" (the record's `args` have both apart)."""
    LOGGER.warning("%s: %s", path, " ".join(what.split()))
