"""A checkpoint ready to run: pictures to latents, latents through the network, latents to pictures.

One engine serves every card, in both directions. Everything is batched: the given maps of a frame are encoded together,
its pictures asked for together and decoded together; with little memory, one after the other.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from unrender.device import Compute, choose_compute
from unrender.diffusion.card import Direction, GivenMap, ModelCard, TargetPicture, faithful
from unrender.diffusion.checkpoints.clip.image_encoder import image_tokens
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint
from unrender.diffusion.checkpoints.places.decoders import find_decoder
from unrender.diffusion.checkpoints.places.registry import find
from unrender.diffusion.conditioning import Condition, guided_network, network_of, task_vector
from unrender.diffusion.decoding import decode, encode
from unrender.diffusion.encoded import EncodedOnce
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.running import Frugality, Running
from unrender.diffusion.sampler import denoise
from unrender.diffusion.schedule import make_schedule
from unrender.errors import UserError
from unrender.scene.resize import resize_picture

Size = tuple[int, int]

_COMPILERS = ("g++", "clang++", "cl")

BATCH_PIXELS = {"cpu": 2**16, "cuda": 2**20, "mps": 2**20}
"""Pixels that go through the autoencoder together, by device. On a CPU a batch is a quarter slower than its pictures
one by one, as its activations outgrow the caches; anywhere they outgrow the weights (three tensors of 256 channels at
full size for every picture)."""


@dataclass(frozen=True)
class Engine:
    """A checkpoint, and where and how it runs.

    Attributes:
        checkpoint: card, networks and tokens, on `compute.device` in `compute.dtype`.
        compute: where the networks run, and in which precision.
        memory: see `Running`.
        domain: what kind of scene the network is told it sees; "" for the first that its card knows.
        memo: pictures encoded before, where several models see the same ones.
    """

    checkpoint: Checkpoint
    compute: Compute
    memory: Frugality = "normal"
    domain: str = ""
    memo: EncodedOnce | None = None

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.checkpoint.card

    @property
    def told_domain(self) -> str:
        """The kind of scene that the network is told, "" where it is told none."""
        return self.domain or next(iter(self.card.domains), "")

    @property
    def factor(self) -> int:
        """How many times smaller than its picture a latent is, each way."""
        return 2 ** (len(self.checkpoint.autoencoder.config["block_out_channels"]) - 1)

    def latent_size(self, canvas: Size) -> Size:
        """(height, width) of the latents of a picture."""
        return canvas[0] // self.factor, canvas[1] // self.factor

    def noise_shape(self, canvas: Size, frames: int) -> tuple[int, int, int, int]:
        """The shape of the noise that `frames` frames start from: all pictures of a frame side by side."""
        pictures = 1 if self.card.shared_noise else len(self.card.pictures)
        return frames, pictures * self.card.latent_channels, *self.latent_size(canvas)

    def draw_noise(self, canvas: Size, frames: int, seed: int) -> Tensor:
        """The card's noise of that shape, one for all frames: a clip stays steady."""
        shape = self.noise_shape(canvas, frames)
        parts = shape[1] // self.card.latent_channels if self.card.passes == "one_each" else 1
        return draw_noise(self.card.noise, shape, seed, shared=True, parts=parts)


def load_engine(model: str | Path, direction: Direction, running: Running, domain: str = "") -> Engine:
    """The engine of an embedded or published model, or of a model folder.

    Raises:
        UserError: no such model, one of the other direction, a broken folder, a device that is not present, or a domain
            that the card does not know.
    """
    compute = _compute(running)
    if running.compile and compute.device.type == "cpu" and not any(map(shutil.which, _COMPILERS)):
        raise UserError(f"compiling on the CPU needs a C++ compiler; one of {', '.join(_COMPILERS)}, or no --compile")
    home = find(model, direction)
    if running.faithful:
        home = replace(home, card=faithful(home.card))
    if domain and domain not in home.card.domains:
        known = ", ".join(home.card.domains)
        right = f"{known} are right" if known else "leave it out"
        raise UserError(f"{home.card.id} knows no domain {domain}; {right}")
    decoder = find_decoder(running.decoder) if running.decoder else None
    checkpoint = load_checkpoint(home, compute, decoder, light=running.memory == "normal")
    if running.long_side is not None:
        size = replace(checkpoint.card.size, long_side=running.long_side)
        checkpoint = replace(checkpoint, card=replace(checkpoint.card, size=size))
    if running.compile:
        checkpoint.unet.compile()
    return Engine(checkpoint, compute, running.memory, domain)


