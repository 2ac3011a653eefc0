"""The layers of Stable Diffusion's networks, as far as small models have them, under diffusers' names of tensors.

diffusers' own are the reference (`tests/test_networks_small.py` holds these against them, to the last bit), and all
that is trained or published is made of those. Importing diffusers takes longer than all the work that `mini` does: it
brings transformers, peft and torch's compiler along.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a short cut; `time` (B, T) shifts the features between them."""

    def __init__(self, channels: int, out: int, groups: int, eps: float, time: int | None = None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time, out) if time else None
        self.norm2 = nn.GroupNorm(groups, out, eps)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, features: Tensor, time: Tensor | None = None) -> Tensor:
        hidden = self.conv1(functional.silu(self.norm1(features)))
        if self.time_emb_proj is not None and time is not None:
            hidden = hidden + self.time_emb_proj(functional.silu(time))[:, :, None, None]
        hidden = self.conv2(functional.silu(self.norm2(hidden)))
        return (features if self.conv_shortcut is None else self.conv_shortcut(features)) + hidden


class Downsample(nn.Module):
    """Half as many features each way; an autoencoder's pads to the right and below only."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv(features if self.conv.padding[0] else functional.pad(features, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice as many features each way, or `size`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor, size: torch.Size | None = None) -> Tensor:
        size = size or torch.Size(2 * side for side in features.shape[2:])
        return self.conv(functional.interpolate(features, size=tuple(size), mode="nearest"))


def joined(features: Tensor, group_size: int) -> Tensor:
    """(items, N, D) to (groups, group_size x N, D): the features of the items of a group, which follow one another."""
    return features if group_size == 1 else features.unflatten(0, (-1, group_size)).flatten(1, 2)


def apart(features: Tensor, group_size: int) -> Tensor:
    """What `joined` joined, item by item again."""
    return features if group_size == 1 else features.unflatten(1, (group_size, -1)).flatten(0, 1)


class Attention(nn.Module):
    """Attention of features (B, N, D) to themselves, or to tokens (B, M, T).

    Attributes:
        joint: whether the items of a group attend to one another.
        group_size: consecutive items of the batch that make a group.
    """

    def __init__(self, width: int, heads: int, tokens: int | None = None) -> None:
        super().__init__()
        self._heads, self.joint, self.group_size = heads, False, 1
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(tokens or width, width, bias=False)
        self.to_v = nn.Linear(tokens or width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, features: Tensor, tokens: Tensor | None = None) -> Tensor:
        group_size = self.group_size if self.joint and tokens is None else 1
        features = joined(features, group_size)
        seen = features if tokens is None else tokens
        query, key, value = (
            values.unflatten(2, (self._heads, -1)).transpose(1, 2)
            for values in (self.to_q(features), self.to_k(seen), self.to_v(seen))
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        return self.to_out[0](apart(attended.transpose(1, 2).flatten(2), group_size))


class GatedUnit(nn.Module):
    """A linear layer times another one's GELU (Shazeer 2020, GEGLU)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * out)

    def forward(self, features: Tensor) -> Tensor:
        values, gate = self.proj(features).chunk(2, dim=-1)
        return values * functional.gelu(gate)


class FeedForward(nn.Module):
    """Four times as wide inside; the middle one of the three parts is diffusers' dropout, which has no weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GatedUnit(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.net:
            features = layer(features)
        return features


class TransformerBlock(nn.Module):
    """Features (B, N, D) attend to one another, then to tokens (B, M, T)."""

    def __init__(self, width: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1, self.attn2 = Attention(width, heads), Attention(width, heads, tokens)
        self.ff = FeedForward(width)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        features = self.attn1(self.norm1(features)) + features
        features = self.attn2(self.norm2(features), tokens) + features
        return self.ff(self.norm3(features)) + features


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels of features (B, C, H, W)."""

    def __init__(self, channels: int, heads: int, tokens: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, 1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, heads, tokens)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor, tokens: Tensor) -> Tensor:
        height, width = features.shape[2:]
        hidden = self.proj_in(self.norm(features)).flatten(2).transpose(1, 2)
        hidden = self.transformer_blocks[0](hidden, tokens)
        return self.proj_out(hidden.transpose(1, 2).unflatten(2, (height, width)).contiguous()) + features
