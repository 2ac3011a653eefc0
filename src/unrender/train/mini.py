"""The networks of `mini`, built from nothing."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from unrender.diffusion.card import MapCodec, ModelCard, ScheduleCard, SizeRule, TargetPicture
from unrender.diffusion.checkpoints.loader import Checkpoint

LATENT_CHANNELS = 16
TOKEN_WIDTH = 32

# One decoded picture of ten channels carries all maps. Four pictures of three channels, as the published models have,
# cost 2.5 times as much to decode and to train through, and gain nothing where there is no pretrained autoencoder.
GBUFFER_PICTURE = TargetPicture(
    "gbuffer",
    (
        MapCodec("base_color", (0, 1, 2), transfer="srgb"),
        MapCodec("normal", (3, 4, 5)),
        MapCodec("depth", (6,)),
        MapCodec("roughness", (7,)),
        MapCodec("metallic", (8,)),
        MapCodec("mask", (9,)),
    ),
)

MINI_CARD = ModelCard(
    id="mini",
    system="unrender",
    licence="Apache-2.0",
    commercial=True,
    pictures=(GBUFFER_PICTURE,),
    latent_channels=LATENT_CHANNELS,
    latent_scale=1.0,
    schedule=ScheduleCard(zero_terminal_snr=True),
    noise="zeros",
    # The size of the last stage of training. On 30 stills of the training split that it never saw, 96 to 128 are alike
    # in every figure, and 144 is worse in depth and normals.
    size=SizeRule(long_side=128, multiple=16, fit="pad", min_side=24, guided=("base_color", "mask")),
    mirrored=True,
    description="small, trained from nothing on unrender's own synthetic scenes; runs anywhere in a second",
)


def build_mini(seed: int = 0) -> Checkpoint:
    """`mini` before training: a small AutoencoderKL (4x, 16 latent channels) and a small UNet2DConditionModel.

    The autoencoder normalises all channels as one group: with two channels a group, as eight groups would have in its
    last layers, a flat colour is normalised away.
    """
    torch.manual_seed(seed)
    autoencoder = AutoencoderKL(
        in_channels=3,
        out_channels=10,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    unet = UNet2DConditionModel(
        in_channels=MINI_CARD.input_channels,
        out_channels=MINI_CARD.target_channels,
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 128, 192),
        layers_per_block=1,
        cross_attention_dim=TOKEN_WIDTH,
        attention_head_dim=8,
        norm_num_groups=4,
    )
    carry_signal(autoencoder)
    carry_signal(unet)
    return Checkpoint(MINI_CARD, unet, autoencoder, {"": torch.zeros(1, TOKEN_WIDTH)})


@torch.no_grad()
def carry_signal(network: nn.Module) -> None:
    """Lets a new network begin as one that passes its input on, as ZerO (Zhao et al. 2022) and Fixup (Zhang et al.
    2019) do: residual branches end in zeros, and every convolution between them has the identity in it.

    Encoder, UNet and decoder are some sixty layers in a row; started at random they spend most of a short training on
    finding the photo at the other end (on 24 fixed pictures, after 90 steps, base colour errs four times as much).
    """
    for name, module in network.named_modules():
        if isinstance(module, ResnetBlock2D):
            _silence(module.conv2)
        elif isinstance(module, Transformer2DModel):
            _silence(module.proj_out)
        elif isinstance(module, nn.Conv2d) and ("samplers" in name or name.split(".")[-1] in _BETWEEN_BRANCHES):
            _pass_on(module)


_BETWEEN_BRANCHES = ("conv_in", "conv_out", "conv_shortcut", "quant_conv", "post_quant_conv")


def _silence(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.zero_()


def _pass_on(convolution: nn.Conv2d) -> None:
    """Half of the random weights, plus the identity: half on the first channels that come in and half on the last,
    which in the UNet's way up are those that were skipped."""
    outward, inward, height, width = convolution.weight.shape
    convolution.weight.mul_(0.5)
    for channel in range(min(outward, inward)):
        convolution.weight[channel, channel, height // 2, width // 2] += 0.5
        convolution.weight[channel, max(0, inward - outward) + channel, height // 2, width // 2] += 0.5
    if convolution.bias is not None:
        convolution.bias.zero_()
