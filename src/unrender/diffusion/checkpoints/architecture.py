"""The full-size networks of published checkpoints, as data: Stable Diffusion 2's, with other first and last layers.

Counts are arithmetic, so that a list of models needs no torch; the tests build every network and compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.video_architecture import (
    build_video_unet,
    video_parameters,
    video_unet_config,
    video_unet_parameters,
)

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    from unrender.diffusion.networks.video_unet import VideoRendererUNet

WORDS, IMAGES = 1024, 768
"""Widths of the tokens: those of Stable Diffusion 2's text encoder, and those of CLIP ViT-L's image embedding."""

VAE_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "act_fn": "silu",
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 768,
    "scaling_factor": 0.18215,
}

IMAGE_ENCODER_CONFIG: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": IMAGES,
}

SD2_UNET = 865_910_724  # four channels in, four out, no task
SD_VAE = 83_653_863
SD2_TEXT_ENCODER = 340_387_840
IMAGE_ENCODER = 303_179_776 + 1024 * IMAGES

_WIDTH, _TIME = 320, 1280
_CROSS_ATTENDED = 2 * (320 + 640 + 1280) + 1280 + 3 * (320 + 640 + 1280)  # widths of the layers, down, middle and up


def unet_config(card: ModelCard) -> dict[str, Any]:
    """The configuration of a published checkpoint's UNet, as in its `config.json`."""
    if card.is_video:
        return video_unet_config(card)
    return {
        "in_channels": card.input_channels,
        "out_channels": card.target_channels,
        "sample_size": 96,
        "block_out_channels": [320, 640, 1280, 1280],
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        "layers_per_block": 2,
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": IMAGES if card.image_tokens else WORDS,
        "use_linear_projection": True,
        "dual_cross_attention": False,
        "only_cross_attention": False,
        "upcast_attention": False,
        "class_embed_type": "projection" if card.task_numbers else None,
        "projection_class_embeddings_input_dim": card.task_numbers or None,
        "act_fn": "silu",
        "norm_num_groups": 32,
        "norm_eps": 1e-5,
        "center_input_sample": False,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "downsample_padding": 1,
    }


def build_unet(card: ModelCard) -> UNet2DConditionModel | VideoRendererUNet:
    """A UNet of the full size, untrained, on the active torch device."""
    if card.is_video:
        return build_video_unet(card)
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(**unet_config(card))


def build_vae() -> AutoencoderKL:
    """Stable Diffusion's autoencoder, untrained, on the active torch device."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(**VAE_CONFIG)


def build_image_encoder() -> CLIPVisionModelWithProjection:
    """CLIP ViT-L/14's image encoder, untrained, on the active torch device."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(CLIPVisionConfig(**IMAGE_ENCODER_CONFIG))


def unet_parameters(card: ModelCard) -> int:
    """The number of parameters of a published checkpoint's UNet."""
    if card.is_video:
        return video_unet_parameters(card)
    ends = (card.input_channels - 4) * _WIDTH * 9 + (card.target_channels - 4) * (_WIDTH * 9 + 1)
    task = (card.task_numbers + 1) * _TIME + (_TIME + 1) * _TIME if card.task_numbers else 0
    keys_and_values = 2 * _CROSS_ATTENDED * (IMAGES - WORDS) if card.image_tokens else 0
    return SD2_UNET + ends + task + keys_and_values


def parameters(card: ModelCard) -> int:
    """Parameters that inference holds in memory: the UNet, the autoencoder, and an image encoder where it has one."""
    if card.is_video:
        return video_parameters(card)
    return unet_parameters(card) + SD_VAE + (IMAGE_ENCODER if card.image_tokens else 0)


def download_parameters(card: ModelCard) -> int:
    """Parameters that are pulled: those of inference, and the text encoder, which turns the prompts into tokens."""
    return parameters(card) + (0 if card.text is None else SD2_TEXT_ENCODER)


def memory_bytes(numbers: int, long_side: int, pictures: int = 1) -> int:
    """An estimate of what inference of one picture takes in half precision, in bytes.

    Two bytes for each of `numbers`, and the peak of the VAE decoder's activations: three tensors of 256 channels
    at the full size of a square picture, for as many `pictures` as are decoded together (what goes into its last
    block, the same normalised, and what comes out). The library's own overhead is not in it, nor is attention that
    stores its full matrix.
    """
    side = long_side or NATIVE_SIDE
    return 2 * (numbers + 3 * 256 * side * side * pictures)


NATIVE_SIDE = 768
"""The side in pixels that is assumed for a model that works at the picture's own size."""
