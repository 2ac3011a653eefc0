"""What a video model starts from: a video model, Stable Video Diffusion, or nothing but an autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from torch import Tensor, nn

from unrender.diffusion.card import Identity, LightTokens, ModelCard, SizeRule
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint, load_network
from unrender.diffusion.checkpoints.official import PICTURES
from unrender.diffusion.checkpoints.published.diffusion_renderer import FORWARD, INVERSE
from unrender.diffusion.decoding import downsampling_factor
from unrender.diffusion.networks.env_encoder import EnvEncoder
from unrender.diffusion.networks.video_unet import VideoRendererUNet
from unrender.errors import UserError
from unrender.train.base import FULL
from unrender.train.vae import load_autoencoder

SMALL_LEVELS = (32, 64, 64)
"""Widths of the networks that start from nothing."""

SMALL_GROUPS = 4
"""Their groups of group normalisation."""


@dataclass(frozen=True)
class VideoStart:
    """One of a model, a base, or an autoencoder.

    Attributes:
        task: of the model.
        model: the id or folder of a video model to go on from.
        base: a folder in Stable Video Diffusion's layout (unet, vae): the UNet is widened, a table or levels are added.
        autoencoder: the folder of an autoencoder that `unrender train vae` wrote; the UNet is new, and small.
        environment: the folder of an encoder that `unrender train env-encoder` wrote, for forward models that are not
            gone on from. What pictures of a light it was trained without, they are not shown either.
        one_level: they attend to its coarsest level alone (an ablation).
    """

    task: Literal["inverse", "forward"] = "inverse"
    model: str | None = None
    base: str | None = None
    autoencoder: str | None = None
    environment: str | None = None
    one_level: bool = False


def starting_video(start: VideoStart, seed: int) -> Checkpoint:
    """The initial checkpoint of a run, in single precision; its autoencoder and its encoder of lights are frozen.

    Raises:
        UserError: nothing or several things to start from, no video model, or no encoder of lights where one is needed.
    """
    if sum(one is not None for one in (start.model, start.base, start.autoencoder)) != 1:
        raise UserError("a model, a base and an autoencoder are three ways to start; expected one of them")
    if start.one_level and (start.model is not None or start.task == "inverse"):
        raise UserError(
            "one level of the light is for a forward model that is not gone on from; expected --base or --autoencoder"
        )
    if start.model is not None:
        checkpoint = load_checkpoint(find(start.model, start.task), FULL, lora=0.0)
        if not checkpoint.card.is_video:
            raise UserError(f"{checkpoint.card.id} is no video model; expected one of DiffusionRenderer's layout")
    else:
        torch.manual_seed(seed)
        encoder = _environment(start)
        checkpoint = _of_base(start, encoder) if start.base is not None else _small(start, encoder)
    for frozen in (checkpoint.autoencoder, checkpoint.environment):
        if frozen is not None:
            frozen.requires_grad_(False).eval()
    return replace(checkpoint, unet=checkpoint.unet.float().requires_grad_(True))


def _environment(start: VideoStart) -> EnvEncoder | None:
    if start.task == "inverse":
        return None
    if start.environment is None:
        raise UserError("a forward model attends to a light; expected --environment, of `unrender train env-encoder`")
    return load_network(EnvEncoder, Path(start.environment), FULL)


def _of_base(start: VideoStart, encoder: EnvEncoder | None) -> Checkpoint:
    """Stable Video Diffusion with the additions of DiffusionRenderer."""
    card = INVERSE if encoder is None else FORWARD
    location = ModelLocation(card, Path(str(start.base)))
    base = load_network(VideoRendererUNet, location.component("unet"), FULL)
    autoencoder = load_network(AutoencoderKLTemporalDecoder, location.component("vae"), FULL)
    own = {name: value for name, value in base.config.items() if not name.startswith("_")}
    _check_levels(start, encoder, own["block_out_channels"])
    unet = VideoRendererUNet(**own | _additions(card, encoder, own["cross_attention_dim"], one_level=start.one_level))
    take_over_base(unet, base)
    card = _told(replace(_home_made(card, "video-svd"), maps=card.maps), start, encoder)
    return Checkpoint(card, cast(Any, unet), cast(Any, autoencoder), {}, environment=encoder)


def _small(start: VideoStart, encoder: EnvEncoder | None) -> Checkpoint:
    """Small networks from nothing, over the autoencoder of `unrender train vae`."""
    autoencoder, scale = load_autoencoder(Path(str(start.autoencoder)))
    channels = autoencoder.config["latent_channels"]
    card = _told(small_card(start.task, downsampling_factor(autoencoder), scale, channels), start, encoder)
    settings = {
        "block_out_channels": SMALL_LEVELS,
        "down_block_types": (*["CrossAttnDownBlockSpatioTemporal"] * 2, "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 2),
        "num_attention_heads": (2, 4, 4),
        "layers_per_block": 1,
        "addition_time_embed_dim": 32,
        "projection_class_embeddings_input_dim": 96,
        "in_channels": card.input_channels,
        "out_channels": card.target_channels,
        "num_frames": card.sampling.grouping.window,
        "norm_num_groups": SMALL_GROUPS,
    }
    _check_levels(start, encoder, SMALL_LEVELS)
    unet = VideoRendererUNet(**settings | _additions(card, encoder, 64, one_level=start.one_level))
    if unet.context_embedding is not None:
        # Rows near zero, as a large network's begin, take some thousand steps to tell buffers apart.
        nn.init.normal_(unet.context_embedding.weight)
    return Checkpoint(card, cast(Any, unet), autoencoder, {}, environment=encoder)


def small_card(task: Literal["inverse", "forward"], factor: int, scale: float, channels: int) -> ModelCard:
    """The card of a video model over an autoencoder with these latents: DiffusionRenderer's habits at a smaller
    size."""
    card = INVERSE if task == "inverse" else FORWARD
    own = _home_made(card, "video-small")
    size = SizeRule(long_side=0, multiple=factor * 2 ** (len(SMALL_LEVELS) - 1))
    # No latent is left unscaled: those of a home-made autoencoder may have any deviation.
    inputs = tuple(replace(one, scale=None) for one in card.maps.inputs)
    light = None if card.light is None else replace(card.light, size=(64, 64))
    return replace(
        own,
        maps=replace(card.maps, inputs=inputs, size=size),
        latents=replace(card.latents, scale=scale, channels=channels),
        conditioning=tuple(light if light and isinstance(one, LightTokens) else one for one in card.conditioning),
    )


def _home_made(card: ModelCard, name: str) -> ModelCard:
    """The card with no one's weights: neither their licence, nor their adapter, nor their quirks."""
    return replace(card, identity=Identity(name, card.identity.system), adapter=None, quirks=type(card.quirks)())


