"""The UNet and the autoencoder that small models are made of, without diffusers: for inference, called as its own are.

Both read the folders that diffusers' `UNet2DConditionModel` and `AutoencoderKL` write, as long as their configuration
asks for nothing that is not here (`small_unet_fits`, `small_autoencoder_fits`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrender.diffusion.networks.layers import Downsample, ResidualBlock, SpatialTransformer, Upsample

Config = Mapping[str, Any]

_UNET_BLOCKS = {"DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"}

_UNET_HABITS: dict[str, tuple[Any, ...]] = {
    "_class_name": ("UNet2DConditionModel",),
    "act_fn": ("silu",),
    "attention_type": ("default",),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "downsample_padding": (1,),
    "dropout": (0.0,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "resnet_out_scale_factor": (1.0,),
    "resnet_time_scale_shift": ("default",),
    "time_embedding_type": ("positional",),
    "transformer_layers_per_block": (1,),
}
"""What a UNet must say of itself to be built here, beside its sizes. Of all else it must say nothing, or no."""

_UNET_SIZES = {
    "attention_head_dim",
    "block_out_channels",
    "cross_attention_dim",
    "down_block_types",
    "in_channels",
    "layers_per_block",
    "norm_eps",
    "norm_num_groups",
    "out_channels",
    "sample_size",
    "up_block_types",
    # Read only by what must be off.
    "addition_embed_type_num_heads",
    "_diffusers_version",
}

_AUTOENCODER_HABITS: dict[str, tuple[Any, ...]] = {
    "_class_name": ("AutoencoderKL",),
    "act_fn": ("silu",),
    "mid_block_add_attention": (False,),
    "use_post_quant_conv": (True,),
    "use_quant_conv": (True,),
}

_AUTOENCODER_SIZES = {
    "block_out_channels",
    "down_block_types",
    "in_channels",
    "latent_channels",
    "layers_per_block",
    "norm_num_groups",
    "out_channels",
    "sample_size",
    "up_block_types",
    # Hints to pipelines.
    "force_upcast",
    "scaling_factor",
    "_diffusers_version",
}


def small_unet_fits(config: Config) -> bool:
    """Whether `SmallUNet` is the network of that `config.json`."""
    blocks = {*config.get("down_block_types", ("",)), *config.get("up_block_types", ("",))}
    heads = config.get("attention_head_dim")
    return _fits(config, _UNET_HABITS, _UNET_SIZES) and blocks <= _UNET_BLOCKS and isinstance(heads, int)


def small_autoencoder_fits(config: Config) -> bool:
    """Whether `SmallAutoencoder` is the network of that `config.json`."""
    blocks = {*config.get("down_block_types", ("",)), *config.get("up_block_types", ("",))}
    plain = blocks <= {"DownEncoderBlock2D", "UpDecoderBlock2D"}
    return _fits(config, _AUTOENCODER_HABITS, _AUTOENCODER_SIZES) and plain


def _fits(config: Config, habits: Mapping[str, tuple[Any, ...]], sizes: set[str]) -> bool:
    other = (value for name, value in config.items() if name not in habits and name not in sizes)
    return all(config.get(name) in known for name, known in habits.items()) and not any(other)


class TimeEmbedding(nn.Module):
    """Two linear layers over sines and cosines of the timestep."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(channels, out), nn.Linear(out, out)

    def forward(self, waves: Tensor) -> Tensor:
        return self.linear_2(functional.silu(self.linear_1(waves)))


