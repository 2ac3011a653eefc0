"""The full-size networks of DiffusionRenderer's checkpoints, as data: Stable Video Diffusion's, and an encoder of
lights.

Counts are those of the networks built (`tests/test_video_architecture.py`); a list of models needs no torch for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unrender.diffusion.card import ModelCard

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder

    from unrender.diffusion.networks.env_encoder import EnvEncoder
    from unrender.diffusion.networks.video_unet import VideoRendererUNet

WIDTHS = (320, 640, 1280, 1280)
TOKEN = 1024

VIDEO_VAE_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
ENV_ENCODER_CONFIG: dict[str, Any] = {
    "in_channels": 12,
    "channels": list(WIDTHS),
    "num_res_blocks": 2,
    "latent_encoder": True,
    "in_labels": ["env_ldr", "env_log", "env_nrm"],
}

SVD_UNET = 1_524_623_082  # eight channels in, four out
VIDEO_VAE = 97_742_847
ENV_ENCODER = 161_462_720
BUFFER_TABLE = 16 * TOKEN
LIT_UNET = 1_473_513_642  # 24 channels in, tokens as wide as their levels, and none over time


def video_unet_config(card: ModelCard) -> dict[str, Any]:
    """The configuration of a published checkpoint's UNet, as in its `config.json`."""
    lit = card.light is not None
    return {
        "in_channels": card.input_channels,
        "out_channels": card.target_channels,
        "sample_size": 96,
        "block_out_channels": list(WIDTHS),
        "down_block_types": [*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"],
        "up_block_types": ["UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3],
        "layers_per_block": 2,
        "num_attention_heads": [5, 10, 20, 20],
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 768,
        "num_frames": card.sampling.grouping.window,
        "cross_attention_dim": list(WIDTHS) if lit else TOKEN,
        "temporal_cross_attention_dim": None if lit else TOKEN,
        "multi_res_encoder_hidden_states": lit,
        "context_embedding_type": "clip" if card.asks_by_domain else None,
        "context_vocab_size": 16,
    }


def build_video_unet(card: ModelCard) -> VideoRendererUNet:
    """A UNet of the full size, untrained, on the active torch device."""
    from unrender.diffusion.networks.video_unet import VideoRendererUNet

    return VideoRendererUNet(**video_unet_config(card))


def build_video_vae() -> AutoencoderKLTemporalDecoder:
    """Stable Video Diffusion's autoencoder, untrained, on the active torch device."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder

    return AutoencoderKLTemporalDecoder(**VIDEO_VAE_CONFIG)


def build_env_encoder() -> EnvEncoder:
    """The encoder of lights, untrained, on the active torch device."""
    from unrender.diffusion.networks.env_encoder import EnvEncoder

    return EnvEncoder(**ENV_ENCODER_CONFIG)


def video_unet_parameters(card: ModelCard) -> int:
    """The number of parameters of a published checkpoint's UNet."""
    return LIT_UNET if card.light is not None else SVD_UNET + (BUFFER_TABLE if card.asks_by_domain else 0)


def video_parameters(card: ModelCard) -> int:
    """Parameters that inference holds in memory: the UNet, the autoencoder, and the encoder of lights."""
    return video_unet_parameters(card) + VIDEO_VAE + (ENV_ENCODER if card.light is not None else 0)
