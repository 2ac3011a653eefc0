"""Any noun to a file; what `files.write` is, and renderings too, which it is too low in the house to know."""

from __future__ import annotations

from pathlib import Path

from unrender import files
from unrender.errors import UserError
from unrender.forward import LightGroups
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer


def write(path: str | Path, thing: GBuffer | Frames | EnvironmentMap | LightGroups) -> None:
    """Writes a G-buffer, frames, a light or a rendering to `path`, whole or not at all.

    A rendering goes to .exr with its light groups as layers (see `write_light_groups`), and its beauty to any other
    format that frames go to; the rest is as `files.write` has it.

    Raises:
        UserError: a suffix that this cannot be written as, or an output that cannot be written.
    """
    if not isinstance(thing, LightGroups):
        files.write(path, thing)
    elif Path(path).suffix.lower() == ".exr":
        write_light_groups(path, thing)
    else:
        files.write(path, Frames(thing.beauty))


def write_light_groups(path: str | Path, rendered: LightGroups, groups: bool = True) -> None:
    """Writes a rendered still as EXR, scene-linear: the beauty as R, G, B and, with `groups`, a layer for each group
    (diffuse, specular, background), whose sum in that order is the beauty to the last bit.

    Raises:
        UserError: more than one frame, or an output that cannot be written.
    """
    frames = len(rendered.background)
    if frames != 1:
        raise UserError(f"{path} is one picture and there are {frames} frames; .mp4, or one at a time, is right")
    layers = {name: value[0] for name, value in rendered.groups.items()} if groups else {}
    files.write_layers(path, layers, rendered.beauty[0])
