"""Contact sheets as files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor

from unrender.files.atomic import atomic_write
from unrender.files.preview import map_to_rgb, sheet_maps, sparse, thumbnail, tiles, to_8_bits
from unrender.forward import RenderPasses
from unrender.scene.color import linear_to_srgb
from unrender.scene.gbuffer import GBuffer
from unrender.scene.tone import tone_map


def write_contact_sheet(path: str | Path, gbuffer: GBuffer, relit: RenderPasses | None = None) -> None:
    """Writes the maps of the first frame, and what was `relit` from them, as one labelled picture (.png)."""
    write_thumbnails(path, gbuffer, None if relit is None else display_thumbnail(tone_map(relit.frame(0).beauty)))


def display_thumbnail(display: Tensor) -> Tensor:
    """The first frame of display-linear pictures (T, 3, H, W) as a contact sheet shows it, (3, h, w) in [0, 1]."""
    return thumbnail(to_8_bits(linear_to_srgb(sparse(display[0]).detach().cpu().clamp(0, 1))))


def write_thumbnails(path: str | Path, gbuffer: GBuffer, relit: Tensor | None) -> None:
    """`write_contact_sheet` of a rendering that need no longer be there, by its `display_thumbnail`."""
    pictures = {
        "photo" if name == "rgb" else name: thumbnail(map_to_rgb(name, sparse(value[0]).detach().cpu()))
        for name, value in sheet_maps(gbuffer).items()
    }
    if relit is not None:
        pictures["relit"] = relit
    with atomic_write(path) as partial:
        Image.fromarray(tiles(pictures)).save(partial)