class UNetLevel(nn.Module):
    """The residual blocks of one size of features, each with a transformer where `heads` are given."""

    def __init__(self, widths: list[tuple[int, int]], config: Config, heads: int) -> None:
        super().__init__()
        groups, eps, tokens = config["norm_num_groups"], config["norm_eps"], config["cross_attention_dim"]
        time = 4 * config["block_out_channels"][0]
        self.resnets = nn.ModuleList([ResidualBlock(a, b, groups, eps, time) for a, b in widths])
        if heads:
            transformers = [SpatialTransformer(b, heads, tokens, groups) for _, b in widths]
            self.attentions = nn.ModuleList(transformers)
        self.has_attention = bool(heads)
        self.downsamplers, self.upsamplers = nn.ModuleList(), nn.ModuleList()

    def step(self, index: int, features: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        """Residual block `index`, and the transformer after it."""
        features = self.resnets[index](features, time)
        return self.attentions[index](features, tokens) if self.has_attention else features


class SmallUNet(nn.Module):
    """A conditional UNet (Rombach et al. 2022) of residual blocks and cross-attending transformers, in plain torch."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = dict(config)
        widths, layers, heads = config["block_out_channels"], config["layers_per_block"], config["attention_head_dim"]
        groups, eps = config["norm_num_groups"], config["norm_eps"]
        first, last = widths[0], widths[-1]
        self.conv_in = nn.Conv2d(config["in_channels"], first, 3, padding=1)
        self.time_embedding = TimeEmbedding(first, 4 * first)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips = [first]
        for index, (kind, out) in enumerate(zip(config["down_block_types"], widths, strict=True)):
            ends = [(widths[max(index - 1, 0)], out), *[(out, out)] * (layers - 1)]
            level = UNetLevel(ends, config, heads if kind.startswith("CrossAttn") else 0)
            level.downsamplers.extend([Downsample(out, 1)] if index < len(widths) - 1 else [])
            self.down_blocks.append(level)
            skips += [out] * (layers + len(level.downsamplers))
        self.mid_block = UNetLevel([(last, last)], config, heads)
        self.mid_block.resnets.append(ResidualBlock(last, last, groups, eps, 4 * first))
        below = last
        for index, (kind, out) in enumerate(zip(config["up_block_types"], reversed(widths), strict=True)):
            ends = []
            for _ in range(layers + 1):
                ends.append((below + skips.pop(), out))
                below = out
            level = UNetLevel(ends, config, heads if kind.startswith("CrossAttn") else 0)
            level.upsamplers.extend([Upsample(out)] if index < len(widths) - 1 else [])
            self.up_blocks.append(level)
        self.conv_norm_out = nn.GroupNorm(groups, first, eps)
        self.conv_out = nn.Conv2d(first, config["out_channels"], 3, padding=1)

    @classmethod
    def from_config(cls, config: Config) -> SmallUNet:
        """The network of a configuration that fits, as diffusers' classes are made."""
        return cls(config)

    def forward(
        self, sample: Tensor, timestep: int | Tensor, tokens: Tensor, class_labels: None = None, *, return_dict: bool
    ) -> tuple[Tensor]:
        """(B, C, h, w) at `timestep` of all or (B,) of each, told `tokens` (B, N, D): a tuple of one (B, C', h, w).

        `class_labels` and `return_dict` are there to be called as diffusers' network is; neither does anything.
        """
        times = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(len(sample))
        time = self.time_embedding(sinusoids(times, self.conv_in.out_channels).to(sample.dtype))
        features = self.conv_in(sample)
        kept = [features]
        for level in cast("list[UNetLevel]", list(self.down_blocks)):
            for index in range(len(level.resnets)):
                features = level.step(index, features, time, tokens)
                kept.append(features)
            for downsample in level.downsamplers:
                features = downsample(features)
                kept.append(features)
        middle = self.mid_block
        features = middle.resnets[1](middle.step(0, features, time, tokens), time)
        for level in cast("list[UNetLevel]", list(self.up_blocks)):
            for index in range(len(level.resnets)):
                features = level.step(index, torch.cat((features, kept.pop()), dim=1), time, tokens)
            for upsample in level.upsamplers:
                features = upsample(features, kept[-1].shape[2:])
        return (self.conv_out(functional.silu(self.conv_norm_out(features))),)


def sinusoids(times: Tensor, channels: int) -> Tensor:
    """Cosines, then sines, of timesteps (B,) at frequencies from 1 down to 1/10000: (B, channels) float32 (Vaswani et
    al. 2017, section 3.5)."""
    half = channels // 2
    exponent = -math.log(10000) * torch.arange(half, dtype=torch.float32, device=times.device) / half
    angles = times[:, None].float() * exponent.exp()
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class VaeLevel(nn.Module):
    """The residual blocks of one size of features of an autoencoder."""

    def __init__(self, widths: list[tuple[int, int]], groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResidualBlock(a, b, groups, 1e-6) for a, b in widths])
        self.downsamplers, self.upsamplers = nn.ModuleList(), nn.ModuleList()

    def forward(self, features: Tensor) -> Tensor:
        for block in (*self.resnets, *self.downsamplers, *self.upsamplers):
            features = block(features)
        return features


