"""Maps as display pictures: one picture for each map, and a labelled sheet of all of them.

Previews are for viewing only. Measure, composite and train on the float EXR.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unrender.scene.color import linear_to_srgb, luminance
from unrender.scene.gbuffer import GBuffer
from unrender.scene.strips import in_strips

_BACKGROUND, _TEXT = (24, 24, 27), (228, 228, 231)
# Anchors of a perceptually even ramp, dark blue through magenta to pale yellow (near to far reads dark to light).
_RAMP = ((0.05, 0.03, 0.53), (0.49, 0.01, 0.66), (0.80, 0.28, 0.47), (0.97, 0.58, 0.25), (0.94, 0.98, 0.13))


def map_to_rgb(name: str, value: Tensor) -> Tensor:
    """One map of one frame as a display picture.

    Args:
        name: of the map, as in `gbuffer.CHANNELS`.
        value: (C, H, W), as `conventions` has it.

    Returns:
        (3, H, W) in [0, 1], sRGB-encoded.
    """
    if name == "normal":
        return normal_to_rgb(value)
    if name == "depth":
        return depth_to_rgb(value)
    if name == "instance":
        # Steps of the golden ratio keep the colours of a few things far apart; nothing stays black.
        return torch.where(value > 0, _ramp(value[0] * 0.6180339887 % 1), torch.zeros(()))
    if name == "disparity":
        return _ramp(value[0].clamp(0, 1))
    if len(value) == 1:  # roughness, mask, sky and others that are shares of 1
        return value.clamp(0, 1).expand(3, -1, -1)
    if name in ("irradiance", "shading", "residual"):
        gain = _display_gain(value)
        return in_strips(lambda part: linear_to_srgb((part * gain).clamp(0, 1)), value)
    return in_strips(lambda part: linear_to_srgb(part.clamp(0, 1)), value)


def normal_to_rgb(normal: Tensor) -> Tensor:
    """Normals (..., 3, H, W) as the colours artists know, 0.5 + 0.5 n (+Y is light green); "none" is black."""
    return in_strips(_normal_to_rgb, normal)


def _normal_to_rgb(normal: Tensor) -> Tensor:
    there = normal.norm(dim=-3, keepdim=True) > 0.5
    return torch.where(there, (0.5 + 0.5 * normal).clamp(0, 1), torch.zeros_like(normal))


def depth_to_rgb(depth: Tensor) -> Tensor:
    """Depth (1, H, W) by colour, (3, H, W): inverse depth between its 2nd and 98th percentile, near is light."""
    finite = torch.isfinite(depth) & (depth > 0)
    if not finite.any():
        return torch.zeros(3, *depth.shape[1:])
    inverse = torch.where(finite, 1 / depth.clamp(min=1e-9), torch.zeros_like(depth))
    # Percentiles of some ten thousand pixels at most: torch.quantile refuses large inputs, picking pixels out of a
    # large picture takes six times its memory, and a preview needs no more.
    step = max(1, depth.numel() // 65536)
    known = inverse.flatten()[::step][finite.flatten()[::step]]
    known = known if len(known) else inverse[finite]
    low, high = torch.quantile(known[:: max(1, len(known) // 65536)], torch.tensor([0.02, 0.98]))

    def coloured(inverse: Tensor, finite: Tensor) -> Tensor:
        level = ((inverse - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
        return torch.where(finite, _ramp(level[0]), torch.zeros(()))

    return in_strips(coloured, inverse, finite)


def exposed_for_display(radiance: Tensor) -> Tensor:
    """HDR values (3, H, W) in [0, 1]: the 95th percentile of luminance goes to 0.8, what is brighter is clipped."""
    return (radiance * _display_gain(radiance)).clamp(0, 1)


def _display_gain(radiance: Tensor) -> Tensor:
    pixels = radiance.flatten(1)
    light = luminance(pixels[:, :: max(1, pixels.shape[1] // 65536)], dim=0)
    return 0.8 / torch.quantile(light[0], 0.95).clamp(min=1e-6)


def contact_sheet(gbuffer: GBuffer, *, tile: int = 320, title: str = "") -> NDArray[np.uint8]:
    """The maps of a still (the first frame of a clip) as labelled tiles, see `sheet_maps`.

    Args:
        gbuffer: what to show.
        tile: width of a tile in pixels; heights follow the picture.
        title: a line above the tiles.

    Returns:
        (H, W, 3) uint8, sRGB.
    """
    shown = {name: sparse(value[0], tile).detach().cpu() for name, value in sheet_maps(gbuffer).items()}
    pictures = {name: map_to_rgb(name, value) for name, value in shown.items()}
    return tiles(pictures, tile=tile, title=title)


def _columns(count: int) -> int:
    """Of the two most square sheets the one with fewer empty places."""
    square = math.ceil(math.sqrt(count))
    return min(square, square + 1, key=lambda columns: -count % columns)


def tiles(pictures: dict[str, Tensor], *, tile: int = 320, title: str = "") -> NDArray[np.uint8]:
    """Display pictures (3, H, W) in [0, 1], by label, on one sheet: (H, W, 3) uint8."""
    height, width = next(iter(pictures.values())).shape[1:]
    tile_height = max(1, round(tile * height / width))
    columns = _columns(len(pictures))
    gap, label = max(6, tile // 40), max(18, tile // 14)
    top = gap + (round(label * 1.4) if title else 0)
    rows = math.ceil(len(pictures) / columns)
    size = (gap + columns * (tile + gap), top + rows * (tile_height + label + gap))
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=round(label * 0.68))
    if title:
        draw.text((gap, gap // 2), title, _TEXT, ImageFont.load_default(size=round(label * 0.9)))
    for index, (name, picture) in enumerate(pictures.items()):
        row, column = divmod(index, columns)
        x, y = gap + column * (tile + gap), top + row * (tile_height + label + gap)
        sheet.paste(_shrunk(picture, (tile_height, tile)), (x, y))
        draw.text((x + 2, y + tile_height + label // 8), name.replace("_", " "), _TEXT, font)
    return np.asarray(sheet)


def thumbnail(picture: Tensor, tile: int = 320) -> Tensor:
    """A display picture (3, H, W) in [0, 1], or in 8 bits, as `tiles` of that size show it, (3, h, w) in [0, 1]: on a
    sheet it gives what the picture itself would."""
    height, width = picture.shape[1:]
    small = np.array(_shrunk(picture, (max(1, round(tile * height / width)), tile)))
    return torch.from_numpy(small).permute(2, 0, 1) / 255


def sparse(values: Tensor, tile: int = 320) -> Tensor:
    """Every few pixels of a large picture (..., H, W), at least four to a pixel of a tile that wide, as a view."""
    step = sheet_step(values.shape[-1], tile)
    return values[..., ::step, ::step]


def sheet_step(width: int, tile: int = 320) -> int:
    """Every how many pixels of a picture are seen on a sheet."""
    return max(1, width // (4 * tile))


def to_8_bits(picture: Tensor) -> Tensor:
    """A display picture in [0, 1] as whole numbers from 0 to 255, of the same shape."""
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _shrunk(picture: Tensor, size: tuple[int, int]) -> Image.Image:
    pixels = picture if picture.dtype == torch.uint8 else in_strips(to_8_bits, picture)
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return image.resize((size[1], size[0]), Image.Resampling.LANCZOS)


def sheet_maps(gbuffer: GBuffer) -> dict[str, Tensor]:
    """What a contact sheet shows: the picture first, then its maps."""
    maps = gbuffer.maps
    return ({"rgb": maps.pop("rgb")} if "rgb" in maps else {}) | maps


def _ramp(level: Tensor) -> Tensor:
    """Levels (H, W) in [0, 1] through the colour ramp, (3, H, W)."""
    anchors = torch.tensor(_RAMP)
    position = level * (len(_RAMP) - 1)
    lower = position.floor().long().clamp(max=len(_RAMP) - 2)
    part = (position - lower)[..., None]
    return (anchors[lower] * (1 - part) + anchors[lower + 1] * part).permute(2, 0, 1)
