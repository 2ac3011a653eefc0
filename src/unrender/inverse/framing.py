"""Between the size of a picture and the sizes that a network works at; the result comes back at the picture's size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import SizeRule
from unrender.errors import UserError
from unrender.scene.resize import resize_picture

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
        raise UserError(f"{name} is {width}x{height} pixels; at least {SMALLEST} on each side is right")
    scale = rule.long_side / max(size) if rule.long_side else 1.0
    content = (round(height * scale), round(width * scale))
    if min(content) < rule.min_side:
        longest = max(size) // max(1, min(size))
        raise UserError(
            f"{name} is {width}x{height} pixels, {longest} times as long as narrow: its short side would be "
            f"{min(content)} pixels in the network; at least {rule.min_side} is right"
        )
    canvas = (_up(content[0], rule.multiple), _up(content[1], rule.multiple))
    return Framing(content if rule.fit == "pad" else canvas, canvas)


def frame_picture(rgb: Tensor, framing: Framing) -> Tensor:
    """(B, C, H, W) brought to the canvas: resized in linear light, its border replicated to the right and below."""
    resized = resize_picture(rgb, framing.content)
    below, right = (canvas - content for canvas, content in zip(framing.canvas, framing.content, strict=True))
    return functional.pad(resized, (0, right, 0, below), mode="replicate")


def unframe(picture: Tensor, framing: Framing) -> Tensor:
    """(B, C, *canvas) without its padding."""
    return picture[..., : framing.content[0], : framing.content[1]]


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
