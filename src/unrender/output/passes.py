"""Renderings to pictures, layered EXR files and videos."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.exr import Compression
from unrender.files.gbuffers import LayerFile, LayerRows, layer_rows, write_layers
from unrender.files.images import WRITTEN_SUFFIXES
from unrender.files.numbering import literal
from unrender.files.sequences import ImageWriter, frame_files, is_pattern
from unrender.files.video import DEFAULT_FPS, VIDEO_SUFFIXES, VideoWriter
from unrender.forward import RenderPasses
from unrender.scene.plate import Plate
from unrender.scene.strips import in_strips
from unrender.scene.tone import tone_map

_OPAQUE = (".jpg", ".jpeg")
Metadata = Mapping[str, str] | Sequence[Mapping[str, str]]
"""For headers, each item as `unrender:<key>`: the same for all frames, or of each frame its own."""


@dataclass(frozen=True)
class PictureFormat:
    """How pictures are stored.

    Attributes:
        bits: of a channel of a PNG.
        compression: of an EXR. "zip" keeps 32-bit floats as they are, so that passes add up to the beauty to the last
            bit; "dwaa" loses what eyes do not see, in 16 bits.
        times: of videos, the seconds at which frames begin, and that at which the clip ends; () for equally long ones.
        colorspace: the linear space of an EXR, by OpenColorIO's name; Rec.709. In another the passes add up to the
            beauty to the rounding of floats.
    """

    bits: Literal[8, 16] = 8
    compression: Compression = "zip"
    times: tuple[Fraction, ...] = ()
    colorspace: str | None = None


DEFAULT_FORMAT = PictureFormat()


def write_passes(
    path: str | Path,
    rendered: RenderPasses,
    layers: bool = True,
    fps: float | None = None,
    plate: Plate | None = None,
    colorspace: str | None = None,
) -> None:
    """Writes a rendering, scene-linear where the format is: a still as one file, a clip as a video or `name.####.exr`.

    An .exr has the beauty as R, G, B and, with `layers`, a layer for each pass (diffuse, specular, background), whose
    sum in that order is the beauty to the last bit. Other formats get the beauty for display, under `tone_map`.

    Args:
        path: where to.
        rendered: (T, 3, H, W).
        layers: whether an .exr has the passes.
        fps: of a video, 24 where nobody says.
        plate: what an .exr says of itself: windows, pixel aspect, time code.
        colorspace: the linear space of an .exr, by OpenColorIO's name.

    Raises:
        UserError: several frames for one picture, an unknown suffix, or an output that cannot be written.
    """
    check_frames(path, len(rendered))
    write_passes_stream([path], [(rendered, plate, None)], layers, fps, stored=PictureFormat(colorspace=colorspace))


def check_frames(path: str | Path, frames: int) -> None:
    """Raises UserError where several frames are to be written as one picture."""
    path = Path(path)
    if frames > 1 and not is_pattern(path) and path.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"{path} is one picture and there are {frames} frames; expected .mp4 or name.####.exr")


def write_passes_stream(
    paths: Sequence[str | Path],
    rendered: Iterable[RenderPasses | tuple[RenderPasses, Plate | None, Metadata | None]],
    layers: bool = True,
    fps: float | None = None,
    first: int = 1,
    metadata: Metadata | None = None,
    stored: PictureFormat = DEFAULT_FORMAT,
) -> None:
    """Writes the renderings of a clip, alone or each with its plate and what its .exr says, to each of `paths` as they
    come; see `PassesWriter`."""
    with PassesWriter(paths, layers, fps, first, stored) as writer:
        for item in rendered:
            passes, plate, said = item if isinstance(item, tuple) else (item, None, metadata)
            writer.write(passes, plate=plate, metadata=said)


def passes_paths(folder: str | Path, name: str, frames: int) -> tuple[Path, ...]:
    """The files of a rendering in a folder: of a still name.png and name.exr, of a clip name.mp4 and name.####.exr.
    # and % in the name stand for themselves (see `files.numbering.literal`)."""
    folder, pictures = Path(folder), literal(name)
    if frames == 1:
        return folder / f"{pictures}.png", folder / f"{pictures}.exr"
    return folder / f"{name}.mp4", folder / f"{pictures}.####.exr"


