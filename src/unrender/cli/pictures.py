"""Rendered stills to files."""

from pathlib import Path

from unrender.cli.outputs import Destination
from unrender.files.images import write_image
from unrender.forward import LightGroups
from unrender.output import write_light_groups


def write_rendered(
    stage: Path, destination: Destination, name: str, rendered: LightGroups, groups: bool = True
) -> None:
    """Writes a rendered still as `name.png` and `name.exr`, or as the one file that was asked for."""
    if destination.ending in ("", ".png"):
        write_image(stage / (destination.file or f"{name}.png"), rendered.beauty[0])
    if destination.ending in ("", ".exr"):
        write_light_groups(stage / (destination.file or f"{name}.exr"), rendered, groups)
