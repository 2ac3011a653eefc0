"""Between the size of a picture and the sizes that a network works at; the result comes back at the picture's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import SizeRule
from unrender.errors import UserError
from unrender.scene.resize import Filter, resize_picture

PILLOW: dict[Filter, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear_bytes": Image.Resampling.BILINEAR,
}
"""Filters that are Pillow's own where a picture of 8 bits is resized."""

SMALLEST = 16
"""No picture with a shorter side than this says anything of geometry."""


@dataclass(frozen=True)
class Framing:
    """How a picture is brought to a network.

    Attributes:
        content: (height, width) that the picture is resized to.
        canvas: (height, width) that the network sees: `content`, and the padding to the right and below.
    """

    content: tuple[int, int]
    canvas: tuple[int, int]


def plan_framing(size: tuple[int, int], rule: SizeRule, name: str) -> Framing:
    """The framing of a picture of `size` (height, width) under a card's `rule`.

    Raises:
        UserError: the picture, called `name`, is too small or too narrow for the network.
    """
    height, width = size
    if min(size) < SMALLEST:
        raise UserError(f"{name} is {width}x{height} pixels; expected at least {SMALLEST} on each side")
    content = _scaled(size, rule)
    if min(content) < rule.min_side:
        longest = max(size) // max(1, min(size))
        raise UserError(
            f"{name} is {width}x{height} pixels, {longest} times as long as narrow: its short side would be "
            f"{min(content)} pixels in the network; expected at least {rule.min_side}"
        )
    if rule.fit == "cut":
        return Framing(content, content)
    down = rule.fit == "stretch" and rule.rounding not in ("nearest", "up_by_scale")
    bring = _down if down else _up
    canvas = bring(content[0], rule.multiple), bring(content[1], rule.multiple)
    return Framing(content if rule.fit == "pad" else canvas, canvas)


def frame_picture(picture: Tensor, framing: Framing, filter: Filter = "bilinear") -> Tensor:
    """(B, C, H, W) brought to the canvas: resized, its border replicated to the right and below."""
    return pad(resize_picture(picture, framing.content, filter), framing)


def frame_bytes(encoded: Tensor, framing: Framing, filter: Filter) -> Tensor:
    """(B, 3, H, W) in [-1, 1] brought to the canvas as a picture of 8 bits would be: rounded before and after.
    `bicubic` and `bilinear_bytes` are Pillow's own, which works in 8 bits throughout."""
    codes = ((encoded + 1) / 2 * 255).round()
    if filter in PILLOW and tuple(codes.shape[2:]) != framing.content:
        resized = torch.cat([_by_pillow(one, framing.content, filter) for one in codes.split(1)])
    else:
        resized = resize_picture(codes, framing.content, filter).round()
    return pad(resized / 255 * 2 - 1, framing)


def unframe(picture: Tensor, framing: Framing) -> Tensor:
    """(B, C, *canvas) without its padding. What comes out of a `cut` framing stands for the whole picture."""
    return picture[..., : framing.content[0], : framing.content[1]]


def pad(picture: Tensor, framing: Framing) -> Tensor:
    """(B, C, *content) with its border replicated to the right and below: (B, C, *canvas)."""
    below, right = (canvas - content for canvas, content in zip(framing.canvas, framing.content, strict=True))
    return functional.pad(picture, (0, right, 0, below), mode="replicate") if below or right else picture


def _scaled(size: tuple[int, int], rule: SizeRule) -> tuple[int, int]:
    """`size` (height, width) brought to the rule's long side, in the arithmetic that its official code has."""
    (height, width), longest, side = size, max(size), rule.long_side
    if rule.short_side:
        longest, side = min(size), rule.short_side
    if not side:
        return size
    if rule.rounding == "down":
        return height * side // longest, width * side // longest
    if rule.rounding in ("down_by_scale", "up_by_scale"):
        scale = side / longest
        return int(height * scale), int(width * scale)
    if rule.rounding == "down_by_ratio":
        ratio = height / width
        return (side, int(side / ratio)) if height > width else (int(side * ratio), side)
    return round(height * side / longest), round(width * side / longest)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _down(value: int, multiple: int) -> int:
    return value // multiple * multiple


def _by_pillow(codes: Tensor, size: tuple[int, int], filter: Filter) -> Tensor:
    """(1, 3, H, W) values 0 to 255 at `size`, by Pillow."""
    pixels = codes[0].clamp(0, 255).permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    resized = Image.fromarray(pixels).resize((size[1], size[0]), PILLOW[filter])
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].to(codes)
