"""DiffusionRenderer's encoder of environment maps (Liang et al. 2025): the encoder of a UNet without attention and
time, whose features at every level are what the same level of the renderer attends to; and a decoder to pre-train it
with."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UpDecoderBlock2D
from torch import Tensor, nn
from torch.nn import functional

from unrender.errors import UserError


class EnvEncoder(ModelMixin, ConfigMixin):
    """Latents of a light's pictures to features of every level.

    The parameters are those of its `config.json`.

    Args:
        in_channels: of the latents of all pictures, side by side.
        channels: of the features, finest level first; as wide as the levels of the renderer.
        num_res_blocks: residual blocks a level.
        latent_encoder: whether it sees latents; encoders of pictures were never published.
        in_labels: the pictures, in the order of the channels.
        norm_num_groups: of its group normalisation; see `VideoRendererUNet`.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 12,
        channels: tuple[int, ...] = (320, 640, 1280, 1280),
        num_res_blocks: int = 2,
        latent_encoder: bool = True,
        in_labels: tuple[str, ...] = ("env_ldr", "env_log", "env_nrm"),
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__()
        if not latent_encoder:
            raise UserError("an environment encoder of pictures (latent_encoder false); expected one of latents")
        self.conv_in = nn.Conv2d(in_channels, channels[0], kernel_size=3, padding=1)
        self.down_blocks = nn.ModuleList(
            DownEncoderBlock2D(
                before, after, num_layers=num_res_blocks, resnet_groups=norm_num_groups, add_downsample=level > 0
            )
            for level, (before, after) in enumerate(zip((channels[0], *channels), channels, strict=False))
        )

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """(B, C, h, w) latents to features, one (B, C_k, h / 2^k, w / 2^k) a level."""
        hidden, features = self.conv_in(latents), []
        for block in self.down_blocks:
            hidden = block(hidden)
            features.append(hidden)
        return tuple(features)

    def tokens(self, latents: Tensor) -> tuple[Tensor, ...]:
        """(B, C, h, w) latents to tokens, one (B, h w / 4^k, C_k) a level: 4096, 1024, 256 and 64 of a light at
        512 x 512."""
        return tuple(level.flatten(2).transpose(1, 2) for level in self(latents))


class EnvDecoder(ModelMixin, ConfigMixin):
    """Features of a light back to the latents of its pictures, for the pre-training of the encoder; then it is dropped.

    It reads the features as the renderer will: at every level, what a direction is asked about attends to the tokens of
    that level. So directions must be in the tokens, and no level can be left idle. The direction picture itself is the
    question, and is not decoded.

    Args:
        out_channels: latents of the pictures that are decoded, side by side.
        channels: those of the encoder.
        num_res_blocks: residual blocks a level.
        query_channels: latents of the direction picture.
        heads: of the attention at every level.
        norm_num_groups: of its group normalisation.
    """

    @register_to_config
    def __init__(
        self,
        out_channels: int = 8,
        channels: tuple[int, ...] = (320, 640, 1280, 1280),
        num_res_blocks: int = 2,
        query_channels: int = 4,
        heads: tuple[int, ...] = (5, 10, 20, 20),
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__()
        self.questions = EnvEncoder(
            query_channels, channels, num_res_blocks=1, in_labels=("env_nrm",), norm_num_groups=norm_num_groups
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in channels)
        self.attentions = nn.ModuleList(
            Attention(width, cross_attention_dim=width, heads=count, dim_head=width // count)
            for width, count in zip(channels, heads, strict=True)
        )
        deepest_first = tuple(reversed(channels))
        self.up_blocks = nn.ModuleList(
            UpDecoderBlock2D(
                width,
                after,
                num_layers=num_res_blocks,
                resnet_groups=norm_num_groups,
                add_upsample=level < len(channels) - 1,
            )
            for level, (width, after) in enumerate(
                zip(deepest_first, (*deepest_first[1:], deepest_first[-1]), strict=True)
            )
        )
        self.conv_norm_out = nn.GroupNorm(norm_num_groups, channels[0], eps=1e-6)
        self.conv_out = nn.Conv2d(channels[0], out_channels, kernel_size=3, padding=1)

    def forward(self, features: tuple[Tensor, ...], directions: Tensor) -> Tensor:
        """Features of the encoder and (B, 4, h, w) latents of the direction picture to latents (B, C, h, w)."""
        asked = self.questions(directions)
        hidden = torch.zeros_like(asked[-1])
        for level, block in zip(reversed(range(len(features))), self.up_blocks, strict=True):
            hidden = block(hidden + self._answer(level, asked[level], features[level]))
        return self.conv_out(functional.silu(self.conv_norm_out(hidden)))

    def _answer(self, level: int, asked: Tensor, features: Tensor) -> Tensor:
        questions = self.norms[level](asked.flatten(2).transpose(1, 2))
        answers = self.attentions[level](questions, encoder_hidden_states=features.flatten(2).transpose(1, 2))
        return answers.transpose(1, 2).unflatten(2, asked.shape[2:])
