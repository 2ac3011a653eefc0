"""The doors: `unrender VERB ...`. One file per verb; each parses, calls one function and reports.

Nothing here imports torch before a verb runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

import typer
from typer.exceptions import TyperException

from unrender.cli import doctor, evaluate, forward, inverse, lights, models, relight, synth, train
from unrender.cli.verb import add_verb
from unrender.errors import UserError

DONE, OURS, CALLERS_MISTAKE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="unrender",
    help="Take pictures apart into geometry, material and light, change any of them, and put them back together.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"unrender {version('unrender')}")
        raise typer.Exit


@app.callback()
def _common(
    show_version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    """Take pictures apart into geometry, material and light, change any of them, and put them back together."""


add_verb(app, "inverse", inverse.inverse)
add_verb(app, "forward", forward.forward)
add_verb(app, "relight", relight.relight)
add_verb(app, "synth", synth.synth)
add_verb(app, "doctor", doctor.doctor)
for group in (train.app, evaluate.app, models.app, lights.app):
    app.add_typer(group)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, `sys.argv[1:]` by default, and returns its exit status; see `run`."""
    return run(app, sys.argv[1:] if arguments is None else arguments)


def run(commands: typer.Typer, arguments: Sequence[str]) -> int:
    """Runs one of `commands` and returns the exit status.

    0 done, 2 the caller's mistake (one line on stderr), 1 ours (a traceback), 130 interrupted.
    """
    try:
        return commands(args=list(arguments) or ["--help"], prog_name="unrender", standalone_mode=False) or DONE
    except (UserError, TyperException) as mistake:
        message = mistake.format_message() if isinstance(mistake, TyperException) else str(mistake)
        print(f"unrender: {' '.join(message.split())}", file=sys.stderr)
        return CALLERS_MISTAKE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return OURS
