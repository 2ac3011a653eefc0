"""Unfinished files and folders: their names say whose they are, so that a signal or the next run can remove them.

A name is `.unrender-PLACE-PID-START-RANDOM` with the ending of the result. PLACE stands for the machine and its space
of process ids; START is when the process began, so that an id that was given out again is not taken for the owner.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

PREFIX = ".unrender-"
_NAME = re.compile(rf"{re.escape(PREFIX)}([0-9a-f]{{8}})-(\d+)-(\d+)-[0-9a-f]{{8}}(\..*)?")
_TRIES = 5  # threads of this process may still be writing into a folder that is removed

_unfinished: dict[Callable[[], None], int] = {}  # what removes each unfinished thing, and the process that made it


def unfinished_name(suffix: str = "") -> str:
    """A free name for something that is not finished yet, of this process."""
    pid = os.getpid()
    return f"{PREFIX}{place()}-{pid}-{started(pid)}-{secrets.token_hex(4)}{suffix}"


@contextmanager
def removed_on_signal(remove: Callable[[], None]) -> Generator[None]:
    """Calls `remove` where a signal ends the process while the block runs."""
    _unfinished[remove] = os.getpid()
    try:
        yield
    finally:
        _unfinished.pop(remove, None)


def remove_unfinished() -> None:
    """Removes what this process has begun and not finished; for handlers of signals."""
    for remove, owner in list(_unfinished.items()):
        if owner == os.getpid():  # a forked child leaves its parent's things alone
            with suppress(OSError):
                remove()


def clean_leftovers(folder: Path) -> None:
    """Removes the unfinished things in `folder` whose process is gone; those of other machines are left alone."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(PREFIX)]
    except OSError:
        return
    for name in names:
        found = _NAME.fullmatch(name)
        if found and found[1] == place() and not is_alive(int(found[2]), int(found[3])):
            remove(folder / name)


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder, where it is there and can be removed."""
    for _ in range(_TRIES):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if not os.path.lexists(path):
            return


@cache
def place() -> str:
    """Eight digits that stand for this machine and its space of process ids."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def started(pid: int) -> int:
    """When a process of this machine began, in ticks since the machine did; 0 where nobody says."""
    stat = _stat(pid)
    return int(stat[19]) if stat else 0


def is_alive(pid: int, start: int) -> bool:
    """Whether the process that began at `start` (see `started`) still runs."""
    if os.path.exists("/proc/self/stat"):
        stat = _stat(pid)
        return bool(stat) and stat[0] not in ("Z", "X") and start in (0, int(stat[19]))
    if os.name == "nt":
        return True  # there os.kill would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _stat(pid: int) -> list[str]:
    """The fields of a process after its name, [] where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
