"""The models that can be named by id, and which card an id stands for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from unrender.diffusion.card import ModelCard, Task
from unrender.diffusion.card.file import CARD_FILE, read_card
from unrender.diffusion.checkpoints.published import PUBLISHED, published
from unrender.errors import UserError

_HERE = Path(__file__).parents[1]

_OTHER_VERB: dict[Task, str] = {
    "forward": "a forward renderer (maps to picture); `unrender forward` takes it, or `relight --forward`",
    "inverse": "an inverse renderer (picture to maps); `unrender inverse` takes it",
    "text_to_image": "a text-to-image model (words to picture); `unrender generate` takes it",
    "multi_view": "a model of views; `unrender multiview` takes it",
}

_MADE_BY = {"mini-t2i": "text-to-image", "mini-mv": "viewdiff"}
"""Names of small models of our own, and the recipe that makes one, for copies of the package that come without."""


def embedded(task: Task = "inverse") -> dict[str, Path]:
    """The embedded models of one task, id to folder; a model with both directions has a folder for each."""
    return {card.id: folder for card, folder in _embedded() if card.task == task}


def cards() -> tuple[ModelCard, ...]:
    """The card of every model that can be named by id, embedded ones first; an id may have one per task."""
    return (*(card for card, _ in _embedded()), *PUBLISHED)


def known_ids() -> tuple[str, ...]:
    """Every id once, in the order of `cards`."""
    return tuple(dict.fromkeys(card.id for card in cards()))


def cards_of(model: str) -> tuple[ModelCard, ...]:
    """The cards of an id, one for each task it has.

    Raises:
        UserError: no model has that id; the nearest one is suggested.
    """
    found = tuple(card for card, _ in _embedded() if card.id == model) or published(model)
    if not found:
        raise unknown(model)
    return found


def pick(candidates: Sequence[ModelCard], task: Task | None) -> ModelCard:
    """The card of `task`; where that is None, the inverse one of two.

    Raises:
        UserError: there is none; the line says which verb takes the model.
    """
    if task is None:
        return next((card for card in candidates if card.task == "inverse"), candidates[0])
    for card in candidates:
        if card.task == task:
            return card
    raise UserError(f"{candidates[0].id} is {_OTHER_VERB.get(candidates[0].task, candidates[0].task)}")


def unknown(model: str) -> UserError:
    """The error for an id that no model has."""
    if model in _MADE_BY:
        return UserError(
            f"no {model} comes with this version; expected a published model's id or a folder of weights, "
            f"as `unrender train {_MADE_BY[model]}` writes"
        )
    names = {name.lower(): known for known in known_ids() for name in (known.rpartition("/")[2], known)}
    near = difflib.get_close_matches(model.lower(), names, n=1)
    hint = f"did you mean {names[near[0]]}?" if near else "`unrender models list` names them; a model folder works too"
    return UserError(f"no model is called {model}, and there is no such folder; {hint}")


def _embedded() -> list[tuple[ModelCard, Path]]:
    return [(read_card(path.parent), path.parent) for path in sorted(_HERE.glob(f"*/{CARD_FILE}"))]
