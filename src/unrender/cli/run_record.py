"""`run.json`: what was run, with what, on what, and how long each part took."""

import json
import os
import platform
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from unrender.cli.notes import taken
from unrender.errors import UserError
from unrender.files.tables import read_table

Item = TypeVar("Item")

RECORD = "run.json"
PACKAGES = ("unrender", "torch", "diffusers", "numpy", "OpenEXR", "OpenImageIO", "opencolorio", "av", "mitsuba")


@dataclass
class RunRecord:
    """The story of one run, told while it happens.

    Attributes:
        verb: the command's name.
        settings: dataclasses of the command's resolved settings.
        facts: what was found out on the way, such as the model's id, revision and licence.
        seconds: wall-clock seconds of each part of the run, by name; see `timed`.
    """

    verb: str
    settings: tuple[Any, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    _running: list[str] = field(default_factory=list)
    _since: float = 0.0

    @contextmanager
    def timed(self, name: str) -> Generator[None]:
        """Counts the time spent inside as part `name`. Of timers within one another only the innermost counts, so that
        the parts add up. Decorates functions, too: `record.timed("inverse")(renderer)`."""
        self._count()
        self._running.append(name)
        try:
            yield
        finally:
            self._count()
            self._running.pop()

    def timed_items(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """Passes `items` on, and counts the time in which they are made as part `name`."""
        iterator, made = iter(items), []
        while True:
            with self.timed(name):
                try:
                    made.append(next(iterator))
                except StopIteration:
                    return
            yield made.pop()  # and is not kept: it may be as large as a picture

    def _count(self) -> None:
        """Gives the time since the last call to the part that was running."""
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def write(self, path: Path) -> None:
        """Writes the record as JSON."""
        path.write_text(json.dumps(self.as_dict(), indent=2, default=str) + "\n", encoding="utf-8")

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values."""
        notes = {"notes": list(taken())} if taken() else {}
        settings = {key: value for options in self.settings for key, value in asdict(options).items()}
        return {
            "verb": self.verb,
            "settings": settings,
            **self.facts,
            **notes,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()}
            | {"total": round(time.time() - self.started, 3)},
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "versions": {"python": platform.python_version()} | installed_versions(),
            "machine": {
                "system": platform.platform(),
                "processor": platform.machine(),
                "cpus": os.cpu_count(),
                "threads": _threads(),
            },
        }


def _threads() -> int | None:
    """The threads that torch computes with, None where it was not needed."""
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else None


def put_away(old: Path, new: Path) -> None:
    """Makes room for a new run record: the `old` one of the same verb and input goes, that of another is kept under
    their names, `INPUT.VERB.run.json`, where its name is `run.json`.

    Raises:
        UserError: `old` is a folder.
    """
    if old.is_dir() and not old.is_symlink():
        raise UserError(f"{old} is a folder; expected the record of a run, or nothing")
    kept = _told_by(old)
    if kept and old.name == RECORD and kept != _told_by(new):
        os.replace(old, old.with_name(f"{kept[1]}.{kept[0]}.{RECORD}"))
    else:
        old.unlink(missing_ok=True)


def _told_by(record: Path) -> tuple[str, str] | None:
    """The verb of a run record and the name of its input, None where it does not say."""
    try:
        told = read_table(record)
        settings = told["settings"]
        source = Path(settings.get("input") or settings["gbuffer"])
        names = Path(told["verb"]).name, source.stem or source.name
        return names if all(0 < len(name) <= 80 and name.isprintable() for name in names) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, read without importing them; absent ones are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
