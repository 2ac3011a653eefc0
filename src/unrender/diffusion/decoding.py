"""Pictures to latents and back: whole, in tiles when memory is short, or checkpointed when gradients must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeGuard, Union

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from unrender.diffusion.networks.small import SmallAutoencoder

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

Memory = Literal["whole", "tiled", "checkpointed"]


class Autoencoder(Protocol):
    """What encodes pictures and decodes latents: diffusers' AutoencoderKL, its sibling with a temporal decoder, a tiny
    decoder, or the one of `networks.small`."""

    @property
    def config(self) -> Any:
        """Its `config.json`; `block_out_channels` says how much smaller latents are."""
        ...

    def encode(self, x: Tensor) -> Any:
        """Pictures (B, 3, H, W) in [-1, 1] to an object with `latent_dist`."""
        ...

    def decode(self, z: Tensor) -> Any:
        """Latents (B, C, h, w), of a temporal decoder the frames of a window, to an object with `sample`."""
        ...


Decoder: TypeAlias = Union["AutoencoderKL", "AutoencoderTiny"]
TEMPORAL = "AutoencoderKLTemporalDecoder"
"""The class of diffusers' video VAE, whose decoder sees all frames of a window."""


def is_temporal(decoder: object) -> bool:
    """Whether a VAE decodes the frames of a window together."""
    return type(decoder).__name__ == TEMPORAL


def downsampling_factor(autoencoder: Autoencoder) -> int:
    """How many times smaller than its picture a latent is, each way."""
    return 2 ** (len(autoencoder.config["block_out_channels"]) - 1)


TILE = 384
"""Side of a tile in pixels: a picture of 768 x 768 takes nine, in a quarter of the memory."""


def encode(
    autoencoder: AutoencoderKL,
    picture: Tensor,
    scale: float,
    deviation: Tensor | None = None,
    memory: Memory = "whole",
) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] to their latents, times `scale`: (B, C, h, w).

    Args:
        deviation: (B, C, h, w) how many standard deviations the latent is off the mode; None for the mode itself.
        memory: `tiled` encodes one picture at a time, in overlapping, blended tiles.
    """
    _set_tiles(autoencoder, memory)
    parts = picture.split(1) if memory == "tiled" else (picture,)
    distributions = [autoencoder.encode(part).latent_dist for part in parts]
    latent = torch.cat([distribution.mode() for distribution in distributions])
    if deviation is not None:
        latent = latent + torch.cat([distribution.std for distribution in distributions]) * deviation
    return latent * scale


def decode(decoder: Decoder, latent: Tensor, scale: float, memory: Memory = "whole") -> Tensor:
    """Latents (B, C, h, w) to pictures (B, C', H, W), about [-1, 1]; differentiable in `latent`.

    Args:
        latent: of a temporal decoder, the frames of one window.
        memory: `whole` decodes the batch at once; `tiled` in overlapping, blended tiles, one picture at a time;
            `checkpointed` keeps no activation but recomputes them in the backward pass, one picture at a time.
    """
    _set_tiles(decoder, memory)
    # A tiny decoder was made for latents as the UNet has them.
    latent = latent if _is_tiny(decoder) else latent / scale
    if is_temporal(decoder):
        return decoder.decode(latent, num_frames=len(latent)).sample
    if memory == "checkpointed":
        parts = [checkpoint(lambda z: decoder.decode(z).sample, one, use_reentrant=False) for one in latent.split(1)]
        return torch.cat([part for part in parts if part is not None])
    return torch.cat([decoder.decode(part).sample for part in (latent.split(1) if memory == "tiled" else (latent,))])


def _set_tiles(autoencoder: Decoder, memory: Memory) -> None:
    """Tiles on or off. Left to itself the autoencoder's tiles are as large as the pictures it was trained on."""
    if isinstance(autoencoder, SmallAutoencoder) or is_temporal(autoencoder) or _is_tiny(autoencoder):
        return
    autoencoder.use_tiling = memory == "tiled"
    if autoencoder.use_tiling:
        autoencoder.tile_sample_min_size = TILE
        autoencoder.tile_latent_min_size = TILE // downsampling_factor(autoencoder)


def _is_tiny(decoder: Decoder) -> TypeGuard[AutoencoderTiny]:
    """Whether it is a TAESD's decoder. diffusers, which is slow to import, is asked where a network is its own."""
    if isinstance(decoder, SmallAutoencoder):
        return False
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    return isinstance(decoder, AutoencoderTiny)
