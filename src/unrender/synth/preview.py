"""A contact sheet of clips, to look at."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from unrender.files.shards import Clip, read_clips
from unrender.scene.color import linear_to_srgb


def preview(folder: Path | str, out_png: Path | str, rows: int = 12) -> None:
    """Writes the first `rows` clips of `folder`, one a row: rgb, base_color, normal, depth, roughness, metallic."""
    sheet = np.concatenate([_row(clip) for clip in islice(read_clips(folder), rows)])
    Image.fromarray(sheet).save(out_png)


def _row(clip: Clip) -> np.ndarray:
    maps = {name: value[0].permute(1, 2, 0) for name, value in clip.gbuffer.maps.items()}
    depth = maps["depth"].numpy()
    near, far = np.nanpercentile(np.where(np.isfinite(depth), depth, np.nan), (1, 99))
    pictures = (
        linear_to_srgb(maps["rgb"]).numpy(),
        linear_to_srgb(maps["base_color"]).numpy(),
        maps["normal"].numpy() * 0.5 + 0.5,
        np.where(np.isfinite(depth), 1 - (depth - near) / max(far - near, 1e-6), 0),
        maps["roughness"].numpy(),
        maps["metallic"].numpy(),
    )
    tiles = [np.broadcast_to(np.clip(p, 0, 1), (*p.shape[:2], 3)) for p in pictures]
    return (np.concatenate(tiles, axis=1) * 255 + 0.5).astype(np.uint8)
