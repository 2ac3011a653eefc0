"""The doors: `unrender VERB ...`. One file per verb; each parses, calls one function and reports.

Nothing here imports torch before a verb runs, so that `--help` answers at once; and this page imports nothing at all,
so that a signal is heard while the rest is imported (see `process`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, and returns its exit status; see `run`.

    Without `arguments` it is that of `sys.argv`, and the process is the command's: see `process.begin`.
    """
    if arguments is not None:
        return _run(arguments)
    import sys

    from unrender.cli import process

    process.begin(sys.argv[1:])
    status = _run(sys.argv[1:])
    process.end()
    return status


def run(commands: typer.Typer, arguments: Sequence[str]) -> int:
    """Runs one of `commands` and returns the exit status; see `commands.run`."""
    from unrender.cli.commands import run

    return run(commands, arguments)


def _run(arguments: Sequence[str]) -> int:
    from unrender.cli.commands import app, run

    return run(app, arguments)
