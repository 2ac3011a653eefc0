"""Cards as files: `unrender.json` beside the weights, a table for each part of the card."""

from __future__ import annotations

import dataclasses
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrender.diffusion.card.conditioning import (
    DomainEmbedding,
    ImageTokens,
    LightTokens,
    MicroConditioning,
    TaskNumbers,
    TextPrompt,
    ViewLayers,
)
from unrender.diffusion.card.legacy import from_flat, is_flat
from unrender.diffusion.card.mistakes import mistake
from unrender.diffusion.card.model import ModelCard
from unrender.diffusion.card.sampling import FlowCard, KarrasCard, ScheduleCard
from unrender.errors import UserError
from unrender.files.notes import note
from unrender.files.paths import existing_file
from unrender.files.reading import brief, printable, reading

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

CARD_FILE = "unrender.json"

_UNION = (
    TextPrompt,
    TaskNumbers,
    ImageTokens,
    LightTokens,
    DomainEmbedding,
    MicroConditioning,
    ViewLayers,
    ScheduleCard,
    KarrasCard,
    FlowCard,
)


def write_card(card: ModelCard, folder: Path) -> None:
    """Writes `card` as `unrender.json` into `folder`."""
    (folder / CARD_FILE).write_text(json.dumps(card_as_dict(card), indent=2) + "\n")


def read_card(folder: Path) -> ModelCard:
    """Reads `unrender.json` from `folder`. One in the flat layout of unrender 0.1 is converted, which is said in a line
    on stderr.

    Raises:
        UserError: there is no card, or a field of it is missing, unknown or wrong.
    """
    path = folder / CARD_FILE
    if not path.is_file():
        raise UserError(f"{folder} has no {CARD_FILE}; expected a model folder with a card beside its weights")
    try:
        facts = json.loads(existing_file(path).read_bytes())
    except UserError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a model card ({brief(error)})") from error
    if not isinstance(facts, dict):
        raise UserError(f"{path} is not a model card: expected a table of its parts")
    if is_flat(facts):
        with reading(path, "a model card of unrender 0.1"):
            facts = from_flat(facts)
        note(path, "is read in the layout of unrender 0.1; saving the model writes it anew")
    return _validated(facts, path)


def card_as_dict(card: ModelCard) -> dict[str, object]:
    """The card as plain values, what equals the default left out: a card says only what sets its model apart."""
    return _without_defaults(card)


def _validated(facts: dict[str, Any], path: Path) -> ModelCard:
    from pydantic import ValidationError

    try:
        return _adapter().validate_json(json.dumps(facts), extra="forbid")
    except ValidationError as error:
        raise UserError(f"{path} is not a model card: {_first(error, facts)}") from error


def _first(error: ValidationError, facts: dict[str, Any]) -> str:
    """Where the first mistake is, and what it is. Of a tagged union only the member that its `kind` names counts."""
    for one in error.errors(include_url=False):
        inside: Any = facts
        where: list[str] = []
        other = False
        for part in one["loc"]:
            member = isinstance(part, str) and part[:1].isupper()
            if member:  # a class of a union
                kinds = {cls.kind for cls in _UNION if cls.__name__ == part}
                other = isinstance(inside, dict) and inside.get("kind") not in (*kinds, None)
                if other:
                    break
                continue
            where.append(str(part))
            inside = _step(inside, part)
        if not other:
            return _about(where, mistake(one))
    return _about([], mistake(error.errors(include_url=False)[0]))


def _about(where: list[str], what: str) -> str:
    """A mistake in one line of printable characters, after the name of its field."""
    return printable(f"{'.'.join(where)[:200] or 'it'} {what}")


def _step(inside: Any, part: int | str) -> Any:
    try:
        return inside[part]
    except (KeyError, IndexError, TypeError):
        return None


def _without_defaults(thing: object) -> dict[str, object]:
    said = {}
    for field in dataclasses.fields(thing):  # ty: ignore[invalid-argument-type]
        value = getattr(thing, field.name)
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if value != default or field.name == "kind":
            said[field.name] = _plain(value)
    return said


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value):
        return _without_defaults(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[ModelCard]:
    from pydantic import TypeAdapter

    return TypeAdapter(ModelCard)
