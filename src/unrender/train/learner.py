"""A checkpoint in training: what its network is conditioned on in a batch, and what it should predict. One for every
card and task; it calls the differentiable parts of the engine, so training takes the steps that inference takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from unrender.device import Compute
from unrender.diffusion.card import InputMap, ModelCard, NoiseKind, TargetPicture
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.codec import encode_map, encode_picture, raw_map
from unrender.diffusion.conditioning import Conditioning
from unrender.diffusion.decoding import Memory
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.items import make_conditioning, make_network
from unrender.diffusion.latents import decode_latents, encode_conditioning, encode_pictures
from unrender.diffusion.model import Engine
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.sampler import Network, sample
from unrender.diffusion.schedule import make_schedule
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

    @property
    def engine(self) -> Engine:
        """The engine that has the networks in training."""
        checkpoint = replace(self.checkpoint, unet=self.unet, environment=self.environment)
        device = next(self.checkpoint.autoencoder.parameters()).device
        return Engine(checkpoint, Compute(device, torch.float32))

    @classmethod
    def of(cls, checkpoint: Checkpoint, networks: Networks, prefix: str = "") -> Learner:
        """A checkpoint with its networks (after `prefix`: `unet`, `environment`) as they are to be called."""
        return cls(checkpoint, networks[f"{prefix}unet"], networks.get(f"{prefix}environment"))

    def passes(self) -> list[list[TargetPicture]]:
        """The targets of each evaluation: all in one, or one in each."""
        targets = list(self.card.maps.targets)
        return [targets] if self.card.stacked else [[target] for target in targets]

    def targets(self, seed: int) -> list[TargetPicture]:
        """The targets of one evaluation, drawn by `seed`."""
        passes = self.passes()
        return passes[int(torch.randint(len(passes), (), generator=torch.Generator().manual_seed(seed)))]

    def condition(self, batch: Batch, targets: Sequence[TargetPicture], conditions: Conditions) -> Conditioning:
        """What conditions the network on a batch: latents of the maps that are dropped are zeros, as where the engine
        lacks a map, and so are the tokens of a light."""
        pictures = [self._picture(batch, one, conditions.maps[:, i]) for i, one in enumerate(self.card.maps.inputs)]
        latents = encode_conditioning(self.engine, pictures, self._latent_size(batch), known=conditions.maps)
        tokens = self._light_tokens(batch, conditions.light)
        inputs = Inputs(_size(batch), len(batch), tokens=tokens)
        return make_conditioning(self.engine, targets, None if latents is None else latents.float(), inputs)

    def network(self, conditioning: Conditioning) -> Network:
        """The network as a function of noisy latents and time, without guidance."""
        return make_network(self.engine, conditioning, guided=False)

    def clean(self, batch: Batch, targets: Sequence[TargetPicture]) -> Tensor:
        """The latents (B, C, h, w) of the targets, as the truth has them."""
        pictures = [encode_picture(batch.maps, target) for target in targets]
        return torch.cat([encode_pictures(self.engine, picture) for picture in pictures], dim=1)

    def blank(self, batch: Batch, targets: Sequence[TargetPicture]) -> Tensor:
        """Zeros of the shape of the latents of the targets."""
        return batch.photo.new_zeros(len(batch), len(targets) * self.card.latents.channels, *self._latent_size(batch))

    def single_step(self, conditioning: Conditioning, noise: Tensor) -> Tensor:
        """The clean latent (B, C, h, w) that one step from `noise` at t = T gives; differentiable."""
        return self.sample(conditioning, noise, steps=1)

    def sample(self, conditioning: Conditioning, noise: Tensor, steps: int) -> Tensor:
        """The clean latent (B, C, h, w) of `steps` steps from `noise`; differentiable."""
        return sample(self.network(conditioning), make_schedule(self.card.sampling.schedule), noise, steps)

    def pictures(self, latent: Tensor, targets: Sequence[TargetPicture], memory: Memory = "whole") -> Tensor:
        """The decoded pictures of a latent, (B, targets, C, H, W), about [-1, 1]; differentiable."""
        return decode_latents(self.engine, latent, memory)

    def maps(self, latent: Tensor, targets: Sequence[TargetPicture], memory: Memory = "whole") -> dict[str, Tensor]:
        """Every map that a latent carries, as the network gives it: (B, 1 or 3, H, W) in about [-1, 1]."""
        decoded = decode_latents(self.engine, latent, memory)
        return {c.map: raw_map(decoded[:, i], c) for i, target in enumerate(targets) for c in target.maps}

    def noise(self, kind: NoiseKind, like: Tensor, seed: int) -> Tensor:
        """Noise of the shape of a latent."""
        return draw_noise(kind, tuple(like.shape), seed).to(like)

    def _picture(self, batch: Batch, given: InputMap, known: Tensor) -> Tensor | None:
        """One input of the card in [-1, 1], (B, 3, H, W); None where no view has it."""
        if not bool(known.any()):
            return None
        picture = encode_map(source_of(batch, given, self.card), given.codec)
        return picture.expand(-1, 3, -1, -1) if given.encoded else picture

    def _latent_size(self, batch: Batch) -> tuple[int, int]:
        return self.engine.latent_size(_size(batch))

    def _light_tokens(self, batch: Batch, light: Tensor) -> Tensor | None:
        """(B, N, D) tokens of each view's light, zeros where it is dropped; None where the card has none."""
        if self.environment is None or self.card.light is None:
            return None
        dark = batch.photo.new_zeros(len(batch), 9, *self.card.light.size)
        tokens = self.environment(dark if batch.lit is None else batch.lit.picture)
        return tokens * light.to(tokens)[:, None, None]


def source_of(batch: Batch, given: InputMap, card: ModelCard) -> Tensor:
    """What of a batch is given: an inverse renderer's photo as a camera took it, a radiance hint, or a map as it is."""
    if given.radiance_hint and batch.lit is not None:
        return batch.lit.radiance_hint
    return batch.photo if card.task == "inverse" and given.codec.map == "rgb" else batch.maps[given.codec.map]


def _size(batch: Batch) -> tuple[int, int]:
    height, width = batch.photo.shape[2:]
    return height, width