def _check_levels(start: VideoStart, encoder: EnvEncoder | None, widths: Sequence[int]) -> None:
    if encoder is not None and len(encoder.config["channels"]) != len(widths):
        raise UserError(
            f"{start.environment}: its encoder has {len(encoder.config['channels'])} levels; the UNet that attends to "
            f"it has {len(widths)}"
        )


def _told(card: ModelCard, start: VideoStart, encoder: EnvEncoder | None) -> ModelCard:
    """The card with the pictures of a light that its encoder knows, and the levels that it is asked for."""
    if encoder is None or card.light is None:
        return card
    pictures = tuple(PICTURES[label] for label in encoder.config["in_labels"])
    told = replace(card.light, encoding=replace(card.light.encoding, channels=pictures), one_level=start.one_level)
    return replace(card, conditioning=tuple(told if one is card.light else one for one in card.conditioning))


def _additions(card: ModelCard, encoder: EnvEncoder | None, token: int, *, one_level: bool) -> dict[str, Any]:
    """The settings in which a renderer's UNet differs from Stable Video Diffusion's."""
    if encoder is None:
        return {
            "cross_attention_dim": token,
            "temporal_cross_attention_dim": token,
            "context_embedding_type": "clip",
        }
    widths = tuple(encoder.config["channels"])
    return {
        "in_channels": card.input_channels,
        "cross_attention_dim": widths[-1:] * len(widths) if one_level else widths,
        "temporal_cross_attention_dim": None,
        "multi_res_encoder_hidden_states": True,
    }


@torch.no_grad()
def take_over_base(unet: nn.Module, base: nn.Module) -> None:
    """Gives a renderer the weights of its base, in place. Channels that its first layer has more start from zero, so
    that it begins as its base; tensors of another shape, keys and values of other tokens, stay new."""
    known = base.state_dict()
    for name, value in unet.state_dict().items():
        have = known.get(name)
        if have is None:
            continue
        if have.shape == value.shape:
            value.copy_(have)
        elif name == "conv_in.weight":
            value.zero_()
            value[:, : have.shape[1]] = have


def adapter_state(unet: nn.Module) -> dict[str, Tensor]:
    """The adapters of a UNet, as a file of them has them."""
    from peft.utils import get_peft_model_state_dict

    return {f"unet.{name}": value.detach() for name, value in get_peft_model_state_dict(unet).items()}
