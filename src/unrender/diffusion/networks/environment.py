"""The light as tokens: what a forward network attends to in place of a prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LIGHT_CHANNELS = 9
"""Of a picture of a light: its radiance on a display's curve, its radiance on a logarithmic one, and directions."""


class EnvironmentEncoder(nn.Module):
    """A small convolutional encoder of environment maps, as DiffusionRenderer has one (Liang et al. 2025).

    Every token stands for 4 x 4 texels. Where they are, the direction channels say; there is no other embedding of
    position. The map's left and right side are neighbours, and are padded so.
    """

    def __init__(self, channels: tuple[int, int] = (16, 32), token_width: int = 32) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"channels": list(channels), "token_width": token_width}
        first, second = channels
        self.conv_in = nn.Conv2d(LIGHT_CHANNELS, first, 3)
        # An even kernel at stride two keeps the grid symmetric: a light mirrored left to right is its tokens mirrored.
        self.halve_first = nn.Conv2d(first, second, 4, stride=2)
        self.halve_second = nn.Conv2d(second, second, 4, stride=2)
        self.conv_out = nn.Conv2d(second, token_width, 1)
        self.norm = nn.LayerNorm(token_width)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> EnvironmentEncoder:
        """The encoder of a `config.json`."""
        return cls(**{name: value for name, value in config.items() if not name.startswith("_")})

    def save_config(self, folder: Path) -> None:
        """Writes `config.json`, in diffusers' layout, into `folder`, which is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        said = {"_class_name": type(self).__name__, **self.config}
        (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n")

    def forward(self, picture: Tensor) -> Tensor:
        """Pictures of lights (B, 9, h, w) of `scene.encoding` to tokens (B, h/4 w/4, D)."""
        hidden = picture
        for layer in (self.conv_in, self.halve_first, self.halve_second):
            hidden = functional.silu(layer(_wrap(hidden)))
        return self.norm(self.conv_out(hidden).flatten(2).transpose(1, 2))


def _wrap(values: Tensor) -> Tensor:
    """One more texel on every side: columns go round, the rows at the poles are repeated."""
    wide = torch.cat((values[..., -1:], values, values[..., :1]), dim=3)
    return torch.cat((wide[..., :1, :], wide, wide[..., -1:, :]), dim=2)
