"""The projection layer (ViewDiff, Höllein et al. 2024, section 3.2): features of all views into one voxel grid, the
grid refined, and rendered into all views, so that what they agree on can be a thing in space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from unrender.diffusion.networks.views.cameras import feature_rays, poses
from unrender.diffusion.networks.views.cnn3d import UNet3D
from unrender.diffusion.networks.views.context import ViewContext
from unrender.diffusion.networks.views.contraction import grid_points, released_grid_points
from unrender.diffusion.networks.views.lifting import Aggregator, look_up, look_up_naive
from unrender.diffusion.networks.views.volume_rendering import Marching, NaiveRenderer, RenderedFeatures, VolumeRenderer

CELLS = 1 << 16
"""Cells times views that are looked up together."""

Compression = Literal["single", "multiple"]
Joining = Literal["replace", "add", "zero"]


@dataclass(frozen=True)
class ProjectionSize:
    """The size of one layer.

    Attributes:
        channels: of the features that come in.
        inner: to which they are compressed (C' of the paper).
        side: cells along each side of the grid.
        levels: of the 3D UNet; 0 for none.
        times: channels of the network's time embedding; 0 where the aggregator is not told the time.
        compression: one 1 x 1 convolution (the paper), or two of 3 x 3 before it (the released code).
        background: whether a part of the grid is for what lies around the subject.
        marching: where rays are sampled.
        released_grid: whether the cells lie as in the released code (`contraction.released_grid_points`).
    """

    channels: int
    inner: int = 16
    side: int = 32
    levels: int = 2
    times: int = 0
    compression: Compression = "single"
    background: bool = True
    marching: Marching = field(default_factory=Marching)
    released_grid: bool = False


class ProjectionLayer(nn.Module):
    """Features of the views of a set to features that one volume explains.

    Attributes:
        size: its size.
        noise: deviation of the noise on the density's logits, for training; 0 for none.
        noise_source: draws that noise; None for torch's own generator.
        naive: whether the plain twins are used.
    """

    def __init__(self, size: ProjectionSize) -> None:
        super().__init__()
        self.size, self.noise, self.naive = size, 0.0, False
        self.noise_source: torch.Generator | None = None
        inner, channels = size.inner, size.channels
        if size.compression == "single":
            self.compress: nn.Module = nn.Conv2d(channels, inner, 1)
        else:
            self.compress = nn.Sequential(
                *(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(channels, inner, 3, padding=1), nn.ReLU()),
                nn.Conv2d(inner, inner, 1),
            )
        self.aggregator = Aggregator(inner, size.times)
        self.refine = UNet3D(inner, size.levels) if size.levels else None
        self.direction = nn.Linear(3, inner)
        self.volume_renderer = VolumeRenderer(inner, size.marching)
        self.foreground = _scale(inner, channels)
        self.background = _scale(inner, channels)
        nn.init.xavier_uniform_(self.direction.weight)
        nn.init.zeros_(self.direction.bias)

    def forward(
        self, features: Tensor, vectors: Tensor, times: Tensor | None = None, embedding: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of one set.

        Args:
            features: (N, C, h, w).
            vectors: (N, WIDTH) camera vectors.
            times: (N,) timesteps; the grid is told the noisiest, whatever the order of the views.
            embedding: (N, T) their embedding.

        Returns:
            (N, C, h, w) features; (N, 1, h, w) depth, planar in the subject's units; (N, 1, h, w) coverage in [0, 1].
        """
        rendered = self.render(self.grid(self.compress(features), vectors, times, embedding), vectors, features)
        count, _, height, width = features.shape
        inner, coverage, depth = (
            each.view(count, height, width, -1).permute(0, 3, 1, 2).to(features)
            for each in (rendered.features, rendered.coverage[:, None], rendered.depth[:, None])
        )
        scaled = coverage * self.foreground(inner) + (1 - coverage) * self.background(inner)
        return scaled, depth, coverage

    def grid(self, compressed: Tensor, vectors: Tensor, times: Tensor | None, embedding: Tensor | None) -> Tensor:
        """(inner, G, G, G) the refined grid, indexed z, y, x, of compressed features (N, inner, h, w)."""
        side = self.size.side
        share = self.size.marching.share if self.size.background else 1.0
        points, kept = (released_grid_points if self.size.released_grid else grid_points)(side, share, vectors)
        # The released code looks cells up that no point of the world has, and its networks have seen what comes of it.
        chosen = None if self.naive or self.size.released_grid or bool(kept.all()) else kept
        look = look_up_naive if self.naive else look_up
        wanted = points if chosen is None else points[chosen]
        cells = len(points) if self.naive else max(1, CELLS // len(compressed))
        embedding = None if embedding is None else embedding.float()
        parts = []
        for start in range(0, len(wanted), cells):
            sampled, told, seen = look(compressed.float(), wanted[start : start + cells], vectors)
            if self.size.released_grid:
                there = kept[start : start + cells, None]
                sampled, told = (torch.where(there, each, 0.0) for each in (sampled, told))
            parts.append(self.aggregator(sampled, told, seen, embedding))
        found = torch.cat(parts)
        if chosen is not None:
            found = found.new_zeros(len(points), found.shape[1]).index_put((chosen.nonzero()[:, 0],), found)
        elif not self.size.released_grid:
            found = found * kept[:, None]
        grid = found.T.unflatten(1, (side, side, side))
        if self.refine is None:
            return grid
        step = vectors.new_zeros(1) if times is None else times.max()[None]
        return self.refine(grid[None], step)[0]

    def render(self, grid: Tensor, vectors: Tensor, like: Tensor) -> RenderedFeatures:
        """What the views see of a grid, (N x h x w, ...), at the size of the feature maps `like` (N, ..., h, w)."""
        height, width = like.shape[-2:]
        rays = feature_rays(vectors, (height, width)).flatten(0, 1)
        _, place = poses(vectors)
        places = place.repeat_interleave(height * width, dim=0)
        samples = self.size.marching.linear + self.size.marching.inverse
        noise = None
        if self.noise and self.training:
            noise = torch.randn(len(rays), samples, generator=self.noise_source).to(rays) * self.noise
        renderer = NaiveRenderer(self.volume_renderer) if self.naive else self.volume_renderer
        return renderer(grid.float(), rays, places, self.direction(rays), noise)


class ProjectedBlock(nn.Module):
    """A transformer block of a UNet with a projection layer between its attention to the text and its feed-forward; the
    parts are the block's own.

    Args:
        block: diffusers' BasicTransformerBlock.
        layer: the projection layer.
        joining: how what it renders joins the features: in their place, added, or added through a linear layer that is
            zero at first.
        number: of the layer in its network.
        context: shared with the other added layers.
    """

    def __init__(
        self, block: nn.Module, layer: ProjectionLayer, joining: Joining, number: int, context: ViewContext
    ) -> None:
        super().__init__()
        part = block.get_submodule
        self.norm1, self.attn1 = part("norm1"), part("attn1")
        self.norm2, self.attn2 = part("norm2"), part("attn2")
        self.norm3, self.ff = part("norm3"), part("ff")
        channels = layer.size.channels
        self.norm_cf = nn.LayerNorm(channels)
        self.projection = layer
        self.joining, self.number, self.context = joining, number, context
        self.gate = nn.Linear(channels, channels) if joining == "zero" else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **kwargs: object) -> Tensor:
        """(B, L, C) and tokens (B, M, D) to (B, L, C)."""
        hidden = self.attn1(self.norm1(hidden_states)) + hidden_states
        hidden = self.attn2(self.norm2(hidden), encoder_hidden_states=encoder_hidden_states) + hidden
        rendered = self._project(self.norm_cf(hidden))
        if self.gate is not None:
            hidden = hidden + self.gate(rendered)
        else:
            hidden = rendered if self.joining == "replace" else hidden + rendered
        return self.ff(self.norm3(hidden)) + hidden

    def _project(self, hidden: Tensor) -> Tensor:
        """Set by set: memory does not grow with the batch."""
        context, views = self.context, self.context.group_size
        vectors, times = context.require("vectors"), context.require("times")
        embedding = context.time_embedding if self.projection.size.times else None
        times = times.expand(len(hidden))
        size = feature_size(hidden.shape[1], context)
        # In single precision throughout: half a cell is lost in the eight bits of a coordinate.
        features = hidden.transpose(1, 2).unflatten(2, size).float()
        # Mixed precision would take rotations and coordinates for features.
        with torch.autocast(hidden.device.type, enabled=False):
            parts = [
                self.projection(
                    features[part], vectors[part], times[part], None if embedding is None else embedding[part]
                )
                for start in range(0, len(hidden), views)
                for part in [slice(start, start + views)]
            ]
        rendered, depth, coverage = (torch.cat(each) for each in zip(*parts, strict=True))
        context.surfaces[self.number] = (depth.detach(), coverage.detach())
        return rendered.flatten(2).transpose(1, 2).to(hidden)


def feature_size(tokens: int, context: ViewContext) -> tuple[int, int]:
    """(height, width) of a feature map of so many tokens, of a network whose latent has the context's size."""
    height, width = context.size
    while height * width > tokens:
        # As the UNet's strided convolutions: an odd side is rounded up.
        height, width = (height + 1) // 2, (width + 1) // 2
    return height, width


def _scale(inner: int, channels: int) -> nn.Sequential:
    """What brings rendered features from (0, 1) back into the range of the network's; pixel by pixel, so that it can
    paint nothing that the volume has not."""
    return nn.Sequential(
        *(nn.Conv2d(inner, inner, 1), nn.ReLU()),
        *(nn.Conv2d(inner, channels, 1), nn.ReLU()),
        nn.Conv2d(channels, channels, 1),
    )
