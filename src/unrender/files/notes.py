"""What was read partly, or guessed, said in one line."""

from __future__ import annotations

import logging

LOGGER = "unrender"
"""The logger that notes go to; the command line shows them and puts them into run.json."""


def note(line: str) -> None:
    """Says one line about an input that was read, though not as its maker may have meant it. Python prints it on
    stderr, unless the program that uses unrender has set up logging otherwise."""
    logging.getLogger(LOGGER).warning("%s", " ".join(line.split()))
