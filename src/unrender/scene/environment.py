"""Light from all around: equirectangular environment maps in the OpenEXR layout (see `conventions`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.conventions import direction_to_uv, uv_to_direction
from unrender.errors import UserError


@dataclass(frozen=True)
class EnvironmentMap:
    """Distant light, over time.

    Attributes:
        radiance: (T, 3, H, W) linear HDR radiance >= 0, OpenEXR layout; T = 1 for a light that stands still.
        name: what to call it in messages and file names.
        hdr: False where it came from a display picture, whose sun is clipped.
    """

    radiance: Tensor
    name: str = "light"
    hdr: bool = True

    def __post_init__(self) -> None:
        if self.radiance.ndim != 4 or self.radiance.shape[1] != 3:
            raise UserError(f"EnvironmentMap.radiance has shape {tuple(self.radiance.shape)}; (T, 3, H, W) is right")

    def __len__(self) -> int:
        return self.radiance.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in texels."""
        return self.radiance.shape[2], self.radiance.shape[3]

    def frame(self, index: int) -> EnvironmentMap:
        """The light of one frame; a light of one frame serves every index."""
        i = min(index, len(self) - 1)
        return replace(self, radiance=self.radiance[i : i + 1])

    def rotated(self, degrees: float) -> EnvironmentMap:
        """The light turned about +Y by `degrees` (see `conventions`: Yaw), between texels by linear interpolation."""
        width = self.radiance.shape[3]
        shift = degrees / 360 * width
        whole = math.floor(shift)
        part = shift - whole
        rolled = torch.roll(self.radiance, -whole, dims=3)
        if part > 1e-6:
            rolled = (1 - part) * rolled + part * torch.roll(self.radiance, -whole - 1, dims=3)
        return replace(self, radiance=rolled)

    def exposed(self, stops: float) -> EnvironmentMap:
        """The light made brighter by `stops` (EV): radiance times 2 ** stops."""
        return replace(self, radiance=self.radiance * 2.0**stops)


def texel_directions(size: tuple[int, int]) -> Tensor:
    """Unit world directions of the texel centres of a (height, width) map, (H, W, 3)."""
    height, width = size
    v, u = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return uv_to_direction(u, v)


def texel_solid_angles(size: tuple[int, int]) -> Tensor:
    """Solid angle of each row's texels in steradians, (H, 1), exact: W times their sum is 4 pi."""
    height, width = size
    edges = torch.cos(torch.linspace(0, math.pi, height + 1, dtype=torch.float64))
    return ((edges[:-1] - edges[1:]) * (2 * math.pi / width)).float()[:, None]


def sample(radiance: Tensor, direction: Tensor) -> Tensor:
    """Bilinear look-up of (T, 3, H, W) radiance in world directions (..., 3): gives (T, 3, ...).

    Wraps around the seam; at the poles the outermost row is repeated. Differentiable in `radiance`.
    """
    frames, _, height, width = radiance.shape
    u, v = direction_to_uv(direction)
    x = u * width - 0.5
    y = (v * height - 0.5).clamp(0, height - 1)
    x0, y0 = torch.floor(x), torch.floor(y)
    fx, fy = x - x0, y - y0
    left, right = x0.long() % width, (x0.long() + 1) % width
    top, bottom = y0.long(), (y0.long() + 1).clamp(max=height - 1)
    texels = radiance.reshape(frames, 3, height * width)
    upper = texels[..., top * width + left] * (1 - fx) + texels[..., top * width + right] * fx
    lower = texels[..., bottom * width + left] * (1 - fx) + texels[..., bottom * width + right] * fx
    return upper * (1 - fy) + lower * fy
