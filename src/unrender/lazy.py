"""Pages of names that are imported when first used (PEP 562), so that importing a page costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    page: str, homes: Mapping[str, Iterable[str]], rooms: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What makes a package a page: its `__getattr__`, `__dir__` and `__all__`.

    Args:
        page: the package's `__name__`.
        homes: the names by the module they are in, relative to the package; "RECIPES as E2E_RECIPES" where a name is
            called otherwise on the page.
        rooms: packages below this one that are attributes of it, too; `from page import *` leaves them out.
    """
    places = {}
    for home, names in homes.items():
        for name in names:
            original, _, renamed = name.partition(" as ")
            places[renamed or original] = (f"{page}.{home}", original)
    known_rooms = frozenset(rooms)

    def get(name: str) -> Any:
        if name in known_rooms:
            return import_module(f"{page}.{name}")
        if name not in places:
            raise AttributeError(f"module {page!r} has no attribute {name!r}")
        module, original = places[name]
        value = getattr(import_module(module), original)
        setattr(sys.modules[page], name, value)
        return value

    return get, lambda: sorted((*places, *known_rooms)), sorted(places)
