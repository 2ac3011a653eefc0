"""OUT: a folder, or a file with a known ending; whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from unrender.cli.guard import InputFiles
from unrender.cli.messages import one_line
from unrender.cli.process import uninterrupted
from unrender.cli.run_record import put_away
from unrender.errors import UserError
from unrender.files.leftovers import clean_leftovers, remove, removed_on_signal, unfinished_name

_FILE_ENDINGS = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".tif",
        ".tiff",
        ".exr",
        ".hdr",
        ".bmp",
        ".gif",
        ".heic",
        ".avif",
    }
    | {".jxl", ".jp2", ".psd", ".dpx", ".tga", ".pfm", ".ppm", ".svg", ".pdf", ".mp4", ".m4v", ".mov", ".mkv", ".webm"}
    | {".avi", ".mpg", ".mpeg", ".mxf", ".wmv", ".ts", ".mp3", ".wav", ".json", ".txt", ".csv", ".html", ".md", ".zip"}
    | {".tar", ".gz", ".npy", ".npz", ".pt", ".safetensors", ".glb", ".gltf", ".obj", ".ply", ".usd", ".usdz", ".blend"}
)
"""By these a person means a file; any other dot is one in a folder's name (shot.v001, 2026.11.27-run)."""


VIDEOS = (".mp4", ".mov", ".mkv")
"""Videos that are written; as `files.video` has them, which is slow to import."""

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".exr")
"""Pictures that are written; as `files.images` has them."""


@dataclass(frozen=True)
class Destination:
    """Where results go.

    Attributes:
        folder: the folder that gets them.
        file: the name of the one file that was asked for, None where a whole folder was.
    """

    folder: Path
    file: str | None = None

    @property
    def ending(self) -> str:
        """The lower-case ending of the one file asked for, "" for a folder."""
        return Path(self.file).suffix.lower() if self.file else ""

    def wants(self, ending: str) -> bool:
        """Whether results with this ending are wanted: all of them in a folder, else the one asked for."""
        return self.ending in ("", ending)

    def path(self, work_dir: Path, name: str) -> Path | None:
        """Where in `work_dir` a result that is called `name` in a folder goes, None where it is not wanted."""
        return work_dir / (self.file or name) if self.wants(Path(name).suffix) else None

    def check_frames(self, frames: int) -> None:
        """Raises UserError where the one file asked for cannot hold so many frames."""
        if frames == 1 or not self.file or self.ending in VIDEOS:
            return
        from unrender.files.numbering import is_pattern

        if is_pattern(self.file):
            return
        numbered = f"{Path(self.file).stem}.####{self.ending}"
        raise UserError(f"-o {self.folder / self.file}: there are {frames} frames; expected a folder, or {numbered}")

    @property
    def record_name(self) -> str:
        """The name of the run record: `run.json` in a folder, `picture.run.json` beside `picture.exr`."""
        return f"{Path(self.file).stem}.run.json" if self.file else "run.json"

    def report(self) -> None:
        """Says where the results are."""
        print(one_line(str(self.folder / self.file if self.file else self.folder), 1 << 16))


def parse_destination(out: Path, endings: Sequence[str]) -> Destination:
    """Reads OUT: a file where its ending is among `endings`, else a folder, dots in its name or not.

    Raises:
        UserError: the ending of another kind of file, or a file where a folder is expected.
    """
    if out.is_dir():
        return Destination(out)
    for place in (out, out.parent):
        if place.is_symlink() and not place.exists():
            raise UserError(f"-o {place}: that is a link to something that does not exist; expected a folder or a file")
    suffix = out.suffix.lower()
    if suffix in endings:
        return Destination(out.parent, out.name)
    if suffix in _FILE_ENDINGS:
        known = ", ".join(endings) or "none"
        raise UserError(f"-o {out}: cannot write {suffix} here; expected a folder, or a file ending in {known}")
    if out.exists():
        raise UserError(f"-o {out}: that is a file; expected a folder")
    return Destination(out)


def check_results(destination: Destination, results: Iterable[Path | None], inputs: InputFiles) -> None:
    """Raises UserError, before the work, where a result or the run record would take the name of an input or of a
    folder.

    Args:
        results: paths, or `name.####.exr`, of which the names count; None for what is not written.
        inputs: what the run reads.
    """
    for result in (*results, Path(destination.record_name)):
        if result is not None:
            _check_length(destination.folder, result.name)
            inputs.refuse(destination.folder / result.name)


def _check_length(folder: Path, name: str) -> None:
    longest = os.pathconf(folder if folder.is_dir() else "/", "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    if len(os.fsencode(name)) > longest:
        raise UserError(f"{name} is {len(os.fsencode(name))} bytes long; expected a name of {longest} at most")


@contextmanager
def atomic_outputs(destination: Destination) -> Generator[Path]:
    """Yields a working folder beside the results' place, on the same disk, whose files move there together at the end.

    Nothing is left behind when the block fails, or a signal ends the process, and files already there are untouched
    until it has succeeded. What killed runs left is removed first. The files move one by one, each in one step, the run
    record last: where there is none, a run was killed while they moved, and the same command completes it.

    Raises UserError at once where nothing can be written, before any work is done.
    """
    folder = destination.folder
    work_dir = place_beside(destination) / unfinished_name()
    try:
        work_dir.mkdir(mode=0o700)
    except OSError as error:
        raise UserError(f"-o {folder}: cannot write there ({error.strerror}); expected a writable folder") from error
    with removed_on_signal(lambda: remove(work_dir)):
        try:
            yield work_dir
            move_results(work_dir, destination)
        finally:
            remove(work_dir)


def place_beside(destination: Destination) -> Path:
    """The folder in which unfinished results lie: on the same disk as their place. What killed runs left there, and in
    the two above, is removed."""
    folder = destination.folder
    parents = [parent for parent in (folder, *folder.absolute().parents) if parent.is_dir()]
    for parent in parents[:3]:
        clean_leftovers(parent)
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())


def move_results(work_dir: Path, destination: Destination) -> None:
    """Moves the files of a folder to their place, the run record last."""
    folder, record = destination.folder, destination.record_name
    names = sorted((path.name for path in work_dir.iterdir()), key=lambda name: (name == record, name))
    for name in names:
        if (folder / name).is_dir():
            raise UserError(f"{folder / name} is a folder; a file of that name is to be written: move it")
    folder.mkdir(parents=True, exist_ok=True)
    with uninterrupted():
        if record in names:
            put_away(folder / record, work_dir / record)
        for name in names:
            os.replace(work_dir / name, folder / name)