def _compute(running: Running) -> Compute:
    """Where and in what; a faithful reading on a CPU is in float32, as official code runs there."""
    compute = choose_compute(running.device, running.dtype)
    exact = running.faithful and running.dtype == "auto" and compute.device.type == "cpu"
    return replace(compute, dtype=torch.float32) if exact else compute


def give(
    engine: Engine,
    shown: Sequence[Tensor | None],
    size: Size,
    *,
    keep: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """What the network is given, (B, C, *size): the latents of all maps of the card, encoded in one batch.

    Args:
        shown: (B, 3, H, W) in [-1, 1] for each map of the card; None, for one that is not there, is given as zeros.
        size: (height, width) of the latents.
        keep: (B, 1, H, W), the part of the picture that is not rendered anew: the last channel, where a card edits.
        seed: of the latent, where the card wants a sample of the autoencoder's distribution.
    """
    pairs = list(zip(engine.card.given, shown, strict=True))
    encoded = iter(_encode_all(engine, [one for given, one in pairs if given.encoded and one is not None], seed))
    frames = next(len(one) for one in shown if one is not None)
    parts = [_given_part(engine, given, one, (frames, *size), encoded) for given, one in pairs]
    if keep is not None:
        parts.append(_at_latent_size(engine, keep, size))
    return torch.cat(parts, dim=1)


def walk(
    engine: Engine,
    given: Tensor,
    noise: Tensor,
    *,
    pictures: Sequence[TargetPicture] | None = None,
    steps: int | None = None,
    photo: Tensor | None = None,
    tokens: Tensor | None = None,
) -> Tensor:
    """The clean latents of the pictures wanted, (B, pictures x C, h, w), on the device.

    Args:
        given: (B, C', h, w) from `give`.
        noise: (B, C'', h, w) as `Engine.noise_shape` has it, for all pictures of the card.
        pictures: of the card; all when None. Where one pass gives them all, all come.
        steps: denoising steps; the card's own number when None.
        photo: (B, 3, H, W) in [0, 1] as the network sees it, for cards that want image tokens.
        tokens: (N, D) of a caller's prompt, in place of the card's; (B, N, D) where every frame is told its own, as a
            light is.
    """
    card = engine.card
    wanted = list(pictures or card.pictures)
    if card.passes == "stacked":
        return _walk_batch(engine, given, noise, card.pictures[:1], steps, photo, tokens)
    noises = [noise if card.shared_noise else _part(noise, card, picture) for picture in wanted]
    if engine.memory == "low" and not card.joint_attention:
        apart = zip(wanted, noises, strict=True)
        return torch.cat([_walk_batch(engine, given, n, [p], steps, photo, tokens) for p, n in apart], dim=1)
    clean = _walk_batch(engine, given, torch.cat(noises), wanted, steps, photo, tokens)
    return torch.cat(clean.chunk(len(wanted)), dim=1)


@torch.inference_mode()
def decode_pictures(engine: Engine, latents: Tensor) -> list[Tensor]:
    """Clean latents (B, pictures x C, h, w) to one picture (B, C', H, W) each, float32 on the CPU, in one batch."""
    checkpoint, card = engine.checkpoint, engine.card
    count = latents.shape[1] // card.latent_channels
    stacked = latents.unflatten(1, (count, card.latent_channels)).flatten(0, 1)
    stacked = stacked.to(engine.compute.device, engine.compute.dtype)
    decoder = checkpoint.decoder or checkpoint.autoencoder
    pixels = stacked[0, 0].numel() * engine.factor**2
    parts = [decode(decoder, part, card.latent_scale, _tiles(engine)) for part in _parts(engine, stacked, pixels)]
    return list(torch.cat(parts).float().cpu().unflatten(0, (len(latents), count)).unbind(1))


def _encode_all(engine: Engine, pictures: Sequence[Tensor], seed: int) -> list[Tensor]:
    """The latents of pictures, not yet scaled; in one batch where they are of one size."""
    if len({picture.shape for picture in pictures}) > 1:
        return [latent for picture in pictures for latent in _encode_all(engine, [picture], seed)]
    if not pictures:
        return []
    batch = torch.cat(list(pictures)).to(engine.compute.device, engine.compute.dtype)
    deviation = None
    if engine.card.posterior == "sample":
        height, width = batch.shape[2:]
        shape = (len(batch), engine.card.latent_channels, *engine.latent_size((height, width)))
        deviation = draw_noise("gaussian", shape, seed, shared=True).to(batch)
    autoencoder = engine.checkpoint.autoencoder

    def encoded() -> Tensor:
        parts = _parts(engine, batch, batch[0, 0].numel())
        apart = [None] * len(parts) if deviation is None else _parts(engine, deviation, batch[0, 0].numel())
        return torch.cat([encode(autoencoder, p, 1.0, d, _tiles(engine)) for p, d in zip(parts, apart, strict=True)])

    once = engine.memo if deviation is None else None
    latents = once.encode(autoencoder, batch, encoded) if once else encoded()
    return list(latents.chunk(len(pictures)))


def _given_part(
    engine: Engine, given: GivenMap, shown: Tensor | None, shape: tuple[int, int, int], encoded: Iterator[Tensor]
) -> Tensor:
    frames, *size = shape
    if shown is None:
        channels = engine.card.latent_channels if given.encoded else len(given.codec.channels)
        return torch.zeros(frames, channels, *size, device=engine.compute.device, dtype=engine.compute.dtype)
    if given.encoded:
        return next(encoded) * (engine.card.latent_scale if given.scale is None else given.scale)
    return _at_latent_size(engine, shown, (size[0], size[1]))


def _at_latent_size(engine: Engine, picture: Tensor, size: Size) -> Tensor:
    # In single precision: processors resize in no less.
    return resize_picture(picture.float(), size).to(engine.compute.device, engine.compute.dtype)


def _walk_batch(
    engine: Engine,
    given: Tensor,
    noise: Tensor,
    pictures: Sequence[TargetPicture],
    steps: int | None,
    photo: Tensor | None,
    tokens: Tensor | None,
) -> Tensor:
    """One walk for all `pictures`, one after the other in the batch."""
    card, unet = engine.card, engine.checkpoint.unet
    frames = len(given)
    told = torch.cat([_tokens(engine, picture, frames, photo, tokens) for picture in pictures])
    tasks = [task_vector(card, picture, engine.told_domain) for picture in pictures]
    task = torch.cat([t.expand(frames, -1) for t in tasks if t is not None]).to(given) if card.task_numbers else None
    condition = Condition(given.repeat(len(pictures), 1, 1, 1), told, task)
    if card.guidance.on:
        untold = engine.checkpoint.tokens[""].to(given).expand(len(told), -1, -1)
        network = guided_network(unet, card, condition, untold, one_by_one=engine.memory == "low")
    else:
        network = network_of(unet, card, condition)
    # The walk itself is in single precision: fifty small steps would be lost in a half.
    start = noise.to(given.device, torch.float32)
    return denoise(network, make_schedule(card.schedule), start, steps or card.schedule.steps)


def _tokens(engine: Engine, picture: TargetPicture, frames: int, photo: Tensor | None, tokens: Tensor | None) -> Tensor:
    checkpoint, dtype, device = engine.checkpoint, engine.compute.dtype, engine.compute.device
    if checkpoint.image_encoder is not None and photo is not None:
        return image_tokens(checkpoint.image_encoder, photo.to(device)).to(dtype)
    if tokens is None:
        tokens = checkpoint.tokens[picture.prompt.format(domain=engine.told_domain)]
    return tokens.to(device, dtype).expand(frames, -1, -1)


def _part(noise: Tensor, card: ModelCard, picture: TargetPicture) -> Tensor:
    """The channels of one picture."""
    return noise.unflatten(1, (len(card.pictures), -1))[:, card.pictures.index(picture)]


def _parts(engine: Engine, batch: Tensor, pixels: int) -> tuple[Tensor, ...]:
    """A batch in parts that go through the autoencoder together, its pictures having so many pixels each."""
    return batch.split(max(1, BATCH_PIXELS[batch.device.type] // pixels))


def _tiles(engine: Engine) -> Literal["whole", "tiled"]:
    return "tiled" if engine.memory == "low" else "whole"
