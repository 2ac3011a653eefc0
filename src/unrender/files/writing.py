"""One verb for every output: what is written is known by the object, and how by the suffix."""

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


def write(path: str | Path, thing: GBuffer | Frames | EnvironmentMap) -> None:
    """Writes a G-buffer, frames or a light; the result appears whole or not at all.

    A G-buffer goes to .exr, a clip of them to `name.####.exr`. Frames go to .png, .jpg, .webp or .exr where they are
    one, and to .mp4, .mkv, .mov (24 a second where they do not say) or `name.####.png` where they are many. A light
    goes to .exr.

    Raises:
        UserError: a suffix that this cannot be written as (it lists the right ones), or an output that cannot be
            written.
    """
    path = Path(path)
    if isinstance(thing, GBuffer):
        _require_suffix(path, (".exr",), "a G-buffer")
        if len(thing) > 1 and not is_pattern(path):
            raise UserError(f"{path} is one file and the G-buffer has {len(thing)} frames; expected name.####.exr")
        with GBufferWriter(path) as writer:
            writer.write(thing)
    elif isinstance(thing, EnvironmentMap):
        _require_suffix(path, (".exr",), "a light")
        write_environment(path, thing)
    else:
        _write_frames(path, thing)


def _write_frames(path: Path, frames: Frames) -> None:
    _require_suffix(path, (*WRITTEN_SUFFIXES, *VIDEO_SUFFIXES), "pictures")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        with VideoWriter(path, frames.fps or DEFAULT_FPS) as writer:
            writer.write(frames.rgb)
    elif len(frames) == 1 or is_pattern(path):
        with ImageWriter(path) as writer:
            writer.write(frames.rgb, None if path.suffix.lower() in (".jpg", ".jpeg") else frames.mask)
    else:
        raise UserError(f"{path} is one picture and there are {len(frames)} frames; expected .mp4 or name.####.png")


def _require_suffix(path: Path, suffixes: tuple[str, ...], what: str) -> None:
    if path.suffix.lower() not in suffixes:
        raise UserError(f"cannot write {what} as {path}; expected {', '.join(suffixes)}")
