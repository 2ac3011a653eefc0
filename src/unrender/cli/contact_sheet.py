"""Every map of a G-buffer in one picture, for looking at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from unrender.scene.color import linear_to_srgb
from unrender.scene.gbuffer import GBuffer

TILE_SIDE = 512
CAPTION_HEIGHT = 28
ORDER = ("rgb", "base_color", "normal", "depth", "roughness", "metallic", "diffuse_albedo", "irradiance", "mask")


def write_contact_sheet(path: Path, gbuffer: GBuffer, extra: dict[str, Tensor] | None = None) -> None:
    """Writes the first frame's maps, and `extra` linear pictures (1, 3, H, W) after them, as one captioned PNG."""
    maps = gbuffer.maps
    tiles = {name: display(name, maps[name][:1]) for name in ORDER if name in maps}
    tiles |= {name: linear_to_srgb(value[:1].clamp(0, 1)) for name, value in (extra or {}).items()}
    columns = min(len(tiles), 4) if len(tiles) != 6 else 3
    rows = math.ceil(len(tiles) / columns)
    height, width = gbuffer.size
    scale = min(1.0, TILE_SIDE / max(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    sheet = Image.new("RGB", (columns * width, rows * (height + CAPTION_HEIGHT)), (24, 24, 24))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(CAPTION_HEIGHT * 0.6)
    for index, (name, value) in enumerate(tiles.items()):
        x, y = index % columns * width, index // columns * (height + CAPTION_HEIGHT)
        small = functional.interpolate(value.float(), (height, width), mode="area")[0]
        sheet.paste(Image.fromarray(to_bytes(small)), (x, y + CAPTION_HEIGHT))
        draw.text(
            (x + 8, y + CAPTION_HEIGHT // 2), name.replace("_", " "), fill=(225, 225, 225), font=font, anchor="lm"
        )
    sheet.save(path)


def display(name: str, value: Tensor) -> Tensor:
    """A map (T, C, H, W) as display values (T, 3, H, W) in [0, 1]: colours sRGB-encoded (HDR ones exposed so that their
    99th percentile just fits), normals as 0.5 + 0.5 n, depth as near white to far black, the rest as they are."""
    if name == "normal":
        shown = 0.5 + 0.5 * value
    elif name == "depth":
        finite = value[value.isfinite()]
        low, high = (finite.min(), finite.max()) if len(finite) else (torch.tensor(0.0), torch.tensor(1.0))
        shown = torch.where(value.isfinite(), 1 - 0.9 * (value - low) / (high - low).clamp(min=1e-6), 0.0)
    elif name == "irradiance":
        shown = linear_to_srgb(value / float(np.quantile(value.cpu().numpy(), 0.99).clip(1e-6)))
    elif name in ("rgb", "base_color", "diffuse_albedo"):
        shown = linear_to_srgb(value)
    else:
        shown = value
    return shown.clamp(0, 1).expand(-1, 3, -1, -1)


def to_bytes(picture: Tensor) -> np.ndarray:
    """Display values (3, H, W) in [0, 1] to uint8 (H, W, 3)."""
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
