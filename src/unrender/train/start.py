"""What a run starts from: a model, the base of one, or nothing but an autoencoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from unrender.device import Compute
from unrender.diffusion.card import Direction, ModelCard
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint
from unrender.diffusion.checkpoints.places.registry import find
from unrender.errors import UserError
from unrender.train.mini import build_mini
from unrender.train.vae import load_autoencoder

FULL = Compute(torch.device("cpu"), torch.float32)


@dataclass(frozen=True)
class Start:
    """Attributes:
    direction: of the model.
    model: the id or the folder of a model to go on from.
    autoencoder: where there is no model: the folder of an autoencoder that `unrender train vae` wrote.
    """

    direction: Direction = "inverse"
    model: str | None = None
    autoencoder: str | None = None


def starting_checkpoint(start: Start, seed: int) -> Checkpoint:
    """The checkpoint that a run starts from, in single precision, its autoencoder frozen.

    Raises:
        UserError: there is nothing to start from, what there is cannot be read, or it is told what no recipe tells.
    """
    if start.model is not None:
        checkpoint = load_checkpoint(find(start.model, start.direction), FULL)
    elif start.autoencoder is not None:
        autoencoder, scale = load_autoencoder(Path(start.autoencoder))
        checkpoint = build_mini(start.direction, autoencoder, scale, seed)
    else:
        raise UserError("nothing to start from; give a model, or the autoencoder that `unrender train vae` wrote")
    _check_learnable(checkpoint.card)
    checkpoint.autoencoder.requires_grad_(False).eval()
    return replace(checkpoint, unet=checkpoint.unet.float())


def _check_learnable(card: ModelCard) -> None:
    """Raises UserError for networks that are told more than the recipes tell."""
    if card.image_tokens:
        raise UserError(f"{card.id} is shown an embedding of the photo, which no recipe shows; another model is right")
    if card.edits:
        raise UserError(f"{card.id} is told the part of a picture to render, which no recipe tells; another is right")
