"""Catalogues of furniture as Sweet Home 3D has them: what each model is, how large, and who made it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from unrender.errors import UserError

CATALOGUE = "PluginFurnitureCatalog.properties"
_LARGEST = 40.0  # metres


@dataclass(frozen=True)
class CatalogueModel:
    """A model of a catalogue.

    Attributes:
        path: of its mesh file, +Y up, its front towards +Z.
        name, category, creator: as the catalogue says.
        size: (width, height, depth) in metres, along x, y and z after `rotation`.
        rotation: (9,) row by row, which the mesh is turned by first; None for none.
        top: height in metres at which things can be put on it, None where they cannot.
        elevation: in metres, of its lowest point above the floor.
        opening: whether it is a door or a window.
    """

    path: Path
    name: str
    category: str
    creator: str
    size: tuple[float, float, float]
    rotation: tuple[float, ...] | None
    top: float | None
    elevation: float
    opening: bool


def read_catalogue(path: Path) -> tuple[CatalogueModel, ...]:
    """The models of a `PluginFurnitureCatalog.properties`, in the order of their numbers; its lengths are in
    centimetres. Models whose file is not there are left out.

    Raises:
        UserError: the file names no model that is there, or a size is no length.
    """
    entries: dict[int, dict[str, str]] = {}
    for line in path.read_text("latin-1").splitlines():
        found = re.match(r"\s*(\w+)#(\d+)\s*[=:]\s*(.*)", line)
        if found:
            entries.setdefault(int(found[2]), {})[found[1]] = _unescaped(found[3].strip())
    models = [_model(path, entry) for _, entry in sorted(entries.items()) if "model" in entry]
    there = tuple(model for model in models if model.path.is_file())
    if not there:
        raise UserError(f"{path} names no model that is there; expected the unpacked archive that it came in")
    return there


def _model(path: Path, entry: dict[str, str]) -> CatalogueModel:
    width, height, depth = (_metres(path, entry, name) for name in ("width", "height", "depth"))
    if not all(0 < side <= _LARGEST for side in (width, height, depth)):
        raise UserError(f"{path}: {entry['model']} is {width} x {height} x {depth} m; expected up to {_LARGEST:.0f} m")
    rotation = tuple(float(number) for number in entry.get("modelRotation", "").split())
    drop = _metres(path, entry, "dropOnTopElevation") if "dropOnTopElevation" in entry else None
    if drop is None:
        drop = height if re.search(r"table|desk|chest|cabinet|dresser|counter|stool|shelf", entry["name"], re.I) else -1
    return CatalogueModel(
        path=path.parent / entry["model"].lstrip("/"),
        name=entry.get("name", "thing").lower(),
        category=entry.get("category", ""),
        creator=entry.get("creator", ""),
        size=(width, height, depth),
        rotation=rotation if len(rotation) == 9 else None,
        top=drop if drop > 0 else None,
        elevation=_metres(path, entry, "elevation") if "elevation" in entry else 0.0,
        opening=entry.get("doorOrWindow", "false") == "true",
    )


def _metres(path: Path, entry: dict[str, str], name: str) -> float:
    try:
        return float(entry[name]) / 100
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: {name} of {entry['model']} is no number; expected centimetres") from error


def _unescaped(text: str) -> str:
    """Java's escapes of characters."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text).replace("\\", "")
