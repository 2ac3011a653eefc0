"""All verbs together, and how a command ends: with what status, and with what line."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

import typer
from typer.exceptions import TyperException

from unrender.cli import (
    doctor,
    edit,
    evaluate_claims,
    forward,
    generate,
    insert,
    inverse,
    label,
    light,
    lights,
    models,
    multiview,
    relight,
    serve,
    studio,
    synth,
    train_clips,
)
from unrender.cli.messages import callers_mistake, one_line, storage_trouble
from unrender.cli.notes import notes_shown
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
add_verb(app, "edit", edit.edit)
add_verb(app, "generate", generate.generate)
add_verb(app, "insert", insert.insert)
add_verb(app, "multiview", multiview.multiview)
add_verb(app, "light", light.light)
add_verb(app, "synth", synth.synth)
add_verb(app, "label", label.label)
add_verb(app, "studio", studio.studio)
add_verb(app, "serve", serve.serve)
add_verb(app, "doctor", doctor.doctor)
for group in (train_clips.app, evaluate_claims.app, models.app, lights.app):
    app.add_typer(group)


def run(commands: typer.Typer, arguments: Sequence[str]) -> int:
    """Runs one of `commands` and returns the exit status.

    0 done; 2 the caller's mistake (one line on stderr); 1 ours (a traceback), a full disk, or results with frames
    missing (one line); 130 interrupted. As a process of its own, a command that a signal ends has 128 + its number.
    """
    try:
        with notes_shown():
            return commands(args=list(arguments) or ["--help"], prog_name="unrender", standalone_mode=False) or DONE
    except (UserError, TyperException) as mistake:
        if (line := storage_trouble(mistake)) is not None:
            return _say(line, OURS)
        message = mistake.format_message() if isinstance(mistake, TyperException) else str(mistake)
        return _say(message.replace(": Value error, ", ": "), CALLERS_MISTAKE)  # typer hands on pydantic's heading
    except (KeyboardInterrupt, typer.Abort) as stopped:
        if isinstance(stopped.__cause__, EOFError):  # typer takes the end of any file for the end of what is typed
            return _ours()
        return INTERRUPTED
    except Exception as error:
        if (line := storage_trouble(error)) is not None:
            return _say(line, OURS)
        if (line := callers_mistake(error)) is not None:
            return _say(line, CALLERS_MISTAKE)
        return _ours()


def _say(line: str, status: int) -> int:
    print(f"unrender: {one_line(line)}", file=sys.stderr)
    return status


def _ours() -> int:
    traceback.print_exc()
    return OURS
