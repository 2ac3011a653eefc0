"""Verbs take dataclasses; typer sees their fields as arguments and options."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import typer


def add_verb(app: typer.Typer, name: str, verb: Callable[..., None]) -> None:
    """Makes `verb` the command `name` of `app`.

    Every parameter of `verb` is a dataclass, whose fields (annotated with `typer.Argument` or `typer.Option`) become
    the command's; so a verb's settings are one value that can be checked, passed on and recorded as it is.
    """
    kinds = {name: kind for name, kind in get_type_hints(verb).items() if name != "return"}
    hints = {kind: get_type_hints(kind, include_extras=True) for kind in kinds.values()}

    def command(**values: Any) -> None:
        verb(**{name: kind(**{f.name: values[f.name] for f in fields(kind)}) for name, kind in kinds.items()})

    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[kind][field.name],
        )
        for kind in kinds.values()
        for field in fields(kind)
    ]
    command.__signature__ = inspect.Signature(parameters)  # ty: ignore[missing-attribute]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = verb.__doc__
    app.command(name)(command)
