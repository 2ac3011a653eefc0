"""Readers that the nouns of this room offer as methods, lent by rooms above it.

`scene` knows of no file format, and `EnvironmentMap.read` is where people look for one. The package's own page
(`unrender/__init__.py`), which Python runs before any module of the package, lends the reader here; it is imported
when it is first called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_READERS: dict[str, Callable[..., Any]] = {}


def lend(noun: str, reader: Callable[..., Any]) -> None:
    """Makes `reader` what `read(noun, ...)` calls."""
    _READERS[noun] = reader


def read(noun: str, *args: Any) -> Any:
    """What the reader that was lent for `noun` makes of `args`."""
    return _READERS[noun](*args)
