"""The service on a socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import replace

import uvicorn

from unrender.errors import UserError
from unrender.files.leftovers import removed_on_signal
from unrender.serve.app import create_app
from unrender.serve.guard import Guard
from unrender.serve.settings import ServeSettings

HEADER_BYTES = 16 << 10


def run(
    settings: ServeSettings,
    title: str,
    page: str,
    make: Callable[[ServeSettings], Guard] = create_app,
    ready: Callable[[str], object] | None = None,
) -> None:
    """Serves until a signal ends it; nothing of what was sent or made is left.

    Args:
        settings: where, to whom, and how much.
        title: what is said to listen.
        page: the address, under its own, that is worth a look.
        make: the application.
        ready: is called with the address of `page` when it can be reached.

    Raises:
        UserError: an address or port that cannot be had.
    """
    listening = _listen(settings)
    settings = replace(settings, port=listening.getsockname()[1])
    address = f"{settings.origin}/{page}"
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    app = make(settings)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=256,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=3,
        ws="none",
    )
    print(f"{title} listens at {address}")
    if settings.token:
        print(f"the token: {settings.token}")
    sys.stdout.flush()
    if ready is not None:
        ready(address)
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancel)
    with removed_on_signal(app.app.state.store.close):
        uvicorn.Server(config).run(sockets=[listening])


def _is_no_cancel(record: logging.LogRecord) -> bool:
    """False for what is cut off because the service ends."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _listen(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"cannot listen at {settings.host}, port {settings.port}: {getattr(error, 'strerror', None) or error}; "
            "expected a free --port, or 0 for any"
        ) from None
