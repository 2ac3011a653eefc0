"""Cards as files: `unrender.json` beside the weights."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from unrender.diffusion.card import ModelCard
from unrender.errors import UserError

CARD_FILE = "unrender.json"


def write_card(card: ModelCard, folder: Path) -> None:
    """Writes `card` as `unrender.json` into `folder`."""
    (folder / CARD_FILE).write_text(json.dumps(card_as_dict(card), indent=2) + "\n")


def read_card(folder: Path) -> ModelCard:
    """Reads `unrender.json` from `folder`.

    Raises:
        UserError: there is no card, or a field of it is missing, unknown or wrong.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise UserError(f"{folder} has no {CARD_FILE}; a model folder with a card beside its weights is right")
    try:
        return _adapter().validate_json(path.read_bytes(), extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not a model card: {where + ': ' if where else ''}{first['msg']}") from error


def card_as_dict(card: ModelCard) -> dict[str, object]:
    """The card as plain values, what equals the default left out: a card says only what sets its model apart."""
    return _without_defaults(card)


def _without_defaults(thing: object) -> dict[str, object]:
    said = {}
    for field in dataclasses.fields(thing):  # ty: ignore[invalid-argument-type]
        value = getattr(thing, field.name)
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if value != default:
            said[field.name] = _plain(value)
    return said


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return _without_defaults(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[ModelCard]:
    return TypeAdapter(ModelCard)
