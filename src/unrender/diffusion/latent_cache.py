"""A picture encoded once for several models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL


class LatentCache:
    """The last pictures that were encoded, with their latents, for the next model that has the same autoencoder.

    Most published models are tuned from one Stable Diffusion with its autoencoder frozen. Whether two are the same is
    looked at, tensor by tensor: it costs a hundredth of encoding.
    """

    def __init__(self) -> None:
        self._autoencoder: AutoencoderKL | None = None
        self._pictures: Tensor | None = None
        self._latents: Tensor | None = None

    def encode(self, autoencoder: AutoencoderKL, pictures: Tensor, encode: Callable[[], Tensor]) -> Tensor:
        """The latents of `pictures` (B, 3, H, W): those at hand, or what `encode` gives."""
        if self._latents is None or not self._has(pictures) or not self._knows(autoencoder):
            self._latents = encode()
            self._pictures, self._autoencoder = pictures, autoencoder
        return self._latents

    def _has(self, pictures: Tensor) -> bool:
        return self._pictures is not None and torch.equal(pictures, self._pictures)

    def _knows(self, autoencoder: AutoencoderKL) -> bool:
        if self._autoencoder is None or autoencoder is self._autoencoder:
            return autoencoder is self._autoencoder
        own, other = self._autoencoder.state_dict(), autoencoder.state_dict()
        return own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