class VaeHalf(nn.Module):
    """The encoder or the decoder of an autoencoder: a convolution, levels and the middle, in its order, and the end."""

    def __init__(self, channels: int, ends: tuple[int, int], out: int, groups: int) -> None:
        super().__init__()
        first, last = ends
        self.conv_in = nn.Conv2d(channels, first, 3, padding=1)
        self.conv_norm_out = nn.GroupNorm(groups, last, 1e-6)
        self.conv_out = nn.Conv2d(last, out, 3, padding=1)

    def finish(self, features: Tensor) -> Tensor:
        """The normalised end."""
        return self.conv_out(functional.silu(self.conv_norm_out(features)))


class Encoder(VaeHalf):
    """A picture to the moments of its latent."""

    def __init__(self, config: Config) -> None:
        widths, groups, layers = config["block_out_channels"], config["norm_num_groups"], config["layers_per_block"]
        super().__init__(config["in_channels"], (widths[0], widths[-1]), 2 * config["latent_channels"], groups)
        self.down_blocks = nn.ModuleList()
        for index, out in enumerate(widths):
            level = VaeLevel([(widths[max(index - 1, 0)], out), *[(out, out)] * (layers - 1)], groups)
            level.downsamplers.extend([Downsample(out, 0)] if index < len(widths) - 1 else [])
            self.down_blocks.append(level)
        self.mid_block = VaeLevel([(widths[-1], widths[-1])] * 2, groups)

    def forward(self, picture: Tensor) -> Tensor:
        features = self.conv_in(picture)
        for level in self.down_blocks:
            features = level(features)
        return self.finish(self.mid_block(features))


class Decoder(VaeHalf):
    """A latent to its picture."""

    def __init__(self, config: Config) -> None:
        widths, groups, layers = config["block_out_channels"], config["norm_num_groups"], config["layers_per_block"]
        super().__init__(config["latent_channels"], (widths[-1], widths[0]), config["out_channels"], groups)
        self.mid_block = VaeLevel([(widths[-1], widths[-1])] * 2, groups)
        self.up_blocks = nn.ModuleList()
        above = widths[-1]
        for index, out in enumerate(reversed(widths)):
            level = VaeLevel([(above, out), *[(out, out)] * layers], groups)
            level.upsamplers.extend([Upsample(out)] if index < len(widths) - 1 else [])
            self.up_blocks.append(level)
            above = out

    def forward(self, latent: Tensor) -> Tensor:
        features = self.mid_block(self.conv_in(latent))
        for level in self.up_blocks:
            features = level(features)
        return self.finish(features)


@dataclass(frozen=True)
class LatentGaussian:
    """A Gaussian over latents (B, C, h, w).

    Attributes:
        mean, logvar: of every number by itself.
    """

    mean: Tensor
    logvar: Tensor

    @property
    def std(self) -> Tensor:
        """(B, C, h, w) standard deviations."""
        return torch.exp(0.5 * self.logvar.clamp(-30, 20))

    def mode(self) -> Tensor:
        """(B, C, h, w), the likeliest latent."""
        return self.mean


@dataclass(frozen=True)
class Encoded:
    """What `SmallAutoencoder.encode` gives: `latent_dist`, as diffusers calls it."""

    latent_dist: LatentGaussian


@dataclass(frozen=True)
class Decoded:
    """What `SmallAutoencoder.decode` gives: `sample`, the picture (B, C, H, W)."""

    sample: Tensor


class SmallAutoencoder(nn.Module):
    """A variational autoencoder (Rombach et al. 2022) of residual blocks alone, in plain torch."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = dict(config)
        latent = config["latent_channels"]
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)

    @classmethod
    def from_config(cls, config: Config) -> SmallAutoencoder:
        """The network of a configuration that fits, as diffusers' classes are made."""
        return cls(config)

    def encode(self, picture: Tensor) -> Encoded:
        """The latents' distribution of pictures (B, 3, H, W) in [-1, 1]."""
        return Encoded(LatentGaussian(*self.quant_conv(self.encoder(picture)).chunk(2, dim=1)))

    def decode(self, latent: Tensor) -> Decoded:
        """The pictures (B, C', H, W), about [-1, 1], of latents (B, C, h, w)."""
        return Decoded(self.decoder(self.post_quant_conv(latent)))
