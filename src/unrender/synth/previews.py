"""A contact sheet of clips."""

from __future__ import annotations

import colorsys
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from unrender.files.atomic import atomic_write
from unrender.files.shards import Clip, read_clips
from unrender.scene.color import linear_to_srgb

HEADER = 14  # pixels, with the name of each column


def preview(folder: Path | str, out_png: Path | str, rows: int = 12) -> None:
    """Writes the first `rows` clips of `folder`, one a row: the first frame and its maps, the last frame of a clip that
    moves, the first other light and the first other view where there are such."""
    pictures = [_row(clip) for clip in islice(read_clips(folder), rows)]
    names = list(pictures[0])
    sheet = np.concatenate([np.concatenate([row[name] for name in names], axis=1) for row in pictures])
    sheet = np.pad(sheet, ((HEADER, 0), (0, 0), (0, 0)))
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    for column, name in enumerate(names):
        draw.text((column * sheet.shape[1] // len(names) + 2, 1), name, fill=(255, 255, 255))
    with atomic_write(out_png) as path:
        image.save(path)


def _row(clip: Clip) -> dict[str, np.ndarray]:
    """Pictures (H, W, 3) uint8 by the name of their column."""
    maps = {name: value[0].permute(1, 2, 0).numpy() for name, value in clip.gbuffer.maps.items()}
    pictures = {"rgb": _displayed(clip.gbuffer.maps["rgb"][0])}
    if len(clip.gbuffer) > 1:
        pictures["last frame"] = _displayed(clip.gbuffer.maps["rgb"][-1])
    for number, lit in enumerate(clip.lights[:1], 1):
        pictures[f"light {number}"] = _displayed(lit.rgb[0])
    for number, view in enumerate(clip.views[:1], 1):
        pictures[f"view {number}"] = _displayed(view.maps["rgb"][0])
    for name in ("base_color", "diffuse_albedo"):
        if name in maps:
            pictures[name] = _displayed(clip.gbuffer.maps[name][0])
    pictures["normal"] = maps["normal"] * 0.5 + 0.5
    pictures["depth"] = _near_is_bright(maps["depth"])
    pictures |= {name: maps[name] for name in ("roughness", "metallic")}
    if "irradiance" in maps:
        irradiance = clip.gbuffer.maps["irradiance"][0]
        pictures["irradiance"] = _displayed(irradiance / irradiance.quantile(0.9).clamp(min=1e-4) * 0.8)
    if "instance" in maps:
        pictures["instance"] = _coloured(maps["instance"][..., 0])
    return {
        name: (np.broadcast_to(np.clip(p, 0, 1), (*p.shape[:2], 3)) * 255 + 0.5).astype(np.uint8)
        for name, p in pictures.items()
    }


def _displayed(picture: Tensor) -> np.ndarray:
    return linear_to_srgb(picture.permute(1, 2, 0)).numpy()


def _near_is_bright(depth: np.ndarray) -> np.ndarray:
    there = np.isfinite(depth)
    if not there.any():
        return np.zeros_like(depth)
    near, far = np.percentile(depth[there], (1, 99))
    return np.where(there, 1 - 0.9 * (np.where(there, depth, 0) - near) / max(far - near, 1e-6), 0)


def _coloured(ids: np.ndarray) -> np.ndarray:
    """Every id in a colour of its own, 0 black: hues a golden ratio apart."""
    hues = [colorsys.hsv_to_rgb(n * 0.618 % 1, 0.6, 0.9 if n else 0) for n in range(int(ids.max()) + 1)]
    return np.array(hues)[ids.astype(int)]
