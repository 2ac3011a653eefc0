"""`unrender serve`: the jobs over HTTP, for programs on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.serve import ServeSettings


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, to whom, and how much to take."""

    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen; others than this machine's.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="Of it; 0 for any free one.")] = 8420
    token: Annotated[
        str,
        typer.Option(
            metavar="WORD",
            envvar="UNRENDER_TOKEN",
            help="What callers have to show; made and printed where ADDRESS is reached from other machines.",
        ),
    ] = ""
    waiting: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="Jobs that may wait.")] = 16
    upload: Annotated[int, typer.Option(min=1, metavar="MB", help="Most megabytes of a file.")] = 512
    megapixels: Annotated[float, typer.Option(min=0.01, metavar="N", help="Most of a picture or frame.")] = 64.0
    keep: Annotated[float, typer.Option(min=0.1, metavar="MINUTES", help="Files that nobody asks for stay.")] = 60.0
    model_folder: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="A folder of weights that callers may name; again for more."),
    ] = None

    @property
    def settings(self) -> ServeSettings:
        """The part that the service itself takes."""
        import secrets

        from unrender.serve import Limits, ServeSettings
        from unrender.serve.settings import is_loopback

        for folder in self.model_folder or []:
            if not folder.is_dir():
                raise UserError(f"--model-folder {folder}; expected a folder of weights")
        token = self.token or ("" if is_loopback(self.host) else secrets.token_urlsafe(16))
        limits = Limits(
            upload_bytes=self.upload * 1_000_000,
            pixels=round(self.megapixels * 1e6),
            waiting=self.waiting,
            keep_seconds=self.keep * 60,
        )
        return ServeSettings(self.host, self.port, token, limits, tuple(self.model_folder or ()), True)


def serve(options: ServeOptions) -> None:
    """Do jobs for other programs over HTTP, one after the other.

    Blender, ComfyUI and scripts send files and ask for what the verbs do; the routes are in docs/serve.md and, as a
    schema, under /openapi.json. Listens to this machine alone; beyond it, callers show a token.
    """
    check_installed("serve")
    from unrender.serve.running import run

    run(options.settings, "unrender serve", "openapi.json")


def check_installed(extra: str) -> None:
    """Raises UserError where what the service needs is not installed."""
    from importlib.util import find_spec

    if any(find_spec(name) is None for name in ("fastapi", "uvicorn", "python_multipart")):
        raise UserError(f"unrender {extra} needs FastAPI and uvicorn: pip install 'unrender[{extra}]'")
