"""Clips as numbered files: folders of frames and `name.####.exr`; and `open_frames` for any input with frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.gbuffers import read_gbuffer, write_gbuffer
from unrender.files.images import PICTURE_SUFFIXES, read_image
from unrender.files.layers import Profile
from unrender.files.readers import FrameReader, GBufferReader, Item, Reader
from unrender.files.video import open_video
from unrender.scene.gbuffer import GBuffer

_NUMBER = re.compile(r"#+|%0?(\d*)d")


def open_frames(path: str | Path) -> FrameReader:
    """Opens any input: a picture, a video, a folder of frames in natural order, or `name.####.exr` (`name.%04d.exr`).

    Raises:
        UserError: nothing there, something that is neither picture nor video, a folder without pictures, a sequence
            with numbers missing, or (while iterating) a frame that is damaged or of another size.
    """
    path = Path(path)
    if is_pattern(path) and not path.exists():
        return _sequence(_numbered(path), _stem(path), read_image)
    if path.is_dir():
        return _sequence(_pictures(path), path.name, read_image)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        frames = read_image(path)
        return Reader(frames.name, frames.size, None, 1, lambda: iter((frames,)))
    return open_video(path)


def open_gbuffers(path: str | Path) -> GBufferReader:
    """Opens G-buffers: one EXR, a folder of EXR files in natural order, or `name.####.exr`; errors as `open_frames`."""
    path = Path(path)
    if is_pattern(path) and not path.exists():
        return _sequence(_numbered(path), _stem(path), read_gbuffer)
    if path.is_dir():
        return _sequence(_pictures(path, frozenset({".exr"})), path.name, read_gbuffer)
    return _sequence([path], path.stem, read_gbuffer)


class GBufferWriter:
    """Writes the G-buffers of a clip as `name.####.exr`; they all appear when the `with` block ends, or none do.

    Args:
        pattern: where to, with #### or %04d for the number.
        profile, metadata: as for `write_gbuffer`.
        first: number of the first frame.
    """

    def __init__(
        self,
        pattern: str | Path,
        *,
        profile: Profile = "unrender",
        metadata: Mapping[str, str] | None = None,
        first: int = 1,
    ) -> None:
        self.pattern = Path(pattern)
        if not is_pattern(self.pattern) or self.pattern.suffix.lower() != ".exr":
            raise UserError(f"cannot write G-buffers as {pattern}; expected name.####.exr")
        self._profile, self._metadata = profile, metadata
        self._stack = ExitStack()
        self._files = self._stack.enter_context(numbered_files(self.pattern, first))

    def __enter__(self) -> GBufferWriter:
        return self

    def write(self, gbuffer: GBuffer) -> None:
        """Adds the frames of a G-buffer, one file each."""
        for index in range(len(gbuffer)):
            write_gbuffer(next(self._files), gbuffer.frame(index), profile=self._profile, metadata=self._metadata)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def is_pattern(path: str | Path) -> bool:
    """Whether the file name has #### or %04d in it."""
    return _NUMBER.search(Path(path).name) is not None


def numbered(pattern: str | Path, number: int) -> Path:
    """The file of one frame: name.####.exr and 7 give name.0007.exr."""
    pattern = Path(pattern)
    return pattern.with_name(_NUMBER.sub(lambda match: f"{number:0{_digits(match)}d}", pattern.name, count=1))


@contextmanager
def numbered_files(pattern: str | Path, first: int = 1) -> Generator[Iterator[Path]]:
    """Yields an endless iterator of paths to write frames to; at the end they take the names of `pattern`, all together
    (see `atomic.atomic_write`), and where the block raises, none do."""
    with ExitStack() as files:
        yield (files.enter_context(atomic_write(numbered(pattern, number))) for number in count(first))


def natural_order(path: Path) -> list[tuple[int, int | str]]:
    """A sorting key by which frame 9 comes before frame 10."""
    return [(0, int(part)) if part.isdigit() else (1, part.lower()) for part in re.split(r"(\d+)", path.name) if part]


def _sequence(paths: list[Path], name: str, read: Callable[[Path], Item]) -> Reader[Item]:
    first = read(paths[0])

    def frames() -> Iterator[Item]:
        for path in paths:
            frame = read(path)
            if frame.size != first.size:
                raise UserError(f"{path} is {frame.size} and {paths[0]} is {first.size}; expected one size for all")
            yield frame

    return Reader(name, first.size, first.fps, len(paths), frames)


def _pictures(folder: Path, suffixes: frozenset[str] = PICTURE_SUFFIXES) -> list[Path]:
    found = [p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    if not found:
        raise UserError(f"the folder {folder} has no frames in it; expected {', '.join(sorted(suffixes))} files")
    return sorted(found, key=natural_order)


def _numbered(pattern: Path) -> list[Path]:
    match = _NUMBER.search(pattern.name)
    assert match is not None, "callers ask is_pattern first"
    if not pattern.parent.is_dir():
        raise UserError(f"the folder {pattern.parent} does not exist; check the name")
    before, after = re.escape(pattern.name[: match.start()]), re.escape(pattern.name[match.end() :])
    shape = re.compile(rf"{before}(\d{{{_digits(match)},}}){after}")
    by_number = {
        int(found[1]): path for path in pattern.parent.iterdir() if (found := shape.fullmatch(path.name)) is not None
    }
    if not by_number:
        raise UserError(f"no file is called {pattern}; check the name and the number of digits")
    missing = sorted(set(range(min(by_number), max(by_number) + 1)) - set(by_number))
    if missing:
        listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise UserError(f"{pattern} has {len(missing)} frames missing ({listed}); expected a sequence without gaps")
    return [by_number[number] for number in sorted(by_number)]


def _digits(match: re.Match[str]) -> int:
    return int(match[1] or 1) if match[0].startswith("%") else len(match[0])


def _stem(pattern: Path) -> str:
    return _NUMBER.sub("", pattern.stem, count=1).rstrip("._-") or pattern.parent.name
