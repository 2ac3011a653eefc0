"""`unrender models pull`, and `find` as JSON, run as a program of their own: huggingface_hub reads its settings once.

Everything is the real command but the last step, which embeds prompts and would need a text encoder of the true size.
"""

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from unrender.cli import run
from unrender.cli.models import PullChoice, fetch
from unrender.cli.verb import add_verb
from unrender.diffusion.checkpoints.hub.registry import find


@dataclass(frozen=True)
class FindChoice:
    model: Annotated[str, typer.Argument()]
    task: Annotated[str | None, typer.Option()] = None


def pull(choice: PullChoice) -> None:
    fetch(choice, None)


def find_home(choice: FindChoice) -> None:
    home = find(choice.model, choice.task)  # ty: ignore[invalid-argument-type]
    rest = str(home.fallback) if home.fallback else None
    unet = str(home.component(home.card.identity.source.unet))
    print(json.dumps({"folder": str(home.folder), "rest": rest, "revision": home.revision, "unet": unet}))


if __name__ == "__main__":
    app = typer.Typer()
    add_verb(app, "pull", pull)
    add_verb(app, "find", find_home)
    sys.exit(run(app, sys.argv[1:]))
