"""Work of a few milliseconds for executors, in a module of its own, which worker processes import; nothing slow to
import."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.scale import Needs, RayCluster
from unrender.scale.work import Tell


@dataclass(frozen=True)
class Squares:
    """Writes the square of a number, whole, into a file of its name, and notes which process began it.

    Attributes:
        folder: gets them.
        poisoned: numbers that cannot be done.
        deadly: numbers that kill the process that does them.
        pause: seconds an item.
        crew: workers that must have begun before an item is.
        room: bytes that a file may have, where the disk is to be full.
        needs: see `Work`.
    """

    folder: Path
    poisoned: frozenset[int] = frozenset()
    deadly: frozenset[int] = frozenset()
    pause: float = 0.0
    crew: int = 1
    room: int | None = None
    needs: Needs = field(default_factory=Needs)

    def begin(self, tell: Tell) -> Callable[[int], int]:
        """See `Work.begin`."""
        if self.room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, resource.RLIM_INFINITY))
        (self.folder / "workers").mkdir(exist_ok=True)
        (self.folder / "workers" / str(os.getpid())).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))

        def square(number: int) -> int:
            if number in self.poisoned:
                raise UserError(f"{number} is poisoned")
            if number in self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            while len(workers(self.folder)) < self.crew:
                time.sleep(0.02)
            time.sleep(self.pause)
            with atomic_write(self.folder / f"{number:05d}.txt") as path:
                path.write_text(f"{number * number}\n" * 100)
            tell(1)
            return number * number

        return square


def results(folder: Path) -> dict[str, bytes]:
    """What is in a folder, without the workers' marks."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def workers(folder: Path) -> list[int]:
    """The processes that began."""
    return [int(path.name) for path in (folder / "workers").iterdir()]


def missing(folder: Path, count: int) -> list[int]:
    """The numbers below `count` that are not done."""
    return [number for number in range(count) if not (folder / f"{number:05d}.txt").exists()]


def main() -> None:
    """A driver: FOLDER COUNT PAUSE, on a Ray of its own, doing what is missing."""
    folder, count, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    import scale_items  # by its name, not as __main__, for workers to find the class

    work = scale_items.Squares(folder, pause=pause)
    for outcome in RayCluster(workers=2).run(work, missing(folder, count), lambda units: None):
        assert not outcome.reason, outcome


if __name__ == "__main__":
    main()
