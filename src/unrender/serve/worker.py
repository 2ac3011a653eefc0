"""The process that does jobs: it can be ended in the middle of one, and its memory is its own.

What passes the pipe: a `JobWork` to it; back come ("progress", share, words), ("note", words), and at last ("done",),
("failed", words) or ("broken", traceback).
"""

from __future__ import annotations

import logging
import signal
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from unrender.errors import UserError


class _Notes(logging.Handler):
    """What readers and renderers say of a picture, without the folder that it lies in."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        self.connection.send(("note", str(arguments[-1] if arguments else record.getMessage())))


def serve(connection: Connection) -> None:
    """Does one job after the other, until the other end of the pipe is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the service, which ends this process
    import warnings

    warnings.simplefilter("ignore")
    from unrender.files.notes import LOGGER
    from unrender.serve import verbs

    LOGGER.addHandler(_Notes(connection))
    LOGGER.propagate = False
    _warm_up()
    while True:
        try:
            work = connection.recv()
        except (EOFError, OSError):
            return

        def report(share: float, says: str) -> None:
            connection.send(("progress", share, says))

        try:
            verbs.run(replace(work, report=report))
            connection.send(("done",))
        except UserError as mistake:
            connection.send(("failed", _without_folders(str(mistake), work)))
        except MemoryError:
            connection.send(("failed", "the job needs more memory than there is; expected a smaller picture"))
        except Exception:
            connection.send(("broken", traceback.format_exc()))


def _warm_up() -> None:
    """Imports what takes seconds, and loads the small model, before the first job asks for it."""
    with suppress(Exception):
        import unrender.output
        import unrender.relight  # noqa: F401
        from unrender.serve.work import load_inverse

        load_inverse("mini")


def _without_folders(line: str, work) -> str:
    """A message that names files as their owner knows them."""
    for folder in sorted({path.parent for path in work.files.values()} | {work.folder}, key=str):
        line = line.replace(f"{folder}/", "")
    return line
