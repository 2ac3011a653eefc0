"""`write`: one function for every output; the type of the object and the suffix choose the format."""

from __future__ import annotations

from pathlib import Path

from unrender.errors import UserError
from unrender.files.environments import write_environment
from unrender.files.images import WRITTEN_SUFFIXES
from unrender.files.sequences import GBufferWriter, ImageWriter, is_pattern
from unrender.files.video import DEFAULT_FPS, VIDEO_SUFFIXES, VideoWriter
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer


def write(path: str | Path, thing: GBuffer | Frames | EnvironmentMap, colorspace: str | None = None) -> None:
    """Writes a G-buffer, frames or a light; atomically.

    A G-buffer goes to .exr, a clip of them to `name.####.exr`. One frame goes to .png, .jpg, .webp or .exr, several
    to .mp4, .mkv, .mov (24 fps where `fps` is None) or `name.####.png`. A light
    goes to .exr. EXR is linear Rec.709, or in the linear `colorspace` of that name in OpenColorIO, such as "ACEScg".

    Raises:
        UserError: a suffix that does not fit the type (the supported ones are listed), or an output that cannot be
            written.
    """
    path = Path(path)
    if isinstance(thing, GBuffer):
        _require_suffix(path, (".exr",), "a G-buffer")
        if len(thing) > 1 and not is_pattern(path):
            raise UserError(f"{path} is one file and the G-buffer has {len(thing)} frames; expected name.####.exr")
        with GBufferWriter(path, colorspace=colorspace) as writer:
            writer.write(thing)
    elif isinstance(thing, EnvironmentMap):
        _require_suffix(path, (".exr",), "a light")
        write_environment(path, thing, colorspace)
    else:
        _write_frames(path, thing, colorspace)


def _write_frames(path: Path, frames: Frames, colorspace: str | None) -> None:
    _require_suffix(path, (*WRITTEN_SUFFIXES, *VIDEO_SUFFIXES), "pictures")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        with VideoWriter(path, frames.fps or DEFAULT_FPS) as writer:
            writer.write(frames.rgb)
    elif len(frames) == 1 or is_pattern(path):
        with ImageWriter(path, colorspace=colorspace) as writer:
            writer.write(frames.rgb, None if path.suffix.lower() in (".jpg", ".jpeg") else frames.mask, frames.plate)
    else:
        raise UserError(f"{path} is one picture and there are {len(frames)} frames; expected .mp4 or name.####.png")


def _require_suffix(path: Path, suffixes: tuple[str, ...], what: str) -> None:
    if path.suffix.lower() not in suffixes:
        raise UserError(f"cannot write {what} as {path}; expected {', '.join(suffixes)}")
