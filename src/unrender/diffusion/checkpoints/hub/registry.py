"""Resolves models to the folders that hold them: embedded, pulled, or the caller's own."""

from __future__ import annotations

from pathlib import Path

from unrender.diffusion.card import ModelCard, Task
from unrender.diffusion.checkpoints.hub.cache import pulled, store
from unrender.diffusion.checkpoints.hub.components import is_whole
from unrender.diffusion.checkpoints.hub.ids import cards, cards_of, embedded, known_ids, pick, unknown
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.hub.recognise import cached_model, local_model
from unrender.errors import UserError

__all__ = ["cards", "embedded", "find", "resolve"]


def find(model: str | Path, task: Task | None = None) -> ModelLocation:
    """Where a model is on this machine: an embedded or published id, a folder of weights, or the id of a repository in
    Stable Diffusion's layout that is in the hub's cache. Nothing is downloaded.

    Args:
        task: the task to find; None takes either, and the inverse one of an id that has both.

    Raises:
        UserError: no model has that id (the nearest is suggested), it was never pulled, it has the other task
            only, or the folder does not say whose weights it holds.
    """
    name = str(model)
    if name in known_ids():
        card = pick(cards_of(name), task)
        folder = embedded(card.task).get(name)
        # Views are stored as the layers that they add to a picture model, which ships too.
        base = embedded("text_to_image").get(card.identity.source.fallback)
        return ModelLocation(card, folder, base) if folder else _pulled(card)
    if Path(model).is_dir():
        return local_model(Path(model), task)
    location = cached_model(name, task)
    if location is None:
        raise unknown(name)
    return location


def resolve(model: str | Path) -> Path:
    """The folder of an embedded inverse model, or a folder itself, whatever weights it holds.

    Raises:
        UserError: it is neither; the nearest id is suggested.
    """
    known = embedded()
    if str(model) in known:
        return known[str(model)]
    if Path(model).is_dir():
        return Path(model)
    raise unknown(str(model))


def _pulled(card: ModelCard) -> ModelLocation:
    location = pulled(card)
    if location is not None:
        return location
    pull = f"`unrender models pull {card.id}`"
    here = sorted((store(card.identity.source.repository) / "snapshots").glob("*"))
    if card.identity.source.fallback and any(is_whole(folder, card.identity.source.unet) for folder in here):
        raise UserError(
            f"{card.id} is on this machine, but not {card.identity.source.fallback}, whose VAE and text encoder it "
            f"uses; run {pull} (it needs the network)"
        )
    if here:
        raise UserError(f"{card.id} is only partly on this machine; {pull} fetches what is missing")
    raise UserError(
        f"{card.id} is not on this machine; run {pull} (it needs the network), or give a folder with its weights"
    )
