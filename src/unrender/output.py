"""Any noun to a file, by what it is and by the file's ending."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from unrender.conventions import COLOR_SPACE
from unrender.errors import UserError
from unrender.files.atomic import whole
from unrender.files.environments import write_environment
from unrender.files.exr import write_channels
from unrender.files.gbuffers import write_gbuffer
from unrender.files.images import write_image
from unrender.files.video import VideoWriter
from unrender.forward import LightGroups
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

GROUPS = ("diffuse", "specular", "background")
VIDEO_ENDINGS = (".mp4", ".mov", ".mkv")
DEFAULT_FPS = 24.0


def write(path: str | Path, value: GBuffer | LightGroups | EnvironmentMap | Frames | Tensor) -> None:
    """Writes `value` to `path`, whole or not at all.

    A G-buffer becomes a multi-layer EXR (see `files.write_gbuffer`); a rendering an EXR with its light groups, or its
    beauty in any other format; an environment map an EXR or HDR; frames, or a picture (T, 3, H, W) or (3, H, W) in
    scene-linear colour, an image, or a video by the ending of `path`.

    Raises:
        UserError: the ending fits no format for `value`, or nothing can be written there.
    """
    path = Path(path)
    if isinstance(value, GBuffer):
        write_gbuffer(path, value)
    elif isinstance(value, EnvironmentMap):
        write_environment(path, value)
    elif isinstance(value, LightGroups):
        if path.suffix.lower() == ".exr":
            write_light_groups(path, value)
        else:
            _write_pictures(path, value.beauty, DEFAULT_FPS)
    elif isinstance(value, Frames):
        _write_pictures(path, value.rgb, value.fps or DEFAULT_FPS)
    else:
        _write_pictures(path, value if value.ndim == 4 else value[None], DEFAULT_FPS)


def write_light_groups(path: Path, rendered: LightGroups, groups: bool = True) -> None:
    """Writes a rendered still as EXR: the beauty as R, G, B and, with `groups`, one layer for each light group.

    Scene-linear Rec.709, all of it 32-bit float, so that diffuse + specular + background, in that order, is the beauty
    to the last bit.
    """
    if len(rendered.beauty) != 1:
        raise UserError(
            f"{path} is one file and the rendering has {len(rendered.beauty)} frames; one at a time is right"
        )
    layers = {"": rendered.beauty} | ({f"{name}.": getattr(rendered, name) for name in GROUPS} if groups else {})
    channels = {
        f"{layer}{letter}": plane.numpy()
        for layer, picture in layers.items()
        for letter, plane in zip("RGB", picture[0].detach().cpu().float(), strict=True)
    }
    with whole(path) as partial:
        write_channels(partial, channels, {"unrender:color_space": COLOR_SPACE})


def _write_pictures(path: Path, rgb: Tensor, fps: float) -> None:
    if path.suffix.lower() in VIDEO_ENDINGS:
        with VideoWriter(path, fps) as video:
            for picture in rgb:
                video.write(picture)
    elif len(rgb) == 1:
        write_image(path, rgb[0])
    else:
        raise UserError(f"{path} is a still and there are {len(rgb)} frames; a name ending in .mp4 is right")
