"""Rendered frames to files, as they come."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from PIL import Image
from torch import Tensor

from unrender.cli.outputs import Destination
from unrender.files.images import write_image
from unrender.files.preview import map_to_rgb, thumbnail, tiles
from unrender.files.sequences import numbered
from unrender.files.video import VideoWriter
from unrender.forward import LightGroups
from unrender.output import write_light_groups
from unrender.scene.gbuffer import GBuffer

DEFAULT_FPS = 24.0


@dataclass(frozen=True)
class Take:
    """What is being rendered.

    Attributes:
        name: what its files are called.
        frames: how many there are; 1 makes a still.
        fps: frames per second, None where nobody knows.
    """

    name: str
    frames: int
    fps: float | None = None

    def file(self, ending: str) -> str:
        """`name.exr` for a still, `name.####.exr` for the frames of a clip."""
        return f"{self.name}{ending}" if self.frames == 1 else f"{self.name}.####{ending}"


def thumbnails(gbuffer: GBuffer) -> dict[str, Tensor]:
    """The first frame's maps as small display pictures, by name, the photo first: what a contact sheet is made of."""
    shown = {name: thumbnail(map_to_rgb(name, value[0])) for name, value in gbuffer.maps.items()}
    return {"photo": shown.pop("rgb")} | shown if "rgb" in shown else shown


def write_contact_sheet(path: Path, shown: dict[str, Tensor], rendered: LightGroups | None = None) -> None:
    """Writes `thumbnails`, and what was `rendered` from the maps, as one labelled PNG."""
    relit = {} if rendered is None else {"relit": thumbnail(map_to_rgb("rgb", rendered.beauty[0]))}
    Image.fromarray(tiles(shown | relit)).save(path)


class RenderedWriter:
    """Writes rendered frames: of a still a PNG and an EXR, of a clip an mp4 and an EXR for every frame; or only the one
    file that was asked for."""

    def __init__(self, stage: Path, destination: Destination, take: Take, groups: bool = True) -> None:
        self._stage, self._destination, self._take, self._groups = stage, destination, take, groups
        self._stack = ExitStack()
        self._video: VideoWriter | None = None
        self._written = 0

    def __enter__(self) -> RenderedWriter:
        if self._take.frames > 1 and self._destination.wants(".mp4"):
            path = self._stage / (self._destination.file or f"{self._take.name}.mp4")
            self._video = self._stack.enter_context(VideoWriter(path, self._take.fps or DEFAULT_FPS))
        return self

    def write(self, rendered: LightGroups) -> None:
        """Adds one frame, (1, 3, H, W)."""
        self._written += 1
        if self._video:
            self._video.write(rendered.beauty)
        elif self._destination.wants(".png"):
            write_image(self._stage / (self._destination.file or self._take.file(".png")), rendered.beauty[0])
        if self._destination.wants(".exr"):
            pattern = self._stage / (self._destination.file or self._take.file(".exr"))
            path = pattern if self._take.frames == 1 else numbered(pattern, self._written)
            write_light_groups(path, rendered, self._groups)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
