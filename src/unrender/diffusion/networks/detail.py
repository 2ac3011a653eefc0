"""The network that brings a small answer to a picture's own resolution."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class DetailNetwork(nn.Module):
    """A shallow U-Net on full-size pictures, which adds to a first answer what that lacks.

    What it adds is zero before training, so it begins as the first answer, enlarged. It normalises nothing: what it
    says of a pixel depends on the pixels around it alone, whatever the size of the picture (learned joint upsampling:
    Li et al. 2016; with features in place of the guided filter's colours).
    """

    def __init__(self, given_channels: int, channels: int, widths: tuple[int, ...] = (24, 48, 64)) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "given_channels": given_channels,
            "channels": channels,
            "widths": list(widths),
        }
        self.conv_in = nn.Conv2d(given_channels + channels, widths[0], 3, padding=1)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(one, other, 4, stride=2, padding=1) for one, other in pairs)
        self.encoder = nn.ModuleList(_Block(width) for width in widths)
        self.up = nn.ModuleList(nn.Conv2d(one + other, one, 3, padding=1) for one, other in pairs)
        self.decoder = nn.ModuleList(_Block(width) for width in widths[:-1])
        self.conv_out = nn.Conv2d(widths[0], channels, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DetailNetwork:
        """The network of a `config.json`."""
        said = {name: value for name, value in config.items() if not name.startswith("_")}
        return cls(said["given_channels"], said["channels"], tuple(said["widths"]))

    def save_config(self, folder: Path) -> None:
        """Writes `config.json`, in diffusers' layout, into `folder`, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        said = {"_class_name": type(self).__name__, **self.config}
        (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n")

    def forward(self, given: Tensor, first: Tensor) -> Tensor:
        """The first answer (B, C, H, W) with what is added to it, of the pictures `given` (B, G, H, W); all in about
        [-1, 1], any H and W."""
        height, width = first.shape[2:]
        stride = 2 ** len(self.down)
        below, right = -height % stride, -width % stride
        hidden = torch.cat((given, first), dim=1)
        hidden = self.encoder[0](self.conv_in(functional.pad(hidden, (0, right, 0, below), mode="replicate")))
        kept = []
        for down, block in zip(self.down, self.encoder[1:], strict=True):
            kept.append(hidden)
            hidden = block(functional.silu(down(hidden)))
        for up, block, skip in zip(reversed(self.up), reversed(self.decoder), reversed(kept), strict=True):
            larger = functional.interpolate(hidden, scale_factor=2, mode="bilinear")
            hidden = block(functional.silu(up(torch.cat((skip, larger), dim=1))))
        return first + self.conv_out(functional.silu(hidden))[..., :height, :width]


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.second(functional.silu(self.first(functional.silu(hidden))))
