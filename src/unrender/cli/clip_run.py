"""Runs over clips that can be killed at any moment, and go on where they were: finished frames lie in a hidden folder
beside the results' place, with the state from which the same command goes on.

The work is done in segments of some frames. At the end of each its files are whole, then the state is saved; a segment
that was cut short is done again. So the results do not depend on whether, or where, a run was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from unrender.cli.outputs import Destination, atomic_outputs, move_results, place_beside
from unrender.cli.progress import progress_bar
from unrender.cli.run_record import installed_versions
from unrender.errors import UserError
from unrender.files.leftovers import PREFIX, clean_leftovers, remove, removed_on_signal
from unrender.files.numbering import files_of, is_pattern

if TYPE_CHECKING:
    from unrender.files.readers import FrameReader, GBufferReader

SEGMENT = 24
"""Frames, at least, after which the state is saved."""

_FILMS = frozenset({".mp4", ".mkv", ".mov"})

_RUN = f"{PREFIX}run-"
_STATE, _FILES, _SEGMENTS = "state.safetensors", "files", "segments"

Item = TypeVar("Item", bound=Sized)


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        frames: that are finished.
        segments: likewise.
        threads: that it computes on: their number decides the last bits of sums.
        state: of the stream that gives the frames; None at the start.
        ended: whether no frame follows.
    """

    frames: int = 0
    segments: int = 0
    threads: int = 0
    state: Any = None
    ended: bool = False


@dataclass
class ClipRun:
    """One run, and what is left of it by an earlier one that was killed.

    Attributes:
        folder: gets the results; from there they move to their place.
        home: the hidden folder that outlives a killed run; None where a run is too short to be kept (stills).
        progress: how far it has come.
    """

    folder: Path
    home: Path | None = None
    progress: Progress = field(default_factory=Progress)

    def segment(self, path: Path) -> Path:
        """Where the present segment of a film goes; other files go where they are."""
        if self.home is None or path.suffix.lower() not in _FILMS:
            return path
        folder = self.home / _SEGMENTS
        folder.mkdir(exist_ok=True)
        return folder / f"{self.progress.segments:06d}.{path.name}"

    def join(self, paths: Iterable[Path], source: FrameReader | GBufferReader, film: Path) -> None:
        """Makes the films among `paths` of their segments, with the times of `source` and, where it is `film` whose
        pictures they are, with its sound."""
        from unrender.files.containers import demuxer
        from unrender.files.films import join_films

        sound = film if film.is_file() and demuxer(film) is not None else None
        for path in paths:
            if self.home is not None and self.progress.segments and path.suffix.lower() in _FILMS:
                names = [f"{index:06d}.{path.name}" for index in range(self.progress.segments)]
                join_films(path, [self.home / _SEGMENTS / name for name in names], source.times or None, sound)

    def save(self, progress: Progress) -> None:
        """Notes how far the run has come."""
        self.progress = progress
        if self.home is not None:
            from unrender.files.state import Unsaveable, save_state

            # What cannot be written down, such as a film plate's time code beside pending frames, is done again.
            with suppress(Unsaveable):
                save_state(self.home / _STATE, progress)


class Segment(Generic[Item]):
    """The items of one segment, as they are made; afterwards, how far the stream has come."""

    def __init__(self, steps: Iterator[tuple[Item | None, Any]], before: Progress, frames: int | None) -> None:
        self.progress = before
        self._steps, self._frames = steps, frames

    def __iter__(self) -> Iterator[Item]:
        count, made, before = 0, [], self.progress
        state, ended = before.state, False
        while not ended and (self._frames is None or count < self._frames):
            step = next(self._steps, None)
            if step is None:
                ended = True
                continue
            item, state = step
            del step
            if item is not None:
                count += len(item)
                made.append(item)
                del item
                yield made.pop()  # and is not kept: it may be as large as a picture
        segments = before.segments + (1 if count else 0)
        self.progress = Progress(before.frames + count, segments, before.threads, state, ended)


def write_in_segments(
    run: ClipRun,
    steps: Callable[[Any], Iterator[tuple[Item | None, Any]]],
    write: Callable[[Iterable[Item], Progress], None],
) -> None:
    """Writes what a stream gives, segment by segment, from where `run` is to the end.

    Args:
        steps: the stream from a state on (None: from the start): items of some frames, each with the state after it.
        write: writes the items of one segment, whole; it is told how far the run was before.
    """
    if run.progress.ended:
        return
    stream = steps(run.progress.state)
    while not run.progress.ended:
        segment = Segment(stream, run.progress, None if run.home is None else SEGMENT)
        items = iter(segment)
        first = next(items, None)
        if first is not None:
            write(_chained([first], items), run.progress)
            del first
        run.save(segment.progress)


