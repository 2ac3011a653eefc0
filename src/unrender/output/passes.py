"""Renderings to pictures, layered EXR files and videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from torch import Tensor

from unrender.errors import UserError
from unrender.files.gbuffers import write_layers
from unrender.files.images import WRITTEN_SUFFIXES
from unrender.files.sequences import ImageWriter, frame_files, is_pattern
from unrender.files.video import DEFAULT_FPS, VIDEO_SUFFIXES, VideoWriter
from unrender.forward import RenderPasses
from unrender.scene.strips import in_strips
from unrender.scene.tone import tone_map

_WITH_ALPHA = (".png", ".webp")


def write_passes(path: str | Path, rendered: RenderPasses, layers: bool = True, fps: float | None = None) -> None:
    """Writes a rendering, scene-linear where the format is: a still as one file, a clip as a video or `name.####.exr`.

    An .exr has the beauty as R, G, B and, with `layers`, a layer for each pass (diffuse, specular, background), whose
    sum in that order is the beauty to the last bit. Other formats get the beauty for display, under `tone_map`.

    Args:
        path: where to.
        rendered: (T, 3, H, W).
        layers: whether an .exr has the passes.
        fps: of a video, 24 where nobody says.

    Raises:
        UserError: several frames for one picture, an unknown suffix, or an output that cannot be written.
    """
    check_frames(path, len(rendered))
    write_passes_stream([path], [rendered], layers, fps)


def check_frames(path: str | Path, frames: int) -> None:
    """Raises UserError where several frames are to be written as one picture."""
    path = Path(path)
    if frames > 1 and not is_pattern(path) and path.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f"{path} is one picture and there are {frames} frames; expected .mp4 or name.####.exr")


def write_passes_stream(
    paths: Sequence[str | Path], rendered: Iterable[RenderPasses], layers: bool = True, fps: float | None = None
) -> None:
    """Writes the renderings of a clip to each of `paths` as they come; see `PassesWriter`."""
    with PassesWriter(paths, layers, fps) as writer:
        for passes in rendered:
            writer.write(passes)


def passes_paths(folder: str | Path, name: str, frames: int) -> tuple[Path, ...]:
    """The files of a rendering in a folder: of a still name.png and name.exr, of a clip name.mp4 and name.####.exr."""
    folder = Path(folder)
    if frames == 1:
        return folder / f"{name}.png", folder / f"{name}.exr"
    return folder / f"{name}.mp4", folder / f"{name}.####.exr"


class PassesWriter:
    """Writes renderings frame by frame, to several files at once; each file appears whole when the `with` block ends,
    and not at all if it fails.

    Args:
        paths: files that get every frame: a video (.mp4, .mkv, .mov) and a picture (.png, ...) the picture for
            display, an .exr the beauty and its passes as layers (see `write_passes`). A picture or .exr that has ####
            or %04d in its name is one file a frame, else there may be one frame only.
        layers: whether an .exr has the passes.
        fps: of videos, 24 where nobody says.

    Raises:
        UserError: an unknown suffix, or an output that cannot be written.
    """

    def __init__(self, paths: Sequence[str | Path], layers: bool = True, fps: float | None = None) -> None:
        self.paths = [Path(path) for path in paths]
        for path in self.paths:
            if path.suffix.lower() not in (*WRITTEN_SUFFIXES, *VIDEO_SUFFIXES):
                known = ", ".join((*WRITTEN_SUFFIXES, *VIDEO_SUFFIXES))
                raise UserError(f"cannot write a rendering as {path}; expected {known}")
        self._layers, self._fps = layers, fps or DEFAULT_FPS

    def __enter__(self) -> PassesWriter:
        with ExitStack() as stack:
            self._writers = [stack.enter_context(self._open(path)) for path in self.paths]
            self._stack = stack.pop_all()
        return self

    def write(
        self,
        rendered: RenderPasses,
        display: Tensor | None = None,
        alpha: Tensor | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Adds frames, T or one, all of one size.

        Args:
            rendered: what an .exr gets, scene-linear and not exposed.
            display: (T, 3, H, W) display-linear in [0, 1], what pictures and videos get; the beauty under `tone_map`
                when None.
            alpha: (T, 1, H, W), written into pictures that can hold one; None for none.
            metadata: for the header of an .exr, each item as `unrender:<key>`.
        """
        beauty = rendered.beauty
        for writer in self._writers:
            if isinstance(writer, _LayerWriter):
                writer.write(rendered, beauty, metadata)
                continue
            display = in_strips(tone_map, beauty) if display is None else display
            if isinstance(writer, ImageWriter):
                writer.write(display, alpha if writer.path.suffix.lower() in _WITH_ALPHA else None)
            else:
                writer.write(display)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _open(self, path: Path) -> VideoWriter | ImageWriter | _LayerWriter:
        suffix = path.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            return VideoWriter(path, self._fps)
        return _LayerWriter(path, self._layers) if suffix == ".exr" else ImageWriter(path)


class _LayerWriter:
    """Renderings as .exr in 32-bit float, one file a frame."""

    def __init__(self, path: Path, layers: bool) -> None:
        self._layers = layers
        self._stack = ExitStack()
        self._files = self._stack.enter_context(frame_files(path))

    def __enter__(self) -> _LayerWriter:
        return self

    def write(self, rendered: RenderPasses, beauty: Tensor, metadata: Mapping[str, str] | None = None) -> None:
        for index in range(len(rendered)):
            passes = {name: value[index] for name, value in rendered.passes.items()} if self._layers else {}
            write_layers(next(self._files), passes, beauty[index], metadata)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
