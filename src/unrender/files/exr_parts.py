"""Which channel of which part of an EXR is which: parts that stand for layers, and views.

A file of several parts names its layers by parts: part `albedo` with the channels R, G and B is the layer `albedo`. A
view's name is the last piece of a part's name or of a layer's, and is taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unrender.files.layers import is_picture_name

_PICTURE_CHANNELS = frozenset({"r", "g", "b", "a", "y", "red", "green", "blue", "alpha", "ry", "by"})
_VECTOR_CHANNELS = frozenset({"x", "y", "z"})


@dataclass(frozen=True)
class Naming:
    """Channels by the names that they are known by.

    Attributes:
        channels: (number of the part, channel's name there) by full name.
        main: number of the part with the picture, whose header counts.
        notes: what was left out, for people.
    """

    channels: dict[str, tuple[int, str]]
    main: int
    notes: tuple[str, ...] = ()


def name_channels(parts: Sequence[tuple[Mapping[str, Any], tuple[str, ...]]]) -> Naming:
    """Names the channels of parts, each given by its header and its channels' names."""
    views = list(dict.fromkeys(_views(parts)))
    wanted, others = (views[0], views[1:]) if views else ("", [])
    found: dict[str, tuple[int, str]] = {}
    main, bare_parts = 0, []
    for index, (header, names) in enumerate(parts):
        own = str(header.get("view", "")) if len(parts) > 1 else ""
        if own and own != wanted:
            continue
        base = _without_view(str(header.get("name", "")), own) if len(parts) > 1 else ""
        if is_picture_name(base) and base and not is_picture_name(_base(parts[main])):
            main = index
        for name in names:
            full = _full_name(base, name, names)
            if full is None:
                bare_parts.append(index)
                full = name
            full = _in_one_view(full, wanted, others)
            if full is not None:
                found.setdefault(full, (index, name))
    notes = (f"has the views {', '.join(views)}, and {wanted} alone is used",) if len(views) > 1 else ()
    return Naming(found, main, notes)


def _base(part: tuple[Mapping[str, Any], tuple[str, ...]]) -> str:
    header, _ = part
    return _without_view(str(header.get("name", "")), str(header.get("view", ""))) or "?"


def _views(parts: Sequence[tuple[Mapping[str, Any], tuple[str, ...]]]) -> list[str]:
    """The views of a file, the one that counts first."""
    many = [str(view) for header, _ in parts for view in header.get("multiView", ())]
    return many or ([str(header["view"]) for header, _ in parts if header.get("view")] if len(parts) > 1 else [])


def _without_view(name: str, view: str) -> str:
    for mark in "._-":
        if view and name.endswith(mark + view):
            return name[: -len(view) - 1]
        if view and name.startswith(view + mark):
            return name[len(view) + 1 :]
    return "" if view and name == view else name


def _full_name(base: str, name: str, names: tuple[str, ...]) -> str | None:
    """A channel's name with its layer; None where it needs none."""
    if "." in name or not base:
        return name
    plain = {other.lower() for other in names}
    colour_beside = bool(plain & {"r", "g", "b", "red", "green", "blue"})
    if name.lower() == "z" and (colour_beside or not {"x", "y"} <= plain):
        return name  # depth, beside a picture or alone
    if name.lower() in _PICTURE_CHANNELS | _VECTOR_CHANNELS or len(names) == 1:
        return f"{base}.{name}"
    return name


def _in_one_view(full: str, wanted: str, others: Sequence[str]) -> str | None:
    """A channel's name without its view; None in a view that is not wanted."""
    layer, _, last = full.rpartition(".")
    pieces = layer.split(".") if layer else []
    if any(piece in others for piece in pieces):
        return None
    if others and wanted in pieces:
        pieces.remove(wanted)
    return ".".join((*pieces, last))
