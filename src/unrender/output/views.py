"""Sets of views as files: pictures, a film, a contact sheet, cameras for NeRF and splat trainers, depth and
coverage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unrender.files.atomic import atomic_write
from unrender.files.cameras import NamedCameras, write_transforms
from unrender.files.colmap import write_colmap
from unrender.files.gbuffers import write_gbuffer
from unrender.files.preview import thumbnail, tiles
from unrender.files.video import VideoWriter
from unrender.files.writing import write as write_file
from unrender.multiview.views import ViewSet
from unrender.scene.camera import unproject
from unrender.scene.color import linear_to_srgb
from unrender.scene.gbuffer import GBuffer

POINTS = 4000
"""Points of a COLMAP model, drawn from the views' depth."""
SHEET = 24
"""Views on a contact sheet, evenly from the whole path."""


def write_views(
    folder: Path, views: ViewSet, *, exr: bool = False, fps: float = 12.0, colorspace: str | None = None
) -> list[Path]:
    """Writes into a folder that is there: `view.0001.png` and so on, `views.mp4` of more than one, `views.png`,
    `transforms.json`, a COLMAP model as text, and, where depth is known, `view.0001.mask.png` and `view.0001.exr` with
    rgb, depth and mask.

    Args:
        exr: write `view.0001.exr` without depth, too.
        fps: of the film.
        colorspace: the linear space of EXR, by OpenColorIO's name; Rec.709.

    Returns:
        The files.
    """
    count = len(views.frames)
    names = tuple(f"view.{index:04d}.png" for index in range(1, count + 1))
    masks = tuple(name.replace(".png", ".mask.png") for name in names) if views.coverage is not None else None
    written = [folder / name for name in names]
    for index, path in enumerate(written):
        write_file(path, views.frames.frame(index))
    if masks is not None and views.coverage is not None:
        for name, mask in zip(masks, views.coverage, strict=True):
            pixels = (mask[0] > 0.5).to(torch.uint8).mul(255).numpy()
            with atomic_write(folder / name) as partial:
                Image.fromarray(pixels).save(partial, format="PNG")
            written.append(folder / name)
    if exr or views.depth is not None:
        for index, name in enumerate(names):
            written.append(folder / name.replace(".png", ".exr"))
            write_gbuffer(written[-1], _gbuffer(views, index), colorspace=colorspace)
    named = NamedCameras(names, views.camera)
    write_transforms(folder / "transforms.json", named, masks=masks)
    written += [folder / "transforms.json", *write_colmap(folder, names, views.camera, view_points(views))]
    written.append(folder / "views.png")
    write_views_sheet(written[-1], views.frames.rgb)
    if count > 1:
        written.append(folder / "views.mp4")
        with VideoWriter(written[-1], fps) as film:
            film.write(views.frames.rgb)
    return written


def write_views_sheet(path: Path, rgb: Tensor) -> None:
    """Writes linear pictures (T, 3, H, W), at most `SHEET` of them, as one labelled picture (.png)."""
    chosen = torch.linspace(0, len(rgb) - 1, min(SHEET, len(rgb))).round().long().tolist()
    shown = {str(i + 1): thumbnail(linear_to_srgb(rgb[i].clamp(0, 1)), 160) for i in chosen}
    with atomic_write(path) as partial:
        Image.fromarray(tiles(shown, tile=160)).save(partial, format="PNG")


def view_points(views: ViewSet, most: int = POINTS) -> np.ndarray | None:
    """(N, 6) places in the world and colours, of pixels that the projection layers say are covered; None where they say
    nothing."""
    if views.depth is None or views.coverage is None:
        return None
    points = unproject(views.depth, views.camera).permute(0, 2, 3, 1)
    world = (
        torch.einsum("tij,thwj->thwi", views.camera.pose[:, :3, :3], points) + views.camera.pose[:, None, None, :3, 3]
    )
    colours = linear_to_srgb(views.frames.rgb.clamp(0, 1)).permute(0, 2, 3, 1)
    both = torch.cat((world, colours), dim=-1)[views.coverage[:, 0] > 0.5]
    step = max(1, len(both) // most)
    return both[::step][:most].double().numpy()


def _gbuffer(views: ViewSet, index: int) -> GBuffer:
    depth = mask = None
    if views.depth is not None and views.coverage is not None:
        mask = views.coverage[index : index + 1].clamp(0, 1)
        depth = views.depth[index : index + 1].masked_fill(mask < 0.5, torch.inf)
    rgb = views.frames.rgb[index : index + 1]
    camera = views.camera.frame(index)
    return GBuffer(rgb=rgb, depth=depth, mask=mask, camera=camera, depth_kind="metric", model=views.model)
