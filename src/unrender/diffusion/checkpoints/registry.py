"""Model ids to folders."""

from __future__ import annotations

import difflib
from pathlib import Path

from unrender.diffusion.card import ModelCard
from unrender.diffusion.card_file import CARD_FILE, read_card
from unrender.errors import UserError

_HERE = Path(__file__).parent


def embedded() -> dict[str, Path]:
    """The models that the package carries, id to folder."""
    return {path.parent.name: path.parent for path in sorted(_HERE.glob(f"*/{CARD_FILE}"))}


def cards() -> tuple[ModelCard, ...]:
    """The card of every model that can be named by id."""
    return tuple(read_card(folder) for folder in embedded().values())


def resolve(model: str | Path) -> Path:
    """The folder of a model: an id of an embedded model, or a path to a folder.

    Raises:
        UserError: it is neither; the nearest id is suggested.
    """
    known = embedded()
    if str(model) in known:
        return known[str(model)]
    if Path(model).is_dir():
        return Path(model)
    near = difflib.get_close_matches(str(model), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"right is {', '.join(known)} or a model folder"
    raise UserError(f"no model is called {model}, and there is no such folder; {hint}")


def find(model, direction=None):
    from unrender.diffusion.checkpoints.home import Home

    folder = resolve(model)
    return Home(read_card(folder), folder)


def find_decoder(model):
    return Path(model)
