"""A checkpoint that learns: what its network is told of a batch, and what it should have answered. One for every card,
in both directions; training takes the same steps as the engine does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unrender.diffusion.card import GivenMap, ModelCard, NoiseKind, TargetPicture
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.codec import encode_map, encode_picture, raw_map
from unrender.diffusion.conditioning import Condition, network_of, task_vector
from unrender.diffusion.decoding import Memory, decode, encode
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.sampler import denoise
from unrender.diffusion.schedule import make_schedule
from unrender.scene.resize import resize_picture
from unrender.train.data import Batch
from unrender.train.dropout import Conditions
from unrender.train.loop import Networks


@dataclass(frozen=True)
class Learner:
    """A checkpoint in training.

    Attributes:
        checkpoint: its card and networks.
        unet, environment: those that learn, as they are to be called; several processes wrap them.
    """

    checkpoint: Checkpoint
    unet: nn.Module
    environment: nn.Module | None = None

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.checkpoint.card

    @classmethod
    def of(cls, checkpoint: Checkpoint, networks: Networks, prefix: str = "") -> Learner:
        """A checkpoint with its networks (after `prefix`: `unet`, `environment`) as they are to be called."""
        return cls(checkpoint, networks[f"{prefix}unet"], networks.get(f"{prefix}environment"))

    def passes(self) -> list[list[TargetPicture]]:
        """The pictures of each pass: all in one, or one in each."""
        pictures = list(self.card.pictures)
        return [pictures] if self.card.passes == "stacked" else [[picture] for picture in pictures]

    def targets(self, seed: int) -> list[TargetPicture]:
        """The pictures of one pass, drawn by `seed`."""
        passes = self.passes()
        return passes[int(torch.randint(len(passes), (), generator=torch.Generator().manual_seed(seed)))]

    def condition(self, batch: Batch, targets: Sequence[TargetPicture], conditions: Conditions) -> Condition:
        """What the network is told of a batch: the latents of the maps that are not told are zeros, as where the engine
        lacks a map, and so are the tokens of a light."""
        given = [self._give(batch, one, conditions.maps[:, i]) for i, one in enumerate(self.card.given)]
        latents = torch.cat(given, dim=1)
        task = task_vector(self.card, targets[0], next(iter(self.card.domains), ""))
        task = None if task is None else task.to(latents).expand(len(batch), -1)
        return Condition(latents, self._tokens(batch, targets[0], conditions.light).to(latents), task)

    def clean(self, batch: Batch, targets: Sequence[TargetPicture]) -> Tensor:
        """The latents (B, C, h, w) of the pictures that are asked for, as the truth has them."""
        return torch.cat([self.encode(encode_picture(batch.maps, picture)) for picture in targets], dim=1)

    def blank(self, batch: Batch, targets: Sequence[TargetPicture]) -> Tensor:
        """Zeros of the shape of the latents of the pictures that are asked for."""
        return batch.photo.new_zeros(len(batch), len(targets) * self.card.latent_channels, *self._latent_size(batch))

    def single_step(self, condition: Condition, noise: Tensor) -> Tensor:
        """The clean latent (B, C, h, w) that one step from `noise` at t = T gives; differentiable."""
        network = network_of(self.unet, self.card, condition)
        return denoise(network, make_schedule(self.card.schedule), noise, steps=1)

    def pictures(self, latent: Tensor, targets: Sequence[TargetPicture], memory: Memory = "whole") -> Tensor:
        """The decoded pictures of a latent, (B, pictures, C, H, W), about [-1, 1]; differentiable."""
        parts = latent.unflatten(1, (len(targets), self.card.latent_channels)).flatten(0, 1)
        decoded = decode(self.checkpoint.autoencoder, parts, self.card.latent_scale, memory).float()
        return decoded.unflatten(0, (len(latent), len(targets)))

    def maps(self, latent: Tensor, targets: Sequence[TargetPicture], memory: Memory = "whole") -> dict[str, Tensor]:
        """Every map that a latent carries, as the network gives it: (B, 1 or 3, H, W) in about [-1, 1]."""
        decoded = self.pictures(latent, targets, memory)
        return {c.map: raw_map(decoded[:, i], c) for i, picture in enumerate(targets) for c in picture.maps}

    def encode(self, picture: Tensor) -> Tensor:
        """The latent of a picture (B, 1 or 3, H, W) in [-1, 1], in single precision whatever the networks run in."""
        three = picture.expand(-1, 3, -1, -1)
        return encode(self.checkpoint.autoencoder, three, self.card.latent_scale).float()

    def noise(self, kind: NoiseKind, like: Tensor, seed: int) -> Tensor:
        """Noise of the shape of a latent."""
        return draw_noise(kind, tuple(like.shape), seed).to(like)

    def _give(self, batch: Batch, given: GivenMap, conditions: Tensor) -> Tensor:
        if not bool(conditions.any()):
            return self._nothing(batch, given)
        picture = encode_map(source_of(batch, given, self.card), given.codec)
        if given.encoded:
            latent = self.encode(picture) * ((given.scale or self.card.latent_scale) / self.card.latent_scale)
        else:
            latent = resize_picture(picture, self._latent_size(batch))
        return latent * conditions.to(latent)[:, None, None, None]

    def _nothing(self, batch: Batch, given: GivenMap) -> Tensor:
        channels = self.card.latent_channels if given.encoded else len(given.codec.channels)
        return batch.photo.new_zeros(len(batch), channels, *self._latent_size(batch))

    def _latent_size(self, batch: Batch) -> tuple[int, int]:
        height, width = batch.photo.shape[2:]
        return height // self._factor, width // self._factor

    @property
    def _factor(self) -> int:
        return 2 ** (len(self.checkpoint.autoencoder.config["block_out_channels"]) - 1)

    def _tokens(self, batch: Batch, picture: TargetPicture, light: Tensor) -> Tensor:
        if self.environment is not None:
            height, width = (0, 0) if self.card.light is None else self.card.light.size
            shown = batch.photo.new_zeros(len(batch), 9, height, width) if batch.lit is None else batch.lit.picture
            tokens = self.environment(shown)
            return tokens * light.to(tokens)[:, None, None]
        prompt = picture.prompt.format(domain=next(iter(self.card.domains), ""))
        return self.checkpoint.tokens[prompt].to(batch.photo).expand(len(batch), -1, -1)


def source_of(batch: Batch, given: GivenMap, card: ModelCard) -> Tensor:
    """What of a batch is given: an inverse renderer's photo as a camera took it, a first render, or a map as it is."""
    if given.rendered and batch.lit is not None:
        return batch.lit.first
    return batch.photo if card.direction == "inverse" and given.codec.map == "rgb" else batch.maps[given.codec.map]
