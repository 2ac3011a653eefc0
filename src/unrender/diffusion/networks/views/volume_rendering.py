"""Rendering a voxel grid of features along rays (ViewDiff, section 3.2, step 5; NeRF, Mildenhall et al. 2020, eq. 3).

Samples lie evenly from near to far, then evenly in inverse depth towards infinity. At each, the grid is interpolated in
contracted space, a small network gives density and features, and these are summed by how much of them is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from unrender.diffusion.networks.views.contraction import contract

CHUNK = 1 << 17
"""Samples that are worked on together: memory does not grow with the number of views."""


@dataclass(frozen=True)
class Marching:
    """Where along a ray the grid is sampled.

    Attributes:
        linear: samples from near to far, even in depth.
        inverse: samples beyond far, even in inverse depth; 0 for none.
        reach: near and far are the camera's distance from the subject less and plus this, in the subject's units.
        end: the last sample lies at far / end.
        share: of the grid's side that the subject's cube takes (see `contraction`).
    """

    linear: int = 128
    inverse: int = 128
    reach: float = 4.0
    end: float = 0.5
    share: float = 0.5

    def depths(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Depths and their steps, (R, S) each, for cameras at `distance` (R,) from the subject."""
        near, far = (distance - self.reach).clamp(min=0)[:, None], (distance + self.reach)[:, None]
        steps = torch.arange(self.linear).to(distance) / max(1, self.linear - 1)
        depth = near + (far - near) * steps
        first = (far - near) / max(1, self.linear - 1)
        if self.inverse:
            shares = (torch.arange(self.inverse).to(distance) + 1) / self.inverse
            depth = torch.cat((depth, far / (1 + (self.end - 1) * shares)), dim=1)
        return depth, torch.cat((first, depth.diff(dim=1)), dim=1)


@dataclass(frozen=True)
class RenderedFeatures:
    """What rays see: features (R, C), coverage (R,) in [0, 1] and expected depth (R,), planar."""

    features: Tensor
    coverage: Tensor
    depth: Tensor


