"""Small networks, built from nothing: one autoencoder for every picture, one UNet each way, and `mini`'s own, whose
autoencoder and UNet learn together."""

from __future__ import annotations

from dataclasses import replace
from operator import gt

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from unrender.diffusion.card import (
    Identity,
    InputMap,
    LatentsCard,
    LightTokens,
    MapCodec,
    MapsCard,
    ModelCard,
    SamplingCard,
    ScheduleCard,
    SizeRule,
    TargetPicture,
    Task,
)
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.networks.environment import EnvironmentEncoder
from unrender.errors import UserError

LATENT_CHANNELS = 8
SCRATCH_LATENT_CHANNELS = 16
TOKEN_WIDTH = 32

# A single value has two channels of a picture to itself, its neighbour one: the autoencoder mixes them little.
MINI_PICTURES = (
    TargetPicture("base_color", (MapCodec("base_color", transfer="srgb"),)),
    TargetPicture("normal", (MapCodec("normal"),)),
    TargetPicture("geometry", (MapCodec("depth", (0, 2)), MapCodec("mask", (1,)))),
    TargetPicture("material", (MapCodec("roughness", (0, 2)), MapCodec("metallic", (1,)))),
    TargetPicture("irradiance", (MapCodec("irradiance", transfer="srgb"),)),
)

_SIZE = SizeRule(long_side=128, multiple=16, fit="pad", min_side=24)

_MANY_STEPS = SamplingCard(ScheduleCard(prediction="sample", zero_terminal_snr=True, steps=10), "gaussian")


def _identity(description: str) -> Identity:
    about = f"small, trained from nothing on unrender's own synthetic scenes; {description}"
    return Identity("mini", "unrender", "Apache-2.0", True, description=about)


MINI_CARD = ModelCard(
    _identity("runs anywhere in a second"),
    task="inverse",
    maps=MapsCard(MINI_PICTURES, size=replace(_SIZE, guided=("base_color", "mask")), flip_tta=True),
    latents=LatentsCard(LATENT_CHANNELS),
    sampling=_MANY_STEPS,
)
"""The inverse renderer, of many steps."""

FORWARD_MINI_CARD = ModelCard(
    _identity("corrects a radiance hint under a light"),
    task="forward",
    maps=MapsCard(
        (TargetPicture("rgb", (MapCodec("rgb", transfer="srgb"),)),),
        (
            InputMap(MapCodec("rgb", transfer="srgb"), radiance_hint="split_sum"),
            *(InputMap(codec) for picture in MINI_PICTURES[:2] for codec in picture.maps),
            *(InputMap(MapCodec(name)) for name in ("depth", "roughness", "metallic", "mask")),
            InputMap(MapCodec("irradiance", transfer="srgb"), exposure="percentile"),
        ),
        _SIZE,
    ),
    latents=LatentsCard(LATENT_CHANNELS),
    conditioning=(LightTokens(),),
    sampling=_MANY_STEPS,
)
"""The forward renderer, of many steps. Conditioned on a light, it adds to split-sum shading what that lacks, shadows
above all; conditioned on the irradiance of a picture instead, it makes that picture again, as RGB<->X and Ouroboros
do."""


DOUBTED = ("base_color", "normal", "depth", "roughness", "metallic")
"""The maps beside which `SCRATCH_CARD` says how far off it takes them to be."""

SCRATCH_CARD = ModelCard(
    _identity("runs anywhere in a second"),
    task="inverse",
    maps=MapsCard(
        (
            TargetPicture(
                "gbuffer",
                (
                    MapCodec("base_color", transfer="srgb"),
                    MapCodec("normal", (3, 4, 5)),
                    MapCodec("depth", (6,)),
                    MapCodec("roughness", (7,)),
                    MapCodec("metallic", (8,)),
                    MapCodec("mask", (9,)),
                    MapCodec("irradiance", (10, 11, 12), transfer="srgb"),
                    MapCodec("sky", (13,)),
                    *(MapCodec(f"{name}_deviation", (14 + i,)) for i, name in enumerate(DOUBTED)),
                ),
            ),
        ),
        size=replace(_SIZE, guided=("base_color", "mask")),
        flip_tta=True,
    ),
    latents=LatentsCard(SCRATCH_LATENT_CHANNELS, 1.0),
    sampling=SamplingCard(ScheduleCard(zero_terminal_snr=True)),
)
"""The inverse renderer that ships: one step, and one decoded picture of all maps."""


