"""Clips as numbered files: folders of frames and `name.####.exr`; and `open_frames` for any input with frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Literal

from torch import Tensor

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.gbuffers import read_gbuffer, write_gbuffer
from unrender.files.images import PICTURE_SUFFIXES, is_still, read_image, write_image
from unrender.files.layers import Profile
from unrender.files.normal_axes import NormalAxes
from unrender.files.paths import existing_file
from unrender.files.readers import FrameReader, GBufferReader, Item, Reader
from unrender.files.video import open_video
from unrender.scene.gbuffer import GBuffer
from unrender.scene.plate import Plate

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
    if path.suffix.lower() in PICTURE_SUFFIXES - {".webp"} or is_still(existing_file(path)):
        frames = read_image(path)
        return Reader(frames.name, frames.size, frames.fps, 1, lambda: iter((frames,)))
    return open_video(path)


def open_gbuffers(path: str | Path, normals: NormalAxes = "auto") -> GBufferReader:
    """Opens G-buffers: one EXR, a folder of EXR files in natural order, or `name.####.exr`; `normals` and errors as
    `read_gbuffer`."""
    path, read = Path(path), partial(read_gbuffer, normals=normals)
    if is_pattern(path) and not path.exists():
        return _sequence(_numbered(path), _stem(path), read)
    if path.is_dir():
        return _sequence(_pictures(path, frozenset({".exr"})), path.name, read)
    return _sequence([path], path.stem, read)


class GBufferWriter:
    """Writes G-buffers as `name.####.exr`, or a still as `name.exr`; files appear when the `with` block ends, or none.

    Args:
        path: where to, with #### or %04d for the number; without, for a single frame.
        profile, metadata: as for `write_gbuffer`.
        first: number of the first frame.

    Raises:
        UserError: another suffix, an output that cannot be written, or (from `write`) a second frame for one file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        profile: Profile = "unrender",
        metadata: Mapping[str, str] | None = None,
        first: int = 1,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".exr":
            raise UserError(f"cannot write G-buffers as {path}; expected name.exr or name.####.exr")
        self._profile, self._metadata = profile, metadata
        self._stack = ExitStack()
        self._files = self._stack.enter_context(frame_files(self.path, first))

    def __enter__(self) -> GBufferWriter:
        return self

    def write(self, gbuffer: GBuffer) -> None:
        """Adds the frames of a G-buffer, T or one, a file each."""
        for index in range(len(gbuffer)):
            write_gbuffer(next(self._files), gbuffer.frame(index), profile=self._profile, metadata=self._metadata)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class ImageWriter:
    """Writes pictures as `name.####.png` (.jpg, .webp, .exr), or one as `name.png`; as `GBufferWriter`.

    Args:
        path: where to, with #### or %04d for the number; without, for a single frame.
        bits, transfer: as for `write_image`.
        first: number of the first frame.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bits: Literal[8, 16] = 8,
        transfer: Literal["srgb", "linear"] = "srgb",
        first: int = 1,
    ) -> None:
        self.path = Path(path)
        self._bits: Literal[8, 16] = bits
        self._transfer: Literal["srgb", "linear"] = transfer
        self._stack = ExitStack()
        self._files = self._stack.enter_context(frame_files(self.path, first))

    def __enter__(self) -> ImageWriter:
        return self

    def write(self, rgb_linear: Tensor, alpha: Tensor | None = None, plate: Plate | None = None) -> None:
        """Adds pictures, (3, H, W) or (T, 3, H, W) linear, with their alpha, (1, H, W) or (T, 1, H, W), a file each."""
        pictures = rgb_linear.reshape(-1, *rgb_linear.shape[-3:])
        alphas = alpha.reshape(-1, *alpha.shape[-3:]) if alpha is not None else [None] * len(pictures)
        for picture, own in zip(pictures, alphas, strict=True):
            write_image(next(self._files), picture, alpha=own, bits=self._bits, transfer=self._transfer, plate=plate)

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
def frame_files(path: str | Path, first: int = 1) -> Generator[Iterator[Path]]:
    """Yields an iterator of paths to write frames to: for `name.####.exr` endless, for a plain name one. At the end the
    frames take their names, all together (see `atomic_write`), and where the block raises, none do."""
    path = Path(path)
    with ExitStack() as files:
        if is_pattern(path):
            yield (files.enter_context(atomic_write(numbered(path, number))) for number in count(first))
        else:
            yield _one_file(path, files)


def _one_file(path: Path, files: ExitStack) -> Iterator[Path]:
    yield files.enter_context(atomic_write(path))
    raise UserError(f"{path} is one file and there are more frames; expected {path.stem}.####{path.suffix}")


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

    return Reader(name, first.size, first.fps, len(paths), frames, _first_number(paths))


def _first_number(paths: list[Path]) -> int:
    """The number of the first of files that follow one another by the last number in their names; else 1."""
    if len(paths) == 1:
        return 1
    last = [re.findall(r"\d+", path.stem)[-1:] for path in paths]
    numbers = [int(found[0]) for found in last if found and len(found[0]) < 9]
    follow = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(paths)))
    return numbers[0] if follow else 1


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
