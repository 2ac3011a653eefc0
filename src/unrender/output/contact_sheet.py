"""Contact sheets as files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor

from unrender.files.atomic import atomic_write
from unrender.files.preview import map_to_rgb, thumbnail, tiles, to_8_bits
from unrender.forward import RenderPasses
from unrender.forward.surface import sum_in_order
from unrender.scene.color import linear_to_srgb
from unrender.scene.gbuffer import GBuffer
from unrender.scene.strips import in_strips


def write_contact_sheet(path: str | Path, gbuffer: GBuffer, relit: RenderPasses | None = None) -> None:
    """Writes the maps of the first frame, and what was `relit` from them, as one labelled picture (.png)."""
    write_thumbnails(path, gbuffer, None if relit is None else relit_thumbnail(relit))


def relit_thumbnail(relit: RenderPasses) -> Tensor:
    """The first frame of a rendering as a contact sheet shows it, (3, h, w) in [0, 1], for display."""
    passes = {name: value[0].detach().cpu() for name, value in relit.frame(0).passes.items()}

    def displayed(*parts: Tensor) -> Tensor:
        beauty = sum_in_order(dict(zip(passes, parts, strict=True)))
        return to_8_bits(linear_to_srgb(beauty.clamp(0, 1)))

    return thumbnail(in_strips(displayed, *passes.values()))


def write_thumbnails(path: str | Path, gbuffer: GBuffer, relit: Tensor | None) -> None:
    """`write_contact_sheet` of a rendering that need no longer be there, by its `relit_thumbnail`."""
    pictures = {name: thumbnail(map_to_rgb(name, value[0].detach().cpu())) for name, value in gbuffer.maps.items()}
    if relit is not None:
        pictures["relit"] = relit
    if "rgb" in pictures:
        pictures = {"photo": pictures.pop("rgb")} | pictures
    with atomic_write(path) as partial:
        Image.fromarray(tiles(pictures)).save(partial)
