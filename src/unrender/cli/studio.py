"""`unrender studio`: the page in the browser."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated

import typer

from unrender.cli.serve import ServeOptions, check_installed


@dataclass(frozen=True)
class PageOptions:
    """What happens when the page is there."""

    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True


def studio(options: ServeOptions, page: PageOptions) -> None:
    """Open a page in the browser: drop a photo, turn its light, look at its maps, change its materials.

    Everything stays on this machine: nothing is fetched from elsewhere, and nobody else can reach the page. What it
    shows can be saved, and made again by the command that it names. It speaks the routes of `unrender serve`, too.
    """
    check_installed("studio")
    import webbrowser

    from unrender.files.notes import LOGGER as NOTES
    from unrender.serve.running import run
    from unrender.studio import create_studio

    NOTES.setLevel(logging.ERROR)  # what is guessed of a photo is said by its job, and not with every picture of it

    run(options.settings, "unrender studio", "", create_studio, webbrowser.open if page.browser else None)
