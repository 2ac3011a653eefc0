"""The small 3D network that refines a voxel grid: a UNet of two levels, or plain residual blocks (ViewDiff, section
3.2, step 4). Names of tensors are those of the released layout."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-5


class ResidualBlock3D(nn.Module):
    """Two normalised convolutions beside a short cut; `time` (B, T) shifts the features between them."""

    def __init__(self, channels: int, out: int, groups: int, times: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, EPS)
        self.conv1 = nn.Conv3d(channels, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(times, out)
        self.norm2 = nn.GroupNorm(groups, out, EPS)
        self.conv2 = nn.Conv3d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv3d(channels, out, 1) if channels != out else None

    def forward(self, grid: Tensor, time: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B, out, D, H, W)."""
        hidden = self.conv1(functional.silu(self.norm1(grid)))
        hidden = hidden + self.time_emb_proj(functional.silu(time))[:, :, None, None, None]
        hidden = self.conv2(functional.silu(self.norm2(hidden)))
        return (grid if self.conv_shortcut is None else self.conv_shortcut(grid)) + hidden


class _Sampler(nn.Module):
    """A convolution that halves each side, or follows a doubling."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, stride=stride, padding=1)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, C, D, H, W) to half or twice of each side."""
        if self.conv.stride[0] == 1:
            grid = functional.interpolate(grid, scale_factor=2.0, mode="nearest")
        return self.conv(grid)


class _Level(nn.Module):
    """Residual blocks, and what leads to the next level.

    Args:
        joins: whether each block is shown what was kept on the way down, too; else its own answer is kept.
    """

    def __init__(
        self,
        blocks: list[ResidualBlock3D],
        down: _Sampler | None = None,
        up: _Sampler | None = None,
        *,
        joins: bool = False,
    ) -> None:
        super().__init__()
        self._joins = joins
        self.resnets = nn.ModuleList(blocks)
        self.downsamplers = nn.ModuleList([down]) if down else None
        self.upsamplers = nn.ModuleList([up]) if up else None

    def forward(self, hidden: Tensor, time: Tensor, kept: list[Tensor]) -> Tensor:
        """(B, C, D, H, W) to the next level; takes the last grids of `kept`, or adds to them."""
        for block in self.resnets:
            hidden = block(torch.cat((hidden, kept.pop()), dim=1) if self._joins else hidden, time)
            if not self._joins:
                kept.append(hidden)
        if self.downsamplers is not None:
            hidden = self.downsamplers[0](hidden)
            kept.append(hidden)
        return hidden if self.upsamplers is None else self.upsamplers[0](hidden)


class UNet3D(nn.Module):
    """Levels of `channels`, 2 `channels`, ...; told the timestep of the noisy views.

    Args:
        channels: of the grid.
        levels: how many; each but the last halves the grid's side.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        widths, groups, times = [channels * (i + 1) for i in range(levels)], min(32, channels), 4 * channels
        self._sinusoids = channels
        self.conv_in = nn.Conv3d(channels, channels, 3, padding=1)
        self.time_embedding = _TimeEmbedding(channels, times)
        before = [channels, *widths[:-1]]
        self.down_blocks = nn.ModuleList(
            _Level(
                [ResidualBlock3D(inward, outward, groups, times)],
                down=_Sampler(outward, 2) if level < levels - 1 else None,
            )
            for level, (inward, outward) in enumerate(zip(before, widths, strict=True))
        )
        self.mid_block = _Level([ResidualBlock3D(widths[-1], widths[-1], groups, times)])
        ups, below = [], widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            skipped = [width, before[level]]
            blocks = [
                ResidualBlock3D(below + skipped[0], width, groups, times),
                ResidualBlock3D(width + skipped[1], width, groups, times),
            ]
            ups.append(_Level(blocks, up=_Sampler(width, 1) if level else None, joins=True))
            below = width
        self.up_blocks = nn.ModuleList(ups)
        self.conv_norm_out = nn.GroupNorm(groups, channels, EPS)
        self.conv_out = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, grid: Tensor, timestep: Tensor) -> Tensor:
        """(B, C, G, G, G) at timesteps (B,) to the same shape; G has to be divisible by 2^(levels - 1)."""
        time = self.time_embedding(sinusoids(timestep, self._sinusoids).to(grid))
        hidden = self.conv_in(grid)
        kept = [hidden]
        for level in self.down_blocks:
            hidden = level(hidden, time, kept)
        hidden = self.mid_block(hidden, time, [])
        for level in self.up_blocks:
            hidden = level(hidden, time, kept)
        return self.conv_out(functional.silu(self.conv_norm_out(hidden)))


class _TimeEmbedding(nn.Module):
    def __init__(self, sinusoids: int, times: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(sinusoids, times), nn.Linear(times, times)

    def forward(self, waves: Tensor) -> Tensor:
        """(B, S) sinusoids to (B, T)."""
        return self.linear_2(functional.silu(self.linear_1(waves)))


def sinusoids(timestep: Tensor, count: int) -> Tensor:
    """(B, count) cosines, then sines, of timesteps (B,) at frequencies from 1 down to 1 / 10000, as Stable Diffusion
    has them (Ho et al. 2020, after Vaswani et al. 2017)."""
    half = count // 2
    rates = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(half) / half).to(timestep.device)
    angles = timestep.float()[:, None] * rates
    return torch.cat((angles.cos(), angles.sin()), dim=1)
