"""Drawing directions from an environment map in proportion to its light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.conventions import uv_to_direction
from unrender.scene.color import luminance
from unrender.scene.environment import sample


@dataclass(frozen=True)
class LightSampler:
    """An environment map that can be looked up and drawn from.

    Directions are drawn by inverting the marginal and conditional distributions of luminance times solid angle
    (Pharr, Jakob & Humphreys, Physically Based Rendering, 4th ed., 12.5), then moved by a tent of one texel each way.
    That makes the density the bilinear interpolation of the texels' weights: where the look-up blends a sun into its
    neighbour, the density does too, and no sample is ever far brighter than its density.

    Attributes:
        texels: (4, H, W) radiance and, in the fourth channel, density per unit of the (u, v) square.
        rows: (H,) cumulative distribution of rows, float64.
        columns: (H * W,) cumulative distribution within each row, plus the row's index, float64: increasing throughout.
    """

    texels: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, radiance: Tensor, *, defensive: bool = False) -> LightSampler:
        """For one frame of radiance (3, H, W); gradients reach the look-ups, never the density.

        Args:
            radiance: of the map.
            defensive: draw half of the directions in proportion to the root of the light, so that a sky beside a sun
                has its share.
        """
        _, height, width = radiance.shape
        theta = math.pi * (torch.arange(height, device=radiance.device, dtype=torch.float64) + 0.5) / height
        weight = luminance(radiance.detach(), dim=0)[0].double()
        if defensive:
            root = weight.sqrt()
            weight = weight + root * (weight.mean() / root.mean().clamp(min=1e-12))
        # A floor, so that a black map still has directions and no direction has density zero.
        weight = (weight + 1e-4 * weight.mean() + 1e-12) * torch.sin(theta)[:, None]
        totals = weight.sum(1)
        density = weight * (height * width / totals.sum())
        columns = weight.cumsum(1) / totals[:, None] + torch.arange(height, device=radiance.device)[:, None]
        with_density = torch.cat((radiance, density.to(radiance.dtype)[None]))
        return cls(with_density, totals.cumsum(0) / totals.sum(), columns.reshape(-1))

    def look_up(self, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Radiance (3, ...) from unit directions (3, ...), and the density per steradian of drawing them (...)."""
        values = sample(self.texels[None], direction.movedim(0, -1))[0]
        sin_theta = torch.hypot(direction[0], direction[2]).clamp(min=1e-6)
        return values[:3], values[3].detach() / (2 * math.pi**2 * sin_theta)

    def draw(self, u: Tensor, v: Tensor) -> Tensor:
        """Unit directions (3, ...) for uniform `u`, `v` (...) in [0, 1)."""
        height = len(self.rows)
        width = len(self.columns) // height
        y, row = _invert(self.rows, v.double())
        x, column = _invert(self.columns, row + u.double())
        x, y = column - row * width + 0.5 + _tent(x), row + 0.5 + _tent(y)
        # Past a pole the tent folds back: the look-up repeats the outermost row there, and so does the density.
        y = torch.where(y < 0, -y, torch.where(y > height, 2 * height - y, y))
        u, v = torch.remainder(x / width, 1.0), y / height
        return uv_to_direction(u, v).movedim(-1, 0).to(self.texels.dtype).contiguous()


def _invert(cumulative: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The cell of `cumulative` that holds `value`, and how far into it the value lies, in [0, 1)."""
    cell = torch.searchsorted(cumulative, value, right=True).clamp(max=len(cumulative) - 1)
    below = torch.where(cell > 0, cumulative[(cell - 1).clamp(min=0)], 0.0)
    return ((value - below) / (cumulative[cell] - below).clamp(min=1e-30)).clamp(0, 1 - 1e-9), cell


def _tent(u: Tensor) -> Tensor:
    """Uniform numbers to the tent density on [-1, 1]."""
    return torch.where(u < 0.5, torch.sqrt(2 * u) - 1, 1 - torch.sqrt((2 * (1 - u)).clamp(min=0)))
