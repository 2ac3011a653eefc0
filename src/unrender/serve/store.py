"""Files that callers sent and jobs made: by ids nobody can guess, each its owner's alone, for a while."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from unrender.errors import UserError
from unrender.files.leftovers import clean_leftovers, remove, unfinished_name
from unrender.serve.settings import Limits

ID_PATTERN = r"^[A-Za-z0-9_-]{22}$"
LONGEST_NAME = 80
_UNSAFE = re.compile(r"[^\w. ()+-]+")


class NoRoom(Exception):
    """All files together are as many bytes as are kept."""


@dataclass(frozen=True)
class StoredFile:
    """A file that is kept: its random id, whose it is, what it is called, and where it lies."""

    id: str
    owner: str
    name: str
    path: Path
    bytes: int
    kept_until: float


@dataclass
class FileStore:
    """The files of all callers, in a folder of its own that goes when it is closed.

    Attributes:
        limits: how many bytes in all, and for how long.
        root: the folder.
    """

    limits: Limits
    root: Path = field(default_factory=lambda: _new_root())
    _files: dict[str, StoredFile] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def folder(self) -> Path:
        """A new empty folder, for a file that is coming or the results of a job."""
        path = self.root / new_id()
        path.mkdir(mode=0o700)
        return path

    def check_room(self, more: int = 0) -> None:
        """Raises NoRoom where `more` bytes would be too many."""
        with self._lock:
            kept = sum(file.bytes for file in self._files.values())
        if kept + more > self.limits.stored_bytes:
            raise NoRoom(f"{kept} bytes are kept; expected at most {self.limits.stored_bytes}, delete some first")

    def add(self, owner: str, name: str, path: Path) -> StoredFile:
        """Keeps a finished file that lies in a folder of `folder`."""
        until = time.monotonic() + self.limits.keep_seconds
        file = StoredFile(new_id(), owner, name, path, path.stat().st_size, until)
        with self._lock:
            self._files[file.id] = file
        return file

    def get(self, owner: str, id: str) -> StoredFile:
        """The file of an id, which is kept longer for having been asked for.

        Raises:
            KeyError: no such file, or another's.
        """
        with self._lock:
            file = self._files[id]
            if file.owner != owner:
                raise KeyError(id)
            until = time.monotonic() + self.limits.keep_seconds
            self._files[id] = StoredFile(file.id, file.owner, file.name, file.path, file.bytes, until)
            return file

    def has(self, owner: str, id: str) -> bool:
        """Whether the owner has a file of that id."""
        with self._lock:
            return id in self._files and self._files[id].owner == owner

    def delete(self, owner: str, id: str) -> None:
        """Deletes a file. KeyError as of `get`."""
        file = self.get(owner, id)
        with self._lock:
            self._files.pop(id, None)
        self._remove(file)

    def forget(self, owner: str, ids: Iterable[str]) -> None:
        """Deletes those of `ids` that are there."""
        for id in ids:
            try:
                self.delete(owner, id)
            except KeyError:
                continue

    def expire(self) -> None:
        """Deletes what nobody asked for in a while."""
        now = time.monotonic()
        with self._lock:
            old = [file for file in self._files.values() if file.kept_until < now]
            for file in old:
                del self._files[file.id]
        for file in old:
            self._remove(file)

    def close(self) -> None:
        """Deletes everything."""
        self._files.clear()
        remove(self.root)

    def _remove(self, file: StoredFile) -> None:
        file.path.unlink(missing_ok=True)
        if file.path.parent != self.root and not any(file.path.parent.iterdir()):
            shutil.rmtree(file.path.parent, ignore_errors=True)


def _new_root() -> Path:
    """A folder that this process alone can read; those of services that were killed are removed."""
    temporary = Path(tempfile.gettempdir())
    clean_leftovers(temporary)
    root = temporary / unfinished_name(".serve")
    root.mkdir(mode=0o700)
    return root


def new_id() -> str:
    """22 letters that nobody can guess (128 bits)."""
    return secrets.token_urlsafe(16)


def safe_name(name: str) -> str:
    """A name for a file out of what a caller said: the last part of it, without anything that a path, a page, a shell
    or a pattern of frames reads otherwise, and with its ending.

    Raises:
        UserError: nothing is left of it.
    """
    last = PurePosixPath(name.replace("\\", "/").replace("\0", "")).name
    cleaned = _UNSAFE.sub("_", last).strip(". ")
    stem, dot, ending = cleaned.rpartition(".")
    if not dot:
        stem, ending = cleaned, ""
    stem = stem[: LONGEST_NAME - len(ending[:8])]
    if not stem.strip("_ "):
        raise UserError("the file has no name that can be kept; expected one such as photo.jpg")
    return f"{stem}.{ending[:8]}" if ending else stem
