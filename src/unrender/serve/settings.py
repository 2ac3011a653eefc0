"""How the service listens, and how much it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from unrender.errors import UserError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Limits:
    """How much is taken of one request, one job and all of them.

    Attributes:
        upload_bytes: of one file.
        upload_seconds: from its first byte to its last.
        pixels: of one frame that a job works on.
        stored_bytes: of all files, uploads and results.
        waiting: jobs in the queue; more are refused.
        job_seconds: of one job, from its start.
        job_bytes: of memory, of the process that jobs run in.
        keep_seconds: after which files and jobs that nobody asked for are deleted.
    """

    upload_bytes: int = 512 << 20
    upload_seconds: float = 120.0
    pixels: int = 64_000_000
    stored_bytes: int = 16 << 30
    waiting: int = 16
    job_seconds: float = 3600.0
    job_bytes: int = 16 << 30
    keep_seconds: float = 3600.0


@dataclass(frozen=True)
class ServeSettings:
    """Where the service listens, who may speak to it, and what it knows.

    Attributes:
        host: address that it is bound to.
        port: of it.
        token: what a caller has to show; "" for none, which only a loopback address may have.
        limits: how much is taken.
        model_folders: checkpoints that callers may name by their folder's name, beside the known ids.
        warm: whether the process that does jobs is started, and the small model loaded, before the first one comes.

    Raises:
        UserError: no token beyond loopback.
    """

    host: str = "127.0.0.1"
    port: int = 8420
    token: str = ""
    limits: Limits = field(default_factory=Limits)
    model_folders: tuple[Path, ...] = ()
    warm: bool = False

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise UserError(f"the address {self.host} is reached from other machines; expected a token with it")

    @property
    def origin(self) -> str:
        """Its own address, as a browser says it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
