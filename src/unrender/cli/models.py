"""`unrender models`: what is known, what is here, and how to bring the rest here."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.cli.verb import add_verb
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.diffusion.card import ModelCard
    from unrender.diffusion.checkpoints.hub.location import ModelLocation

app = typer.Typer(name="models", help="List models, show one, pull one from its hub, check a folder of weights.")


@dataclass(frozen=True)
class ListChoice:
    """Which models."""

    commercial: Annotated[
        bool, typer.Option("--commercial", help="Those alone whose licence allows commercial use.")
    ] = False


@dataclass(frozen=True)
class ShowChoice:
    """Which model, and for whom."""

    model: Annotated[str, typer.Argument(metavar="ID", help="A model's id, or the folder of a checkpoint.")]
    as_json: Annotated[bool, typer.Option("--json", help="The whole card, for programs.")] = False


@dataclass(frozen=True)
class PullChoice:
    """Which published model, and how much of it."""

    model: Annotated[str, typer.Argument(metavar="ID", help="A published model's id; see `unrender models list`.")]
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit; else the one pulled before, else the newest.")
    ] = None
    half: Annotated[bool, typer.Option("--half", help="Weights in half precision, where they are published.")] = False
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Agree to a licence that forbids commercial use.")
    ] = False


@dataclass(frozen=True)
class Adoption:
    """Which folder, and whose weights it holds."""

    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of weights in diffusers' layout.")]
    model: Annotated[str, typer.Argument(metavar="ID", help="The published model that they are.")]


@dataclass(frozen=True)
class FolderChoice:
    """Which folder."""

    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A folder of weights, or a model's id.")]


def list_models(choice: ListChoice) -> None:
    """List the models that can be named by id: what they give, their licence and size, and whether they are here."""
    from unrender.cli.model_table import print_table
    from unrender.diffusion.checkpoints.hub.registry import cards

    print_table([card for card in cards() if card.identity.commercial or not choice.commercial])


def show(choice: ShowChoice) -> None:
    """Show what a model gives, takes and costs; with --json its card, all that sets it apart from another: a list of
    two where it goes both ways."""
    cards = _cards(choice.model)
    if not choice.as_json:
        from unrender.cli.model_page import page

        print(page(cards))
        return
    for line in dict.fromkeys(map(_licence, cards)):
        print(line, file=sys.stderr)
    for card in cards:
        _tell_views(card)
    shown = [asdict(card) for card in cards]
    print(json.dumps(shown if len(shown) > 1 else shown[0], indent=2))


def _tell_views(card: "ModelCard") -> None:
    """What view layers add, on stderr, in both presets: the card stays what is printed."""
    from dataclasses import replace

    from unrender.diffusion.card import ViewLayers
    from unrender.diffusion.checkpoints.architecture import view_summary

    if card.views is None:
        return
    for preset in ("released", "paper"):
        layers = replace(card.views, projection=preset)
        others = tuple(one for one in card.conditioning if not isinstance(one, ViewLayers))
        own = " (its own)" if preset == card.views.projection else ""
        print(f"view layers over Stable Diffusion 2.1-base, preset {preset}{own}:", file=sys.stderr)
        for line in view_summary(replace(card, conditioning=(*others, layers))):
            print(f"  {line}", file=sys.stderr)


def pull(choice: PullChoice) -> None:
    """Fetch a published model's weights from its hub, and embed its prompts.

    The weights come as safetensors only, into the hub's cache. The commit is said, and is the one that later runs
    take. A pull that broke off goes on when it is called again.
    """
    fetch(choice, _keep_prompts)


def fetch(choice: PullChoice, prepare: "Callable[[ModelLocation], None] | None") -> None:
    """Pulls every direction of a model once its licence is agreed to, and prints its folder."""
    from unrender.diffusion.checkpoints.hub.decoders import DECODERS
    from unrender.diffusion.checkpoints.hub.download import pull as pull_weights
    from unrender.diffusion.checkpoints.hub.download import pull_decoder
    from unrender.diffusion.checkpoints.hub.ids import cards_of

    if choice.model in DECODERS:
        print(f"{choice.model}: licence {DECODERS[choice.model]}", flush=True)
        print(pull_decoder(choice.model, revision=choice.revision, half=choice.half, report=_say))
        return
    cards = cards_of(choice.model)
    _agree(cards, choice.accept_licence)
    for line in dict.fromkeys(map(_licence, cards)):
        print(line, flush=True)
    homes = [
        pull_weights(card, revision=choice.revision, half=choice.half, report=_say, prepare=prepare) for card in cards
    ]
    print(homes[-1].folder)


def adopt(adoption: Adoption) -> None:
    """Write into a folder whose weights it holds, where nothing else says so."""
    from unrender.diffusion.checkpoints.hub.recognise import adopt as write_pointer

    write_pointer(adoption.folder, adoption.model)
    print(f"{adoption.folder} holds {adoption.model}")


def check(choice: FolderChoice) -> None:
    """Read a folder of weights strictly; a missing or mis-shaped tensor is named."""
    from unrender.device import choose_compute
    from unrender.diffusion.checkpoints.hub.registry import find
    from unrender.diffusion.checkpoints.loader import load_checkpoint

    for card in _cards(choice.folder):
        checkpoint = load_checkpoint(find(choice.folder, card.task), choose_compute("cpu", "float32"))
        networks = (checkpoint.unet, checkpoint.autoencoder, checkpoint.environment)
        parameters = sum(p.numel() for network in networks if network for p in network.parameters())
        licence = card.identity.licence
        print(f"{choice.folder}: {card.id}, {card.task}, {licence}, {parameters / 1e6:.1f} M parameters, sound")


def _cards(model: str) -> "tuple[ModelCard, ...]":
    """The cards of an id or of a folder, one for each direction."""
    from unrender.diffusion.checkpoints.hub.ids import cards_of, known_ids
    from unrender.diffusion.checkpoints.hub.recognise import cards_in

    if model not in known_ids() and Path(model).is_dir():
        return cards_in(Path(model))
    return cards_of(model)


def _licence(card: "ModelCard") -> str:
    return f"{card.id}: licence {card.identity.licence}; commercial use: {card.identity.commercial_use}"


def _agree(cards: "Sequence[ModelCard]", accepted: bool) -> None:
    """Asks on a terminal whether a licence that forbids commercial use suits.

    Raises:
        UserError: there is no terminal, and nothing was accepted beforehand.
    """
    forbidding = [card for card in cards if card.identity.commercial is False]
    if accepted or not forbidding:
        return
    if not sys.stdin.isatty():
        raise UserError(
            f"{_licence(forbidding[0])}; expected --accept-licence, where the licence suits what you do with it"
        )
    print(_licence(forbidding[0]), flush=True)
    typer.confirm("Do you agree to this licence?", abort=True)


def _say(line: str) -> None:
    print(line, flush=True)


def _keep_prompts(home: "ModelLocation") -> None:
    from unrender.diffusion.checkpoints.clip.prompts import keep_prompts

    keep_prompts(home)


add_verb(app, "list", list_models)
add_verb(app, "show", show)
add_verb(app, "pull", pull)
add_verb(app, "adopt", adopt)
add_verb(app, "check", check)
