"""Pictures to the latents that a network sees, and its latents to pictures: batched, differentiable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unrender.diffusion.card import InputMap
from unrender.diffusion.decoding import Memory, decode, encode, is_temporal
from unrender.diffusion.model import Engine, Size
from unrender.diffusion.noise import draw_noise
from unrender.scene.resize import resize_picture

BATCH_PIXELS = {"cpu": 2**16, "cuda": 2**20, "mps": 2**20}
"""Pixels that go through the VAE together, by device. On a CPU a batch is a quarter slower than its pictures one by
one, as its activations outgrow the caches; anywhere they outgrow the weights (three tensors of 256 channels at full
size for every picture)."""


def encode_conditioning(
    engine: Engine,
    pictures: Sequence[Tensor | None],
    size: Size,
    *,
    keep: Tensor | None = None,
    known: Tensor | None = None,
    seed: int = 0,
) -> Tensor | None:
    """The conditioning latents (B, C, *size) of all input maps of the card, encoded in one batch; differentiable. None
    for a card without any.

    Args:
        pictures: (B, 3, H, W) in [-1, 1] for each input of the card; None, for one that is missing, is zeros.
        size: (height, width) of the latents.
        keep: (B, 1, H, W), the part of the picture that is not rendered anew: the last channel, where a card edits.
        known: (B, inputs) bool, which of them each item has; None for all that are there.
        seed: of the latent, where the card wants a sample of the VAE's distribution.
    """
    if not pictures:
        return None
    pairs = list(zip(engine.card.maps.inputs, pictures, strict=True))
    encoded = iter(_encode_all(engine, [one for given, one in pairs if given.encoded and one is not None], seed))
    count = next(len(one) for one in (*pictures, keep, known) if one is not None)
    parts = [_input_latent(engine, given, one, (count, *size), encoded) for given, one in pairs]
    if known is not None:
        parts = [part * known[:, i].to(part)[:, None, None, None] for i, part in enumerate(parts)]
    if keep is not None:
        parts.append(_at_latent_size(engine, keep, size))
    return torch.cat(parts, dim=1)


def encode_pictures(engine: Engine, pictures: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] to the latents (B, C, h, w) that the network predicts, in float32;
    differentiable."""
    pictures = pictures.to(engine.compute.device, engine.compute.dtype)
    return encode(engine.checkpoint.autoencoder, pictures, engine.card.latents.scale, memory=_memory(engine)).float()


def decode_latents(engine: Engine, latents: Tensor, memory: Memory | None = None) -> Tensor:
    """Clean latents (F, targets x C, h, w) to pictures (F, targets, C', H, W), float32, about [-1, 1]; differentiable.

    Args:
        latents: of a temporal VAE, those of one window.
        memory: see `decoding.decode`; None for what the engine's memory mode says.
    """
    checkpoint, channels = engine.checkpoint, engine.card.latents.channels
    count = latents.shape[1] // channels
    stacked = latents.unflatten(1, (count, channels)).transpose(0, 1).flatten(0, 1)
    stacked = stacked.to(engine.compute.device, engine.compute.dtype)
    decoder = checkpoint.decoder or checkpoint.autoencoder
    if is_temporal(decoder):
        together = engine.card.latents.decoded_together or len(latents)
        batches = [part for window in stacked.split(len(latents)) for part in window.split(together)]
    else:
        batches = _batches(stacked, stacked[0, 0].numel() * engine.factor**2)
    memory = memory or _memory(engine)
    pictures = torch.cat([decode(decoder, batch, engine.card.latents.scale, memory) for batch in batches])
    return pictures.float().unflatten(0, (count, len(latents))).transpose(0, 1)


def _encode_all(engine: Engine, pictures: Sequence[Tensor], seed: int) -> list[Tensor]:
    """The latents of pictures, not yet scaled; in one batch where they are of one size."""
    if len({picture.shape for picture in pictures}) > 1:
        return [latent for picture in pictures for latent in _encode_all(engine, [picture], seed)]
    if not pictures:
        return []
    batch = torch.cat(list(pictures)).to(engine.compute.device, engine.compute.dtype)
    deviation = None
    if engine.card.latents.posterior == "sample":
        height, width = batch.shape[2:]
        shape = (len(batch), engine.card.latents.channels, *engine.latent_size((height, width)))
        deviation = draw_noise("gaussian", shape, seed, shared=True).to(batch)
    autoencoder = engine.checkpoint.autoencoder

    def encoded() -> Tensor:
        parts = _batches(batch, batch[0, 0].numel())
        apart = [None] * len(parts) if deviation is None else _batches(deviation, batch[0, 0].numel())
        return torch.cat([encode(autoencoder, p, 1.0, d, _memory(engine)) for p, d in zip(parts, apart, strict=True)])

    once = engine.cache if deviation is None else None
    latents = once.encode(autoencoder, batch, encoded) if once else encoded()
    return list(latents.chunk(len(pictures)))


def _input_latent(
    engine: Engine, given: InputMap, picture: Tensor | None, shape: tuple[int, int, int], encoded: Iterator[Tensor]
) -> Tensor:
    count, *size = shape
    latents = engine.card.latents
    if picture is None:
        channels = latents.channels if given.encoded else len(given.codec.channels)
        return torch.zeros(count, channels, *size, device=engine.compute.device, dtype=engine.compute.dtype)
    if given.encoded:
        return next(encoded) * (latents.scale if given.scale is None else given.scale)
    return _at_latent_size(engine, picture, (size[0], size[1]))


def _at_latent_size(engine: Engine, picture: Tensor, size: Size) -> Tensor:
    # In single precision: processors resize in no less.
    return resize_picture(picture.float(), size).to(engine.compute.device, engine.compute.dtype)


def _batches(stacked: Tensor, pixels: int) -> tuple[Tensor, ...]:
    """The parts of a batch that go through the VAE together, its pictures having so many pixels each."""
    return stacked.split(max(1, BATCH_PIXELS[stacked.device.type] // pixels))


def _memory(engine: Engine) -> Memory:
    return "tiled" if engine.memory == "low" else "whole"
