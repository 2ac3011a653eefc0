"""Clips as numbered files: folders of frames and `name.####.exr`; and `open_frames` for any input with frames."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Literal

from PIL import Image
from torch import Tensor

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.containers import FILM_SUFFIXES, demuxer
from unrender.files.exr import read_channels
from unrender.files.gbuffer_pictures import Files, find_frames, read_pictures
from unrender.files.gbuffers import CameraLike, read_gbuffer, with_camera, write_gbuffer
from unrender.files.images import PICTURE_SUFFIXES, picture_rows, read_image, write_image
from unrender.files.kinds import still_kind
from unrender.files.layers import Profile, choose_maps
from unrender.files.normal_axes import NormalAxes
from unrender.files.numbering import check_one_sequence, find_numbered, is_pattern, natural_order, numbered, plain
from unrender.files.paths import existing_file
from unrender.files.quiet import silenced
from unrender.files.readers import FrameReader, GBufferReader, Item, Reader
from unrender.files.video import open_video
from unrender.scene.camera import Camera
from unrender.scene.gbuffer import GBuffer
from unrender.scene.plate import Plate

_SIZED_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
_ORIENTATION_TAG = 0x0112


def open_frames(path: str | Path, colorspace: str | None = None) -> FrameReader:
    """Opens any input: a picture, a video, a folder of frames in natural order, or `name.####.exr` (`name.%04d.exr`).

    What is there under that very name is taken before a pattern. What a file is, its content says. `colorspace` is as
    for `read_image`.

    Raises:
        UserError: nothing there, something that is neither picture nor video, a folder without pictures, with pictures
            of several sizes or with several sequences, a sequence with numbers missing, or (while iterating) a frame
            that is damaged or of another size.
    """
    path = Path(path)
    sequence = open_sequence(path, lambda file: read_image(file, colorspace))
    if sequence is not None:
        return sequence
    if demuxer(existing_file(path)) is not None:
        clip = open_video(path, colorspace)
        return replace(clip, name=_visible(clip.name))
    try:
        frames = read_image(path, colorspace)
    except UserError:
        if path.suffix.lower() in FILM_SUFFIXES:
            return open_video(path, colorspace)  # whose message it is
        raise
    return Reader(_visible(frames.name), frames.size, frames.fps, 1, lambda: iter((frames,)))


def open_gbuffers(
    path: str | Path,
    normals: NormalAxes = "auto",
    camera: CameraLike | None = None,
    colorspace: str | None = None,
) -> GBufferReader:
    """Opens G-buffers: one EXR, a folder of EXR files in natural order, `name.####.exr`, or a folder with a picture for
    each map of each frame, as official codes write them (see `gbuffer_pictures`).

    Args:
        path: what to open.
        normals: as for `read_gbuffer`.
        camera: of all frames, or one a frame, or a vertical field of view, where the caller knows it.
        colorspace: as for `read_gbuffer`; of EXR files.

    Raises:
        UserError: as of `read_gbuffer`, or another number of cameras than of frames.
    """
    path = Path(path)
    if is_pattern(path) and not path.exists():
        paths, name = _numbered_files(path)
    elif path.is_dir():
        if pictures := _map_pictures(path):
            if colorspace is not None:
                raise UserError(f"{path} is a folder of pictures, and the colour space {colorspace!r} is of EXR files")
            return _frames_of_pictures(path, pictures, camera)
        paths, name = _files_in(path, frozenset({".exr"}))
    else:
        paths, name = [path], path.stem
    cameras = _camera_of_each(camera, len(paths), path)
    numbers = {file: index for index, file in enumerate(paths)}
    return _sequence(paths, name, lambda file: read_gbuffer(file, normals, cameras[numbers[file]], colorspace))


def holds_gbuffers(path: str | Path) -> bool:
    """Whether an input is G-buffers, as `open_gbuffers` reads them, and no picture: an EXR (the first one of a folder
    or a sequence) that has a base colour or normals, or a folder with a picture for each map.

    Raises:
        UserError: no such input, or an EXR that cannot be read.
    """
    path = Path(path)
    if is_pattern(path) and not path.exists():
        first = _numbered_files(path)[0][0]
    elif path.is_dir():
        exr = sorted(path.glob("[!.]*.[eE][xX][rR]"), key=natural_order)
        if not exr:
            return bool(find_frames(path))
        first = exr[0]
    else:
        first = existing_file(path)
    if still_kind(first) != "exr":
        return False
    maps = choose_maps(read_channels(first).channels).channels
    return not maps.keys().isdisjoint(("base_color", "normal"))


def open_sequence(path: Path, read: Callable[[Path], Item]) -> Reader[Item] | None:
    """The pictures of a folder or of `name.####.png`, each as `read` gives it; None of anything else. Raises UserError
    as `open_frames` does."""
    if is_pattern(path) and not path.exists():
        return _sequence(*_numbered_files(path), read)
    return _sequence(*_files_in(path, PICTURE_SUFFIXES), read) if path.is_dir() else None


class GBufferWriter:
    """Writes G-buffers as `name.####.exr`, or a still as `name.exr`; files appear when the `with` block ends, or none.

    Args:
        path: where to, with #### or %04d for the number; without, for a single frame.
        profile, metadata, colorspace: as for `write_gbuffer`.
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
        colorspace: str | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".exr":
            raise UserError(f"cannot write G-buffers as {path}; expected name.exr or name.####.exr")
        self._profile, self._metadata, self._colorspace = profile, metadata, colorspace
        self._stack = ExitStack()
        self._files = self._stack.enter_context(frame_files(self.path, first))

    def __enter__(self) -> GBufferWriter:
        return self

    def write(self, gbuffer: GBuffer) -> None:
        """Adds the frames of a G-buffer, T or one, a file each."""
        for index in range(len(gbuffer)):
            write_gbuffer(
                next(self._files),
                gbuffer.frame(index),
                profile=self._profile,
                metadata=self._metadata,
                colorspace=self._colorspace,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class ImageWriter:
    """Writes pictures as `name.####.png` (.jpg, .webp, .exr), or one as `name.png`; as `GBufferWriter`.

    Args:
        path: where to, with #### or %04d for the number; without, for a single frame.
        bits, transfer, colorspace: as for `write_image`.
        first: number of the first frame.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bits: Literal[8, 16] = 8,
        transfer: Literal["srgb", "linear"] = "srgb",
        first: int = 1,
        colorspace: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._colorspace = colorspace
        self._bits: Literal[8, 16] = bits
        self._transfer: Literal["srgb", "linear"] = transfer
        self._stack = ExitStack()
        self._files = self._stack.enter_context(frame_files(self.path, first))

    def __enter__(self) -> ImageWriter:
        return self

    def rows(self, height: int) -> AbstractContextManager[Callable[[Tensor, Tensor | None], None]]:
        """What takes the rows of the next picture for display; see `images.picture_rows`."""
        return picture_rows(next(self._files), height, self._bits, self._transfer)

    def write(self, rgb_linear: Tensor, alpha: Tensor | None = None, plate: Plate | None = None) -> None:
        """Adds pictures, (3, H, W) or (T, 3, H, W) linear, with their alpha, (1, H, W) or (T, 1, H, W), a file each."""
        pictures = rgb_linear.reshape(-1, *rgb_linear.shape[-3:])
        alphas = alpha.reshape(-1, *alpha.shape[-3:]) if alpha is not None else [None] * len(pictures)
        for picture, own in zip(pictures, alphas, strict=True):
            write_image(
                next(self._files),
                picture,
                alpha=own,
                bits=self._bits,
                transfer=self._transfer,
                plate=plate,
                colorspace=self._colorspace,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


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
    yield files.enter_context(atomic_write(plain(path)))
    raise UserError(f"{path} is one file and there are more frames; expected {path.stem}.####{path.suffix}")


def _sequence(paths: list[Path], name: str, read: Callable[[Path], Item]) -> Reader[Item]:
    first = read(paths[0])

    def frames() -> Iterator[Item]:
        for path in paths:
            frame = read(path)
            if frame.size != first.size:
                raise UserError(f"{path} is {frame.size} and {paths[0]} is {first.size}; expected one size for all")
            yield frame

    return Reader(name, first.size, first.fps, len(paths), frames, _first_number(paths))


def _camera_of_each(camera: CameraLike | None, frames: int, path: Path) -> Sequence[CameraLike | None]:
    """The camera of every frame."""
    if not isinstance(camera, Camera):
        return [camera] * frames
    if len(camera) not in (1, frames):
        raise UserError(f"{len(camera)} cameras for {frames} frames of {path}; expected 1, or as many as frames")
    return [camera.frame(index) for index in range(frames)]


def _map_pictures(folder: Path) -> list[tuple[str, Files]]:
    """The frames of a folder that has no EXR in it, and pictures that are named by maps."""
    if any(path.suffix.lower() == ".exr" for path in folder.iterdir()):
        return []
    return find_frames(folder)


def _frames_of_pictures(folder: Path, pictures: list[tuple[str, Files]], camera: CameraLike | None) -> GBufferReader:
    cameras = _camera_of_each(camera, len(pictures), folder)

    def read(index: int) -> GBuffer:
        return with_camera(read_pictures(folder, pictures[index][1]), cameras[index], str(folder))

    first = read(0)

    def frames() -> Iterator[GBuffer]:
        for index, (key, _) in enumerate(pictures):
            frame = first if index == 0 else read(index)
            if frame.size != first.size:
                raise UserError(f"{folder}: frame {key} is {frame.size} and the first {first.size}; expected one size")
            yield frame

    return Reader(_folder_name(folder), first.size, first.fps, len(pictures), frames)


def _first_number(paths: list[Path]) -> int:
    """The number of the first of files that follow one another by the last number in their names; else 1."""
    if len(paths) == 1:
        return 1
    last = [re.findall(r"\d+", path.stem)[-1:] for path in paths]
    numbers = [int(found[0]) for found in last if found and len(found[0]) < 9]
    follow = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(paths)))
    return numbers[0] if follow else 1


def _numbered_files(pattern: Path) -> tuple[list[Path], str]:
    """The files that a pattern means, in order, and a name for what is made of them."""
    paths, name = find_numbered(pattern)
    return paths, _visible(name) if name else _folder_name(pattern.parent)


def _files_in(folder: Path, suffixes: frozenset[str]) -> tuple[list[Path], str]:
    """The frames in a folder, in order, and a name for what is made of them."""
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and not path.is_dir()]
    except OSError as error:
        raise UserError(f"the folder {folder} cannot be read: {error.strerror}; check who may") from error
    paths = sorted((path for path in found if not path.name.startswith(".")), key=natural_order)
    if not paths:
        raise UserError(f"the folder {folder} has no frames in it; expected {', '.join(sorted(suffixes))} files")
    check_one_sequence(folder, paths)
    _check_sizes(folder, paths)
    return paths, _folder_name(folder)


def _check_sizes(folder: Path, paths: list[Path]) -> None:
    """Raises UserError where the headers of a folder's pictures say that they are no clip, before any is worked on."""
    sizes: dict[tuple[int, int], Path] = {}
    with silenced():
        for path in paths:
            try:
                with Image.open(existing_file(path), formats=_SIZED_FORMATS) as image:
                    sizes.setdefault(_upright(image), path)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue  # EXR, HDR, and what is damaged: its reader says so
    if len(sizes) > 1:
        shown = [f"{path.name} is {width} x {height}" for (width, height), path in list(sizes.items())[:3]]
        raise UserError(
            f"the folder {folder} has pictures of {len(sizes)} sizes ({', '.join(shown)}), so it is no clip; expected "
            'frames of one size, or photos one at a time (for photo in FOLDER/*; do unrender ... "$photo" -o OUT; done)'
        )


def _upright(image: Image.Image) -> tuple[int, int]:
    turned = image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else (image.width, image.height)


def _folder_name(folder: Path) -> str:
    """The name of a folder, `.` and `..` looked up."""
    return _visible(Path(os.path.abspath(folder)).name)


def _visible(name: str) -> str:
    """A name for results that no listing hides."""
    return name.lstrip(".") or "frames"
