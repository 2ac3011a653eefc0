"""`unrender models`: what is known, and whether a folder is sound."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from unrender.cli.verb import add_verb

app = typer.Typer(name="models", help="List models, show one, check a folder of weights.")


@dataclass(frozen=True)
class ModelChoice:
    """Which model."""

    model: Annotated[str, typer.Argument(metavar="ID", help="A model's id, or the folder of a checkpoint.")]


@dataclass(frozen=True)
class FolderChoice:
    """Which folder."""

    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of weights with its card, unrender.json.")]


def list_models() -> None:
    """List the models that can be named by id, with their licence and maps."""
    from unrender.diffusion.checkpoints.registry import cards

    for card in cards():
        print(f"{card.id:<12} {card.licence:<12} {card.direction:<8} {', '.join(card.map_names)}  {card.description}")


def show(choice: ModelChoice) -> None:
    """Show a model's card: everything that sets it apart from another."""
    from unrender.diffusion.card import read_card
    from unrender.diffusion.checkpoints.registry import resolve

    print(json.dumps(asdict(read_card(resolve(choice.model))), indent=2))


def check(choice: FolderChoice) -> None:
    """Read a folder of weights strictly; a missing or mis-shaped tensor is named."""
    from unrender.device import choose_compute
    from unrender.diffusion.checkpoints.loader import load_checkpoint

    checkpoint = load_checkpoint(choice.folder, choose_compute("cpu", "float32"))
    parameters = sum(p.numel() for network in (checkpoint.unet, checkpoint.autoencoder) for p in network.parameters())
    print(f"{choice.folder}: {checkpoint.card.id}, {parameters / 1e6:.1f} M parameters, sound")


add_verb(app, "list", list_models)
add_verb(app, "show", show)
add_verb(app, "check", check)
