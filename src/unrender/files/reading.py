"""One boundary round every library that reads a file: whatever it raises is one line that names the file."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from unrender.errors import UserError

_LONGEST = 120


@contextmanager
def reading(path: str | Path, kind: str) -> Generator[None]:
    """Reads `path` as a `kind` (with its article, as in "a mesh") inside the block.

    Raises:
        UserError: in place of any exception, those of the caller's own mistakes apart, which pass.
    """
    try:
        yield
    except UserError as error:
        if str(error).isprintable():
            raise
        # Control characters of a file have no place on a terminal.
        raise UserError(printable(str(error))) from error
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory as {kind}; expected a smaller file") from error
    except Exception as error:
        raise UserError(
            f"{path} cannot be read as {kind}; it is damaged, truncated or another format ({brief(error)})"
        ) from error


def brief(error: BaseException) -> str:
    """What an exception says, on one line of printable characters, and not at length."""
    said = printable(str(error)[: 4 * _LONGEST])
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}..."
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def printable(said: str) -> str:
    """Text on one line, without what a terminal would obey."""
    return " ".join("".join(character if character.isprintable() else " " for character in said).split())
