"""One run a folder: a lock that says whose it is, and that ends with its owner."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unrender.errors import UserError
from unrender.files.leftovers import is_alive, place, remove, removed_on_signal, started

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

LOCK_FILE = ".unrender-lock"
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)  # nor is what a link leads to written to
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def locked(folder: Path, part: str = "") -> Generator[None]:
    """Keeps other runs out of `folder`, which exists, while the block runs; only those of the same `part`, if it has
    a name.

    The system lets go of the lock of a process that ended, however it ended. Where a file system knows no locks, the
    owner that the lock file names is looked for.

    Raises:
        UserError: another run has the folder (process, machine and time are said), or it cannot be written to.
    """
    path = folder / (f"{LOCK_FILE}-{part}" if part else LOCK_FILE)
    handle = _take(path, folder)
    with removed_on_signal(lambda: remove(path)):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # before the lock is let go: nobody else may have it by then
            os.close(handle)


def _take(path: Path, folder: Path) -> int:
    while True:
        if path.is_symlink():
            raise UserError(f"{path} is a link and no lock file; remove it")
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"cannot write to {folder}: {reason}; give a folder that can be written to") from error
        try:
            if not _is_free(handle):
                raise UserError(f"{folder} is in use by {_owner_of(path)}; wait for it, or give another folder")
            if _is_at(handle, path):
                owner = {"pid": os.getpid(), "host": socket.gethostname(), "place": place()}
                owner |= {"started": started(os.getpid()), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(owner).encode(), 0)
                return handle
        except BaseException as error:
            os.close(handle)
            if isinstance(error, OSError):
                raise UserError(f"{path} is no lock file ({error.strerror}); remove it") from error
            raise
        os.close(handle)  # its owner removed it between our opening and locking it


def _is_free(handle: int) -> bool:
    """Takes the lock where nobody has it."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
    owner = _parse(os.pread(handle, 4096, 0) if hasattr(os, "pread") else os.read(handle, 4096))
    return not owner or (owner.get("place") == place() and not is_alive(owner["pid"], owner["started"]))


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _owner_of(path: Path) -> str:
    try:
        owner = _parse(path.read_bytes())
    except OSError:
        owner = {}
    if not owner:
        return "another run"
    return f"another run (process {owner['pid']} on {owner.get('host')}, since {owner.get('since')})"


def _parse(text: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(text)
        return owner if isinstance(owner["pid"], int) and isinstance(owner["started"], int) else {}
    except (ValueError, TypeError, KeyError):
        return {}
