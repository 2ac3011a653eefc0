"""Features of all views into one voxel grid: each cell's centre is looked up in every view, and what the views say is
brought together by an aggregator after IBRNet (Wang et al. 2021, section 3.2; ViewDiff, section 3.2, steps 1 to 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrender.diffusion.networks.views.attention import time_reader
from unrender.diffusion.networks.views.cameras import lifted, poses, project_to_views

UNSEEN_DEPTH = -10.0
"""What the aggregator is told as the depth of a cell that a view does not see."""


def look_up(features: Tensor, points: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the views of one set say of world points.

    Args:
        features: (N, C, h, w) of the views.
        points: (P, 3).
        vectors: (N, WIDTH) camera vectors.

    Returns:
        (N, P, C) features, bilinear, zero where a view does not see the point; (N, P, 4) the ray to it (as long as one
        unit of planar depth) and its planar depth, `UNSEEN_DEPTH` where it is not seen; (N, P, 1) whether it is.
    """
    at, depth = project_to_views(points, vectors)
    seen = ((at >= 0) & (at <= 1)).all(-1) & (depth > 1e-6)
    grid = torch.where(seen[..., None], at * 2 - 1, -10.0)
    sampled = functional.grid_sample(
        features, grid[:, None].to(features), mode="bilinear", padding_mode="zeros", align_corners=False
    )[:, :, 0].transpose(1, 2)
    _, place = poses(vectors)
    shown = seen[..., None]
    ray = torch.where(shown, (points - place[:, None]) / torch.where(seen, depth, 1.0)[..., None], 0.0)
    seen_depth = torch.where(seen, depth, UNSEEN_DEPTH)[..., None]
    counted = shown.to(features) * lifted(vectors)[:, None, None].to(features)
    return sampled, torch.cat((ray, seen_depth), dim=-1).to(features), counted


def look_up_naive(features: Tensor, points: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The plain twin of `look_up`: view after view, the four neighbouring features of each point picked and weighed."""
    height, width = features.shape[2:]
    sampled, told, counted = [], [], []
    for view, vector in zip(features, vectors, strict=True):
        at, depth = (one[0] for one in project_to_views(points, vector[None]))
        seen = ((at >= 0) & (at <= 1)).all(-1) & (depth > 1e-6)
        x, y = at[:, 0] * width - 0.5, at[:, 1] * height - 0.5
        mixed = view.new_zeros(len(points), view.shape[0])
        for right in (0, 1):
            for below in (0, 1):
                column, row = x.floor() + right, y.floor() + below
                weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
                inside = seen & (column >= 0) & (column < width) & (row >= 0) & (row < height)
                picked = view[:, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()].T
                mixed = mixed + torch.where(inside, weight, 0.0)[:, None] * picked
        _, place = poses(vector)
        ray = torch.where(seen[:, None], (points - place) / torch.where(seen, depth, 1.0)[:, None], 0.0)
        sampled.append(mixed)
        told.append(torch.cat((ray, torch.where(seen, depth, UNSEEN_DEPTH)[:, None]), dim=1))
        counted.append(seen[:, None].to(view) * lifted(vector))
    return torch.stack(sampled), torch.stack(told), torch.stack(counted)


class Aggregator(nn.Module):
    """One feature of each cell from those of all views: their mean and variance tell each view's feature how far it
    agrees, and weights follow from that. It treats all views alike, so their order does not matter.

    Args:
        channels: of the features.
        times: of the network's time embedding, by which features of clean views are told from noisy ones; 0 for none.
    """

    def __init__(self, channels: int, times: int) -> None:
        super().__init__()
        half = channels // 2
        self.ray_depth = _layers(4, half, channels)
        self.time = time_reader(times, channels) if times else None
        self.base = _layers(3 * channels, 2 * channels, channels)
        self.visibility = _layers(channels, channels, channels + 1)
        self.weight = nn.Sequential(nn.Linear(channels, channels), nn.ELU(), nn.Linear(channels, 1), nn.Sigmoid())
        self.statistics = nn.Sequential(nn.Linear(2 * channels + 1, channels), nn.ELU())

    def forward(self, features: Tensor, told: Tensor, seen: Tensor, time: Tensor | None) -> Tensor:
        """(N, P, C) features, (N, P, 4) ray and depth, (N, P, 1) whether seen and (N, T) time embeddings to (P, C)."""
        features = features + self.ray_depth(told)
        if self.time is not None and time is not None:
            features = features + self.time(time)[:, None]
        share = seen / (seen.sum(0, keepdim=True) + 1e-8)
        about = torch.cat(_mean_variance(features, share), dim=-1).expand(len(features), -1, -1)
        hidden = self.base(torch.cat((about, features), dim=-1))
        change, visible = self.visibility(hidden * share).split([hidden.shape[-1], 1], dim=-1)
        hidden = hidden + change
        weight = self.weight(hidden * (visible.sigmoid() * seen)) * seen
        share = weight / (weight.sum(0, keepdim=True) + 1e-8)
        mean, variance = _mean_variance(hidden, share)
        return self.statistics(torch.cat((mean[0], variance[0], share.mean(0)), dim=-1))


def _mean_variance(values: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Over the views, (1, P, C) each."""
    mean = (values * share).sum(0, keepdim=True)
    return mean, (share * (values - mean).square()).sum(0, keepdim=True)


def _layers(channels: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, hidden), nn.ELU(), nn.Linear(hidden, out), nn.ELU())
