"""Tiny models with random weights, saved in the layout of the published folders, without a word of unrender's own."""

import json
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from tiny_clip import write_image_encoder, write_text_encoder
from unrender.diffusion.card import ModelCard

WIDTH = 8
"""Of cross-attention tokens."""


def write_official(parent: Path, card: ModelCard, seed: int = 0) -> Path:
    """Writes a tiny model of `card` into a folder of `parent` that has the published one's name, and returns it. Where
    a published repository has only its UNets (Ouroboros), the other one is written beside it."""
    folder = parent / card.identity.source.repository.split("/")[-1]
    torch.manual_seed(seed)
    _randomised(tiny_unet(card)).save_pretrained(folder / card.identity.source.unet)
    rest = parent / card.identity.source.fallback.split("/")[-1] if card.identity.source.fallback else folder
    if not (rest / "vae").is_dir():
        _write_rest(rest, card, seed)
    return folder


def published_folder(parent: Path, card: ModelCard, seed: int = 0) -> Path:
    """A tiny model of `card` in a folder that nothing else is in, and whose name says whose weights it holds, as after
    `git clone`; written once."""
    place, name = parent / f"{card.id}-{card.task}-{seed}", card.id.rpartition("/")[2]
    if not place.is_dir():
        write_official(place, card, seed).rename(place / name)
    return place / name


def tiny_unet(card: ModelCard) -> UNet2DConditionModel:
    """A UNet with the channels and the task projection of `card`, three sizes of features and two attention levels."""
    task = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": card.task_numbers}
    return UNet2DConditionModel(
        in_channels=card.input_channels,
        out_channels=card.target_channels,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        norm_num_groups=4,
        **(task if card.task_numbers else {}),
    ).eval()


def tiny_vae() -> AutoencoderKL:
    """An autoencoder that makes pictures eight times smaller, as Stable Diffusion's does."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    ).eval()


def _write_rest(folder: Path, card: ModelCard, seed: int) -> None:
    _randomised(tiny_vae()).save_pretrained(folder / "vae")
    official_scheduler(card).save_pretrained(folder / "scheduler")
    if card.image_tokens:
        write_image_encoder(folder, WIDTH, seed)
    else:
        write_text_encoder(folder, WIDTH, seed)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "DiffusionPipeline"}))


def official_scheduler(card: ModelCard) -> DDIMScheduler:
    """The scheduler as diffusers has it, with the card's betas and habits."""
    schedule = card.sampling.schedule
    return DDIMScheduler(
        num_train_timesteps=schedule.train_steps,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        beta_schedule=schedule.beta_schedule,
        clip_sample=False,
        set_alpha_to_one=schedule.set_alpha_to_one,
        steps_offset=schedule.steps_offset,
        prediction_type=schedule.prediction,
        timestep_spacing=schedule.spacing,
        rescale_betas_zero_snr=schedule.zero_terminal_snr,
    )


def _randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Gives layers that begin as zeros, and biases, some weight: what is told must be heard at the other end."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network