def build_autoencoder(
    seed: int = 0,
    latent_channels: int = LATENT_CHANNELS,
    out_channels: int = 3,
    widths: tuple[int, ...] = (16, 32, 64),
) -> AutoencoderKL:
    """A small AutoencoderKL before training; every width but the last halves the picture.

    It normalises all channels as one group: with two channels a group, as eight groups would have in its last layers,
    a flat colour is normalised away.
    """
    torch.manual_seed(seed)
    autoencoder = AutoencoderKL(
        in_channels=3,
        out_channels=out_channels,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    identity_init(autoencoder)
    return autoencoder


def build_unet(card: ModelCard, seed: int = 0) -> UNet2DConditionModel:
    """The UNet that `card` wants (64 to 192 channels, attention at the coarsest level), before training."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        in_channels=card.input_channels,
        out_channels=card.target_channels,
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 128, 192),
        layers_per_block=1,
        cross_attention_dim=TOKEN_WIDTH,
        attention_head_dim=8,
        norm_num_groups=4,
    )
    identity_init(unet)
    return unet


def build_mini(task: Task, autoencoder: AutoencoderKL, latent_scale: float, seed: int = 0) -> Checkpoint:
    """A multi-step renderer before training, on a trained autoencoder whose latents times `latent_scale` have unit
    deviation."""
    card = MINI_CARD if task == "inverse" else FORWARD_MINI_CARD
    card = replace(card, latents=replace(card.latents, scale=latent_scale))
    unet = build_unet(card, seed)
    if card.light is not None:
        return Checkpoint(card, unet, autoencoder, {}, environment=EnvironmentEncoder(token_width=TOKEN_WIDTH))
    return Checkpoint(card, unet, autoencoder, {"": torch.zeros(1, TOKEN_WIDTH)})


def build_scratch(seed: int = 0) -> Checkpoint:
    """`SCRATCH_CARD`'s networks before training. The decoder gives the maps and no photo, so the autoencoder has to
    learn with the UNet."""
    channels = sum(len(codec.channels) for picture in SCRATCH_CARD.maps.targets for codec in picture.maps)
    autoencoder = build_autoencoder(seed, SCRATCH_LATENT_CHANNELS, channels)
    return Checkpoint(SCRATCH_CARD, build_unet(SCRATCH_CARD, seed), autoencoder, {"": torch.zeros(1, TOKEN_WIDTH)})


@torch.no_grad()
def take_over(checkpoint: Checkpoint, old: Checkpoint) -> None:
    """Puts the weights of `old` into a checkpoint of the same build, in place. Where that has more channels the first
    ones are taken over, so an old model's maps have to come first among a new one's.

    Raises:
        UserError: the two are not of one build, or what they answer is not the same thing.
    """
    refusal = UserError(f"{old.card.id} is no network of this build; expected one of the same recipe")
    first = checkpoint.card.map_names[: len(old.card.map_names)]
    alike = old.card.sampling.schedule.prediction == checkpoint.card.sampling.schedule.prediction
    if not alike or old.card.map_names != first:
        raise refusal
    for new, known in ((checkpoint.unet, old.unet), (checkpoint.autoencoder, old.autoencoder)):
        weights = known.state_dict()
        for name, values in new.state_dict().items():
            if name not in weights or any(map(gt, weights[name].shape, values.shape)):
                raise refusal
            values[tuple(slice(side) for side in weights[name].shape)] = weights[name]


@torch.no_grad()
def identity_init(network: nn.Module) -> None:
    """Lets a new network begin as one that passes its input on, as ZerO (Zhao et al. 2022) and Fixup (Zhang et al.
    2019) do: residual branches end in zeros, and every convolution between them has the identity in it.

    Started at random, some sixty layers in a row spend most of a short training on finding the photo at the other end
    (on 24 fixed pictures, after 90 steps, base colour errs four times as much).
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
