"""What a run starts from: a model, the base of one, nothing but an autoencoder, or nothing at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from unrender.diffusion.card import ModelCard, Task
from unrender.diffusion.checkpoints.hub.ids import cards_of, pick
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint
from unrender.errors import UserError
from unrender.train.base import FULL, load_base
from unrender.train.mini import build_mini, build_scratch, take_over
from unrender.train.vae import load_autoencoder


@dataclass(frozen=True)
class Start:
    """One of a model, a base with a card, an autoencoder, and nothing at all.

    Attributes:
        task: of the model.
        model: the id or the folder of a model to go on from.
        autoencoder: the folder of an autoencoder that `unrender train vae` wrote, under networks from nothing.
        base, card: a text-to-picture model (see `base.load_base`), and the id of the published model whose habits it is
            to learn.
    """

    task: Task = "inverse"
    model: str | None = None
    autoencoder: str | None = None
    base: str | None = None
    card: str | None = None
    scratch: bool = False


def starting_checkpoint(start: Start, seed: int) -> Checkpoint:
    """The checkpoint that a run starts from, in single precision, its autoencoder frozen but where it starts from
    nothing.

    Raises:
        UserError: there is nothing to start from, what there is cannot be read, or it is told what no recipe tells.
    """
    if sum(one is not None for one in (start.model, start.autoencoder, start.base)) > 1:
        raise UserError("a model, an autoencoder and a base are three ways to start; one is right")
    if (start.base is None) != (start.card is None):
        raise UserError("a base needs a card, and a card a base: give both, or a model to start from")
    if start.scratch:
        return _from_scratch(start, seed)
    if start.model is not None:
        checkpoint = load_checkpoint(find(start.model, start.task), FULL)
    elif start.base is not None and start.card is not None:
        card = pick(cards_of(start.card), start.task)
        _check_learnable(card)
        checkpoint = load_base(start.base, card)
    elif start.autoencoder is not None:
        autoencoder, scale = load_autoencoder(Path(start.autoencoder))
        checkpoint = build_mini(start.task, autoencoder, scale, seed)
    else:
        raise UserError(
            "nothing to start from; give a model, a base, or the autoencoder that `unrender train vae` wrote"
        )
    _check_learnable(checkpoint.card)
    checkpoint.autoencoder.requires_grad_(False).eval()
    return replace(checkpoint, unet=checkpoint.unet.float())


def _from_scratch(start: Start, seed: int) -> Checkpoint:
    if start != Start(scratch=True, model=start.model):
        raise UserError("from nothing there is an inverse renderer only, and at most a model to take over from")
    checkpoint = build_scratch(seed)
    if start.model is not None:
        take_over(checkpoint, load_checkpoint(find(start.model, "inverse"), FULL))
    return checkpoint


def _check_learnable(card: ModelCard) -> None:
    """Raises UserError for networks that are told more than the recipes tell."""
    if card.image_tokens:
        raise UserError(f"{card.id} is shown an embedding of the photo, which no recipe shows; another model is right")
    if card.maps.edits:
        raise UserError(f"{card.id} is told the part of a picture to render, which no recipe tells; another is right")
