"""Silences decoding libraries: the caller reports errors itself, in one line."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Generator
from io import StringIO

_lock = threading.Lock()
_users = 0
_redirection = contextlib.ExitStack()


@contextlib.contextmanager
def silenced() -> Generator[None]:
    """Suppresses Python warnings, prints, and what C code writes directly to file descriptor 2.

    Only while a file is decoded: it affects the whole process. Threads may decode at the same time; the first to enter
    redirects output, and the last to leave restores it.
    """
    global _users
    with _lock:
        if _users == 0:
            _redirection.enter_context(_redirected())
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _redirection.close()


@contextlib.contextmanager
def _redirected() -> Generator[None]:
    saved = os.dup(2)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