class VolumeRenderer(nn.Module):
    """Density and features of samples: three layers, softplus density, features in (0, 1), on white.

    Args:
        channels: of the grid, and of what is rendered.
        marching: where rays are sampled.
        density_bias: of the density's logit; at -5 a new grid is all but empty.
    """

    def __init__(self, channels: int, marching: Marching, density_bias: float = -5.0) -> None:
        super().__init__()
        self.marching = marching
        self.mlp_weights = nn.Parameter(torch.empty(3, channels, channels))
        self.mlp_biases = nn.Parameter(torch.zeros(3, channels))
        bound = 1 / math.sqrt(channels)
        self.weight_opacity = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))
        self.bias_opacity = nn.Parameter(torch.full((1,), density_bias))
        self.weight_color = nn.Parameter(torch.empty(channels, channels))
        self.bias_color = nn.Parameter(torch.zeros(channels))
        self.bg_color: Tensor
        self.register_buffer("bg_color", torch.ones(channels))
        for weight in (*self.mlp_weights, self.weight_color):
            nn.init.xavier_uniform_(weight.data)

    def forward(
        self, grid: Tensor, rays: Tensor, places: Tensor, told: Tensor, noise: Tensor | None = None
    ) -> RenderedFeatures:
        """Renders one set.

        Args:
            grid: (C, G, G, G), indexed z, y, x.
            rays: (R, 3), as long as one unit of planar depth.
            places: (R, 3) where they start.
            told: (R, C) what the direction adds to the features.
            noise: (R, S) added to the density's logits in training; None for none.
        """
        depth, step = self.marching.depths(places.norm(dim=-1))
        # The first layer is linear, and so is interpolation: it is applied to the cells, which are fewer.
        first = torch.einsum("czyx,ck->zyxk", grid, self.mlp_weights[0])
        count = max(1, CHUNK // depth.shape[1])
        parts = []
        for start in range(0, len(rays), count):
            part = slice(start, start + count)
            given = (first, rays[part], places[part], told[part], depth[part], step[part])
            shaken = None if noise is None else noise[part]
            if torch.is_grad_enabled() and len(rays) > count:
                parts.append(checkpoint(self._march, *given, shaken, use_reentrant=False))
            else:
                parts.append(self._march(*given, shaken))
        return RenderedFeatures(*(torch.cat(each) for each in zip(*parts, strict=True)))

    def _march(
        self,
        first: Tensor,
        rays: Tensor,
        places: Tensor,
        told: Tensor,
        depth: Tensor,
        step: Tensor,
        noise: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        points = places[:, None] + depth[..., None] * rays[:, None]
        vector = interpolate_cells(first, contract(points, self.marching.share).flatten(0, 1))
        hidden = functional.relu(vector + self.mlp_biases[0])
        hidden = functional.relu(torch.addmm(self.mlp_biases[1], hidden, self.mlp_weights[1]))
        logit = (hidden @ self.weight_opacity + self.bias_opacity).view_as(depth)
        if noise is not None:
            logit = logit + noise
        attenuation = (functional.softplus(logit) * step).cumsum(1)
        left = torch.exp(-attenuation)
        weight = torch.cat((torch.ones_like(left[:, :1]), left[:, :-1]), dim=1) - left
        lit = torch.addmm(self.mlp_biases[2], hidden, self.mlp_weights[2]).view(*depth.shape, -1) + told[:, None]
        colour = torch.addmm(self.bias_color, functional.relu(lit).flatten(0, 1), self.weight_color).sigmoid()
        seen = (weight[..., None] * colour.view(*depth.shape, -1)).sum(1)
        coverage = 1 - left[:, -1]
        return seen + (1 - coverage)[:, None] * self.bg_color, coverage, (weight * depth).sum(1)


class NaiveRenderer:
    """The plain twin of `VolumeRenderer`: sample after sample along all rays, all eight cells picked by hand."""

    def __init__(self, renderer: VolumeRenderer) -> None:
        self._of = renderer

    def __call__(
        self, grid: Tensor, rays: Tensor, places: Tensor, told: Tensor, noise: Tensor | None = None
    ) -> RenderedFeatures:
        """See `VolumeRenderer.forward`."""
        of = self._of
        depths, steps = of.marching.depths(places.norm(dim=-1))
        attenuation, left = rays.new_zeros(len(rays)), rays.new_ones(len(rays))
        features, depth = rays.new_zeros(len(rays), len(grid)), rays.new_zeros(len(rays))
        for index in range(depths.shape[1]):
            points = places + depths[:, index, None] * rays
            vector = _interpolate_naive(grid, contract(points, of.marching.share))
            hidden = functional.relu(vector @ of.mlp_weights[0] + of.mlp_biases[0])
            hidden = functional.relu(hidden @ of.mlp_weights[1] + of.mlp_biases[1])
            logit = (hidden * of.weight_opacity).sum(-1) + of.bias_opacity
            if noise is not None:
                logit = logit + noise[:, index]
            attenuation = attenuation + functional.softplus(logit) * steps[:, index]
            weight, left = left - torch.exp(-attenuation), torch.exp(-attenuation)
            lit = functional.relu(hidden @ of.mlp_weights[2] + of.mlp_biases[2] + told)
            features = features + weight[:, None] * torch.sigmoid(lit @ of.weight_color + of.bias_color)
            depth = depth + weight * depths[:, index]
        return RenderedFeatures(features + left[:, None] * of.bg_color, 1 - left, depth)


def interpolate_cells(cells: Tensor, at: Tensor) -> Tensor:
    """Trilinear values (P, C) of cells (G, G, G, C), indexed z, y, x, at grid coordinates (P, 3) in [-1, 1]; zero where
    a coordinate lies outside the outermost centres, as in the released code. No gradient to `at`."""
    side = cells.shape[0]
    position = ((at.detach() + 1) / 2 * side - 0.5).float()
    inside = ((position >= 0) & (position < side)).all(-1)
    low = position.floor().clamp(0, side - 1)
    share = position - low
    low = low.long()
    high = (low + 1).clamp(max=side - 1)
    beyond = (low + 1 < side).to(share) * share
    rows, weights = [], []
    for corner in range(8):
        x, y, z = (corner >> axis & 1 for axis in range(3))
        index = [(high if bit else low)[:, axis] for axis, bit in enumerate((x, y, z))]
        rows.append((index[2] * side + index[1]) * side + index[0])
        parts = [(beyond if bit else 1 - share)[:, axis] for axis, bit in enumerate((x, y, z))]
        weights.append(parts[0] * parts[1] * parts[2] * inside)
    index, weight = torch.stack(rows, 1), torch.stack(weights, 1).to(cells)
    return functional.embedding_bag(index, cells.flatten(0, 2), per_sample_weights=weight, mode="sum")


def _interpolate_naive(grid: Tensor, at: Tensor) -> Tensor:
    """The same of a grid (C, G, G, G)."""
    side = grid.shape[1]
    position = (at + 1) / 2 * side - 0.5
    inside = ((position >= 0) & (position < side)).all(-1)
    low, value = position.floor(), 0.0
    for corner in range(8):
        index = low + torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1]).to(low)
        there = inside & (index >= 0).all(-1) & (index < side).all(-1)
        weight = torch.where(there, (1 - (position - index).abs()).prod(-1), 0.0)
        x, y, z = index.clamp(0, side - 1).long().unbind(-1)
        value = value + weight[:, None] * grid[:, z, y, x].T
    return value
