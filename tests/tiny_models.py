"""Tiny real networks with random weights, for tests of the machine around them."""

from dataclasses import fields, replace
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from unrender.diffusion.card import (
    Identity,
    InputMap,
    LatentsCard,
    LightTokens,
    MapCodec,
    MapsCard,
    ModelCard,
    SamplingCard,
    SizeRule,
    TargetPicture,
    TextPrompt,
)
from unrender.diffusion.checkpoints.loader import Checkpoint, save_checkpoint
from unrender.diffusion.networks.environment import EnvironmentEncoder

THREE_PICTURES = (
    TargetPicture("base_color", (MapCodec("base_color", transfer="srgb"),), prompt="base_color"),
    TargetPicture("normal", (MapCodec("normal", signs=(-1, 1, 1)),), prompt="normal"),
    TargetPicture("material", (MapCodec("roughness", (0,)), MapCodec("metallic", (1,))), prompt="material"),
)
DEPTH_PICTURE = TargetPicture("depth", (MapCodec("depth"),))


_PARTS = {"identity": Identity, "maps": MapsCard, "latents": LatentsCard, "sampling": SamplingCard}


def changed(card: ModelCard, padded_prompts: bool | None = None, **changes) -> ModelCard:
    """The card with fields of it, or of any of its parts, changed."""
    if padded_prompts is not None:
        others = (one for one in card.conditioning if not isinstance(one, TextPrompt))
        changes["conditioning"] = (*others, TextPrompt(padded_prompts))
    parts = {}
    for part, kind in _PARTS.items():
        own = {field.name: changes.pop(field.name) for field in fields(kind) if field.name in changes}
        parts[part] = replace(getattr(card, part), **own)
    return replace(card, **{**parts, **changes})


def tiny_card(**changes) -> ModelCard:
    size = SizeRule(long_side=0, multiple=16, min_side=16)
    card = ModelCard(Identity("tiny", "test", "none"), task="inverse", maps=MapsCard(THREE_PICTURES, size=size))
    return changed(card, **changes)


def tiny_checkpoint(card: ModelCard, seed: int = 0) -> Checkpoint:
    torch.manual_seed(seed)
    autoencoder = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        latent_channels=card.latents.channels,
        norm_num_groups=4,
        sample_size=32,
    )
    unet = UNet2DConditionModel(
        in_channels=card.input_channels,
        out_channels=card.target_channels,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    tokens = {prompt: torch.randn(2, 8) for prompt in card.prompts}
    environment = EnvironmentEncoder((4, 8), 8).eval() if card.light else None
    return Checkpoint(card, unet.eval(), autoencoder.eval(), tokens, environment=environment)


def tiny_lit_card(**changes) -> ModelCard:
    """A forward renderer that is told a light, and is given what one can be given."""
    singles = tuple(InputMap(MapCodec(name)) for name in ("depth", "roughness", "metallic", "mask"))
    colour, hint = InputMap(MapCodec("base_color", transfer="srgb")), InputMap(MapCodec("rgb", transfer="srgb"))
    return tiny_card(
        id="tiny-lit",
        task="forward",
        inputs=(colour, InputMap(MapCodec("normal")), *singles, replace(hint, radiance_hint="split_sum")),
        targets=(TargetPicture("rgb", (MapCodec("rgb", transfer="srgb"),)),),
        conditioning=(LightTokens((8, 16)),),
        **changes,
    )


def tiny_folder(folder: Path, **changes) -> Path:
    save_checkpoint(tiny_checkpoint(tiny_card(**changes)), folder)
    return folder
