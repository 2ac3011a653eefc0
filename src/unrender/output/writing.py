"""Any noun to a file; what `files.write` is, and renderings too, which it is too low in the house to know."""

from __future__ import annotations

from pathlib import Path

from unrender import files
from unrender.forward import RenderPasses
from unrender.output.passes import write_passes
from unrender.output.relit import write_relit
from unrender.relight import Relit
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer


def write(
    path: str | Path, thing: GBuffer | Frames | EnvironmentMap | RenderPasses | Relit, colorspace: str | None = None
) -> None:
    """Writes a G-buffer, frames, a light, a rendering or what was relit to `path`, whole or not at all.

    A rendering goes to .exr with its render passes as layers (see `write_passes`), and its beauty for display to any
    other format that frames go to; of what was relit that is the exposed picture, `Relit.display`. The rest is as
    `files.write` has it, and so is `colorspace`, the linear space of EXR.

    Raises:
        UserError: a suffix that this cannot be written as, or an output that cannot be written.
    """
    if isinstance(thing, Relit):
        write_relit(path, thing, colorspace)
    elif isinstance(thing, RenderPasses):
        write_passes(path, thing, colorspace=colorspace)
    else:
        files.write(path, thing, colorspace)