def tracked(
    steps: Callable[[Any], Iterator[tuple[Item | None, Any]]], label: str, total: int, run: ClipRun
) -> Callable[[Any], Iterator[tuple[Item | None, Any]]]:
    """The same stream, which shows how many frames have gone by."""

    def shown(state: Any) -> Iterator[tuple[Item | None, Any]]:
        done, made = run.progress.frames, []
        with progress_bar(label) as show:
            for item, after in steps(state):
                made.append(item)
                show(done, total)
                done += 0 if item is None else len(item)
                del item
                yield made.pop(), after  # and is not kept: it may be as large as a picture

    return shown


@contextmanager
def clip_outputs(
    destination: Destination, frames: int, settings: Sequence[Any], inputs: Sequence[Path | str]
) -> Generator[ClipRun]:
    """As `atomic_outputs`, and for several frames kept where the process is killed, for the same command to go on.

    What another command to the same place left is removed. Where the block fails, nothing is kept; where a signal ends
    the process, what has been saved is.

    Args:
        frames: how many the input has.
        settings: dataclasses; runs with others are not the same.
        inputs: files and folders that are read; where they have changed, the run is not the same.
    """
    if frames == 1:
        with atomic_outputs(destination) as work_dir:
            yield ClipRun(work_dir)
        return
    from unrender.files.lock import locked

    beside = place_beside(destination)
    home = beside / f"{_place_of(destination)}{_key(settings, inputs)}"
    for other in beside.glob(f"{_place_of(destination)}*"):
        if other != home:
            _remove_idle(other)
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        (home / _FILES).mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"-o {destination.folder}: cannot write there ({error.strerror}); expected a writable folder"
        ) from error
    with locked(home), removed_on_signal(lambda: _remove_unsaved(home)):
        try:
            clean_leftovers(home / _FILES)
            clean_leftovers(home / _SEGMENTS)
            clean_leftovers(home)
            yield ClipRun(home / _FILES, home, _saved(home))
            move_results(home / _FILES, destination)
        finally:
            remove(home)


def _saved(home: Path) -> Progress:
    """How far a killed run had come, and its number of threads for the rest."""
    import torch

    if not (home / _STATE).is_file():
        return Progress(threads=torch.get_num_threads())
    from unrender.cli.clip_states import KINDS
    from unrender.files.state import load_state

    progress: Progress = load_state(home / _STATE, (*KINDS, Progress))
    torch.set_num_threads(progress.threads)
    return progress


def _place_of(destination: Destination) -> str:
    """The beginning of the names of hidden folders of runs to one place."""
    place = f"{destination.folder.absolute()}\0{destination.file or ''}"
    return f"{_RUN}{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}-"


def _key(settings: Sequence[Any], inputs: Sequence[Path | str]) -> str:
    """What tells the same command from another: settings, versions, and the sizes and times of what is read."""
    told = [asdict(one) for one in settings]
    read = [_stat(path) for one in inputs for path in _files(Path(one))]
    text = json.dumps([told, installed_versions(), read], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    """The files that a name stands for: itself, those of a folder and of the folders in it, or the numbered ones."""
    if path.is_dir():
        found = (one for pattern in ("*", "*/*") for one in path.glob(pattern))
        return sorted(one for one in found if one.is_file() and not any(p.startswith(".") for p in one.parts))
    if path.is_file():
        return [path]
    return sorted(files_of(path)) if is_pattern(path) else []


def _stat(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path.absolute()), found.st_size, found.st_mtime_ns


def _remove_idle(home: Path) -> None:
    """Removes the folder of another run, if that has ended."""
    from unrender.files.lock import locked

    try:
        with locked(home):
            pass
    except UserError:
        return
    remove(home)


def _remove_unsaved(home: Path) -> None:
    """Removes the folder of a run from which nothing could go on."""
    if not (home / _STATE).is_file():
        remove(home)


def _chained(first: list[Item], rest: Iterator[Item]) -> Iterator[Item]:
    while first:
        yield first.pop()
    yield from rest