class PassesWriter:
    """Writes renderings frame by frame, to several files at once; each file appears whole when the `with` block ends,
    and not at all if it fails.

    Args:
        paths: files that get every frame: a video (.mp4, .mkv, .mov) and a picture (.png, ...) the picture for
            display, an .exr the beauty and its passes as layers (see `write_passes`). A picture or .exr that has ####
            or %04d in its name is one file a frame, else there may be one frame only.
        layers: whether an .exr has the passes.
        fps: of videos, 24 where nobody says; an .exr says it, too, where somebody does.
        first: number of the first frame.
        stored: bits of PNG, compression of EXR.

    Raises:
        UserError: an unknown suffix, or an output that cannot be written.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        layers: bool = True,
        fps: float | None = None,
        first: int = 1,
        stored: PictureFormat = DEFAULT_FORMAT,
    ) -> None:
        self.paths = [Path(path) for path in paths]
        for path in self.paths:
            if path.suffix.lower() not in (*WRITTEN_SUFFIXES, *VIDEO_SUFFIXES):
                known = ", ".join((*WRITTEN_SUFFIXES, *VIDEO_SUFFIXES))
                raise UserError(f"cannot write a rendering as {path}; expected {known}")
        self._layers, self._fps, self._first, self._stored = layers, fps, first, stored

    def __enter__(self) -> PassesWriter:
        with ExitStack() as stack:
            self._writers = [stack.enter_context(self._open(path)) for path in self.paths]
            self._stack = stack.pop_all()
        return self

    def write(
        self,
        rendered: RenderPasses,
        display: Tensor | None = None,
        plate: Plate | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Adds frames, T or one, all of one size.

        Args:
            rendered: what an .exr gets, scene-linear and not exposed. Pictures that can hold one get its alpha.
            display: (T, 3, H, W) display-linear in [0, 1], composited, what pictures and videos get; the beauty under
                `tone_map` when None.
            plate: what an .exr says of windows and numbers.
            metadata: for the header of an .exr.
        """
        pictures = [writer for writer in self._writers if not isinstance(writer, _LayerWriter)]
        if pictures and display is None:
            display = in_strips(tone_map, rendered.beauty)
        for writer in pictures:
            assert display is not None
            alpha = rendered.alpha if isinstance(writer, ImageWriter) else None
            if isinstance(writer, ImageWriter) and alpha is not None and writer.path.suffix.lower() not in _OPAQUE:
                writer.write(in_strips(_straight, display, alpha), alpha)
            else:
                writer.write(display)
        del display  # a large one is let go, where the caller does not hold it, before the linear picture is made
        for writer in self._writers:
            if isinstance(writer, _LayerWriter):
                writer.write(rendered, rendered.beauty, plate, metadata)

    def write_strips(
        self,
        size: tuple[int, int],
        strips: Iterator[tuple[RenderPasses, Tensor]],
        plate: Plate | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Adds one frame, some rows at a time: their passes, and the picture of them for display, from the top.

        Args:
            size: (height, width) of the frame.
            strips: rows as (1, C, rows, W), see `write`.
            plate, metadata: see `write`.
        """
        first = next(strips)
        with ExitStack() as stack:
            sinks = [stack.enter_context(_rows(writer, size, first[0], plate, metadata)) for writer in self._writers]
            for passes, display in chain((first,), strips):
                for sink in sinks:
                    sink(passes, display)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _open(self, path: Path) -> VideoWriter | ImageWriter | _LayerWriter:
        suffix = path.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            return VideoWriter(path, self._fps or DEFAULT_FPS, times=self._stored.times)
        if suffix == ".exr":
            return _LayerWriter(path, self._layers, self._first, self._fps, self._stored)
        return ImageWriter(path, first=self._first, bits=self._stored.bits if suffix == ".png" else 8)


@contextmanager
def _rows(
    writer: VideoWriter | ImageWriter | _LayerWriter,
    size: tuple[int, int],
    like: RenderPasses,
    plate: Plate | None,
    metadata: Mapping[str, str] | None,
) -> Generator[Callable[[RenderPasses, Tensor], None]]:
    """What takes the rows of one frame for a file."""
    if isinstance(writer, VideoWriter):
        raise UserError("a large still goes to a picture; expected a name that ends in .png, .jpg or .exr")
    if isinstance(writer, _LayerWriter):
        with writer.rows(size, like, plate, metadata) as write:
            yield lambda passes, _: write(_planes(passes), passes.beauty[0], _first(passes.alpha))
        return
    opaque = like.alpha is None or writer.path.suffix.lower() in _OPAQUE
    with writer.rows(size[0]) as write_picture:

        def write_display(passes: RenderPasses, display: Tensor) -> None:
            alpha = None if opaque else passes.alpha
            straight = display if alpha is None else _straight(display, alpha)
            write_picture(straight[0].detach().cpu().float(), _first(alpha))

        yield write_display


def _planes(passes: RenderPasses) -> dict[str, Tensor]:
    return {name: value[0] for name, value in passes.passes.items()}


def _first(alpha: Tensor | None) -> Tensor | None:
    return None if alpha is None else alpha[0]


def _straight(beauty: Tensor, alpha: Tensor) -> Tensor:
    """Colour without the alpha that it is multiplied by; black where there is nothing."""
    return torch.where(alpha > 0, beauty / alpha.clamp(min=1e-6), torch.zeros_like(beauty))


class _LayerWriter:
    """Renderings as .exr, one file a frame."""

    def __init__(self, path: Path, layers: bool, first: int, fps: float | None, stored: PictureFormat) -> None:
        self._layers, self._fps, self._stored = layers, fps, stored
        self._stack = ExitStack()
        self._files = self._stack.enter_context(frame_files(path, first))

    def __enter__(self) -> _LayerWriter:
        return self

    def rows(
        self, size: tuple[int, int], like: RenderPasses, plate: Plate | None, metadata: Mapping[str, str] | None
    ) -> AbstractContextManager[LayerRows]:
        """What takes the rows of the next frame, whose passes are `like` these."""
        if self._fps is not None:
            plate = (plate or Plate.of_size(size)).at_rate(self._fps)
        layers = tuple(like.passes) if self._layers else ()
        about = LayerFile(
            layers,
            like.alpha is not None,
            size,
            plate,
            metadata or {},
            self._stored.compression,
            self._stored.colorspace,
        )
        return layer_rows(next(self._files), about)

    def write(self, rendered: RenderPasses, beauty: Tensor, plate: Plate | None, metadata: Metadata | None) -> None:
        if self._fps is not None:
            plate = (plate or Plate.of_size(beauty.shape[2:])).at_rate(self._fps)
        for index in range(len(rendered)):
            passes = {name: value[index] for name, value in rendered.passes.items()} if self._layers else {}
            alpha = rendered.alpha[index] if rendered.alpha is not None else None
            own = metadata if metadata is None or isinstance(metadata, Mapping) else metadata[index]
            write_layers(
                next(self._files),
                passes,
                beauty[index],
                alpha,
                plate,
                own,
                self._stored.compression,
                self._stored.colorspace,
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
