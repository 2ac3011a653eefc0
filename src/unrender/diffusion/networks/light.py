"""The network that guesses the light of a picture from the picture and what it is made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrender.scene.color import linear_to_srgb

SIDE = 64
"""Pixels of a side that the network sees; pictures of other shapes are squeezed into that."""

LIGHT_SIZE = (8, 16)
"""Texels of the light that it gives."""

DARK = 0.02
"""Added to what is divided or taken the logarithm of, display values."""

CLIPPED = 0.98
"""A brighter pixel says nothing of how much light fell on it."""

NARROW = 12.0
"""Concentration of the lobes that sort pixels by their normals: e^(12 (cos - 1))."""


class LightNetwork(nn.Module):
    """Convolutions over the picture beside what the shading of matt surfaces says outright: its mean over the pixels
    that face each of some fifty directions, which an irradiance map is read off of.

    Args:
        widths: channels of each level, each half as large as the one before.
        directions: that pixels are sorted by.
        hidden: units of the layers that bring both together.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48, 72, 96), directions: int = 48, hidden: int = 256) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"widths": list(widths), "directions": directions, "hidden": hidden}
        self.conv_in = nn.Conv2d(13, widths[0], 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Block(width) for width in widths)
        self.down = nn.ModuleList(nn.Conv2d(one, other, 4, stride=2, padding=1) for one, other in pairwise(widths))
        self.squeeze = nn.Conv2d(widths[-1], 32, 1)
        cells = (SIDE >> len(widths)) ** 2
        self.first = nn.Linear(32 * cells + 4 * directions + 8, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 3 * LIGHT_SIZE[0] * LIGHT_SIZE[1])
        with torch.no_grad():
            self.out.weight.mul_(0.1)
        nn.init.zeros_(self.out.bias)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LightNetwork:
        """The network of a `config.json`."""
        return cls(tuple(config["widths"]), config["directions"], config["hidden"])

    def save_config(self, folder: Path) -> None:
        """Writes `config.json`, in diffusers' layout, into `folder`, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        said = {"_class_name": type(self).__name__, **self.config}
        (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n")

    def forward(self, rgb: Tensor, base_color: Tensor, normal: Tensor, mask: Tensor) -> Tensor:
        """Of pictures of `SIDE` pixels a side.

        Args:
            rgb: (B, 3, S, S) linear display values in [0, 1].
            base_color: (B, 3, S, S) linear in [0, 1].
            normal: (B, 3, S, S) in camera axes, unit where there is a surface.
            mask: (B, 1, S, S) in [0, 1], where there is one.

        Returns:
            (B, 3, 8, 16) logarithm of the radiance that arrives, in the picture's units, as seen by a camera that looks
            at the middle of the map.
        """
        shading = (rgb + DARK / 2) / (base_color + 2 * DARK)
        hidden = torch.cat(
            (
                linear_to_srgb(rgb) * 2 - 1,
                (linear_to_srgb(base_color) * 2 - 1) * mask,
                normal * mask,
                mask * 2 - 1,
                shading.log() * mask / 2,
            ),
            dim=1,
        )
        hidden = self.blocks[0](self.conv_in(hidden))
        for down, block in zip(self.down, self.blocks[1:], strict=True):
            hidden = block(down(hidden))
        seen = functional.silu(self.squeeze(hidden)).flatten(1)
        told = torch.cat((seen, self._by_direction(rgb, shading, normal, mask), _whole(rgb, mask)), dim=1)
        told = functional.silu(self.first(told))
        told = functional.silu(self.second(told))
        level = (rgb.mean((1, 2, 3)) + DARK / 10).log() - (base_color.mean((1, 2, 3)) + 5 * DARK).log()
        light = self.out(told).unflatten(1, (3, *LIGHT_SIZE)) + level[:, None, None, None]
        return light.clamp(-9, 9)

    def _by_direction(self, rgb: Tensor, shading: Tensor, normal: Tensor, mask: Tensor) -> Tensor:
        """(B, 4 D): the logarithm of the mean shading of pixels that face each direction, three colours, and how many
        do."""
        told = mask.flatten(2) * (rgb.amax(1, keepdim=True) < CLIPPED).flatten(2)
        facing = normal.flatten(2).transpose(1, 2) @ even_directions(self.config["directions"]).to(normal).T
        weight = ((facing - 1) * NARROW).exp() * told.transpose(1, 2)
        total = weight.sum(1)
        mean = (shading.clamp(max=8).flatten(2) @ weight) / (total[:, None] + 1e-3)
        known = (mean + DARK).log() * (total[:, None] > 0.5)
        return torch.cat((known.flatten(1), (total * 20 / weight.shape[1]).clamp(max=3)), dim=1)


def even_directions(count: int) -> Tensor:
    """(count, 3) unit vectors, about evenly over the sphere (a Fibonacci lattice: Swinbank and Purser 2006)."""
    index = torch.arange(count) + 0.5
    y = 1 - 2 * index / count
    radius, angle = (1 - y.square()).sqrt(), math.pi * (1 + math.sqrt(5)) * index
    return torch.stack((radius * angle.cos(), y, radius * angle.sin()), dim=1)


def _whole(rgb: Tensor, mask: Tensor) -> Tensor:
    """(B, 8): the mean colour of all and of what is no surface, how much is one, and the brightest value."""
    beyond = (rgb * (1 - mask)).sum((2, 3)) / ((1 - mask).sum((2, 3)) + DARK / 2)
    mean = (rgb.mean((2, 3)) + DARK / 10).log()
    return torch.cat((mean, beyond, mask.mean((2, 3)), rgb.amax((1, 2, 3))[:, None]), dim=1)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.conv2.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        inner = self.conv1(functional.silu(self.norm1(hidden)))
        return hidden + self.conv2(functional.silu(self.norm2(inner)))
