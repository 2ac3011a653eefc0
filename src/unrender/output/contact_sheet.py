"""Contact sheets as files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from unrender.files.atomic import atomic_write
from unrender.files.preview import map_to_rgb, thumbnail, tiles
from unrender.forward import RenderPasses
from unrender.scene.gbuffer import GBuffer


def write_contact_sheet(path: str | Path, gbuffer: GBuffer, relit: RenderPasses | None = None) -> None:
    """Writes the maps of the first frame, and what was `relit` from them, as one labelled picture (.png)."""
    pictures = {name: thumbnail(map_to_rgb(name, value[0].detach().cpu())) for name, value in gbuffer.maps.items()}
    if relit is not None:
        pictures["relit"] = thumbnail(map_to_rgb("rgb", relit.frame(0).beauty[0]))
    if "rgb" in pictures:
        pictures = {"photo": pictures.pop("rgb")} | pictures
    with atomic_write(path) as partial:
        Image.fromarray(tiles(pictures)).save(partial)
