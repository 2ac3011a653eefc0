"""`run.json`: what was run, with what, on what, and how long each part took."""

import json
import os
import platform
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("unrender", "torch", "diffusers", "numpy", "OpenEXR", "av", "mitsuba")


@dataclass
class RunRecord:
    """The story of one run, told while it happens.

    Attributes:
        verb: the command's name.
        settings: dataclasses of the command's resolved settings.
        facts: what was found out on the way, such as the model's id, revision and licence.
        seconds: wall-clock seconds by stage.
    """

    verb: str
    settings: tuple[Any, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.time)

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Adds the time spent inside to stage `name`."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def write(self, path: Path) -> None:
        """Writes the record as JSON."""
        path.write_text(json.dumps(self.as_dict(), indent=2, default=str) + "\n", encoding="utf-8")

    def as_dict(self) -> dict[str, Any]:
        """The record as plain values."""
        settings = {key: value for group in self.settings for key, value in asdict(group).items()}
        return {
            "verb": self.verb,
            "settings": settings,
            **self.facts,
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()}
            | {"total": round(time.time() - self.started, 3)},
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started)),
            "versions": {"python": platform.python_version()} | installed_versions(),
            "machine": {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()},
        }


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, read without importing them; absent ones are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
