"""Tiny items on a local Ray cluster of two workers that are killed at random, against the same without Ray.

    python benchmarks/scale.py --items 10000 --kill-every 5

Every item must be done once, with the same bytes; the driver's memory must not grow with their number.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from unrender.files.atomic import write_once
from unrender.scale import Inline, Needs, RayCluster
from unrender.scale.work import Tell


@dataclass(frozen=True)
class Tiny:
    """Writes a hash of a number into a file of its name; a second time would be noted."""

    folder: Path
    needs: ClassVar[Needs] = Needs()

    def begin(self, tell: Tell) -> Callable[[int], bool]:
        """See `Work.begin`."""
        (self.folder / "workers" / str(os.getpid())).touch()

        def do(number: int) -> bool:
            tell(1)
            return write_once(self.folder / f"{number:06d}.txt", sha256(str(number).encode()).hexdigest() * 16)

        return do


def main() -> None:
    """Runs both, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--kill-every", type=float, default=5.0, metavar="SECONDS")
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        here, there = Path(scratch, "here"), Path(scratch, "there")
        for folder in (here, there):
            (folder / "workers").mkdir(parents=True)
        started = time.monotonic()
        assert all(outcome.result for outcome in Inline().run(Tiny(here), range(settings.items), lambda units: None))
        print(f"without Ray: {settings.items} items in {time.monotonic() - started:.1f} s")
        _killed(settings, there)
        same = _contents(here) == _contents(there)
        print(f"the same files with the same bytes: {same}")
        assert same


def _killed(settings: argparse.Namespace, folder: Path) -> None:
    ended, killed = threading.Event(), [0]
    draw = random.Random(0)

    def kill() -> None:
        while not ended.wait(draw.uniform(0.2, 1.8) * settings.kill_every):
            alive = [pid for pid in _workers(folder) if Path(f"/proc/{pid}").exists()]
            if alive:
                os.kill(draw.choice(alive), signal.SIGKILL)
                killed[0] += 1

    threading.Thread(target=kill, daemon=True).start()
    started = time.monotonic()
    seen, again, memory = set(), 0, []
    for outcome in RayCluster(workers=2).run(Tiny(folder), range(settings.items), lambda units: None):
        assert not outcome.reason, outcome
        assert outcome.item not in seen, outcome
        seen.add(outcome.item)
        again += not outcome.result  # it was written by a worker that died before it could say so
        if len(seen) % max(1, settings.items // 10) == 0:
            memory.append(_megabytes())
    seconds = time.monotonic() - started
    ended.set()
    print(
        f"on Ray: {len(seen)} outcomes in {seconds:.1f} s, {len(seen) / seconds:.1f} a second; {killed[0]} workers "
        f"killed, {len(_workers(folder))} begun, {again} items done again"
    )
    print(f"the driver's memory at every tenth, MB: {', '.join(f'{value:.0f}' for value in memory)}")


def _workers(folder: Path) -> list[int]:
    return [int(path.name) for path in (folder / "workers").iterdir()]


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


def _megabytes() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
