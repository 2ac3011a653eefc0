"""Latents to pictures: whole, in tiles when memory is short, or checkpointed when gradients must pass."""

from __future__ import annotations

from typing import Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Memory = Literal["whole", "tiled", "checkpointed"]


def encode(autoencoder: AutoencoderKL, picture: Tensor, scale: float) -> Tensor:
    """A picture (B, 3, H, W) in [-1, 1] to the mode of its latent, times `scale`: (B, C, h, w)."""
    return autoencoder.encode(picture).latent_dist.mode() * scale


def decode(autoencoder: AutoencoderKL, latent: Tensor, scale: float, memory: Memory = "whole") -> Tensor:
    """Latents (B, C, h, w) to pictures (B, C', H, W), about [-1, 1]; differentiable in `latent`.

    Args:
        memory: `whole` decodes the batch at once; `tiled` in overlapping, blended tiles, one picture at a time;
            `checkpointed` keeps no activation but recomputes them in the backward pass, one picture at a time.
    """
    latent = latent / scale
    if memory == "whole":
        return autoencoder.decode(latent).sample
    if memory == "tiled":
        return torch.cat([autoencoder.tiled_decode(one, return_dict=False)[0] for one in latent.split(1)])
    parts = [checkpoint(lambda z: autoencoder.decode(z).sample, one, use_reentrant=False) for one in latent.split(1)]
    return torch.cat([part for part in parts if part is not None])
