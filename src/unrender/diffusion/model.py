"""A checkpoint in memory, and where and how it runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from unrender.device import Compute, choose_compute
from unrender.diffusion.card import ModelCard, Task, faithful
from unrender.diffusion.checkpoints.hub.decoders import find_decoder
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint
from unrender.diffusion.decoding import downsampling_factor
from unrender.diffusion.framing import plan_framing
from unrender.diffusion.latent_cache import LatentCache
from unrender.diffusion.options import InferenceOptions, MemoryMode
from unrender.errors import UserError

Size = tuple[int, int]

_COMPILERS = ("g++", "clang++", "cl")


@dataclass(frozen=True)
class Engine:
    """A checkpoint, and where and how it runs.

    Attributes:
        checkpoint: card, networks and tokens, on `compute.device` in `compute.dtype`.
        compute: where the networks run, and in which precision.
        memory: see `InferenceOptions`.
        domain: the kind of scene that the network is conditioned on; "" for the first that its card knows.
        cache: latents of pictures encoded before, where several models see the same ones.
    """

    checkpoint: Checkpoint
    compute: Compute
    memory: MemoryMode = "normal"
    domain: str = ""
    cache: LatentCache | None = None

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.checkpoint.card

    @property
    def factor(self) -> int:
        """How many times smaller than its picture a latent is, each way."""
        return downsampling_factor(self.checkpoint.autoencoder)

    @property
    def chosen_domain(self) -> str:
        """The kind of scene that the network is conditioned on, "" where it is on none."""
        return self.domain or next(iter(self.card.domains), "")

    def latent_size(self, canvas: Size) -> Size:
        """(height, width) of the latents of a picture."""
        return canvas[0] // self.factor, canvas[1] // self.factor

    def noise_shape(self, size: Size, frames: int, name: str = "the picture") -> tuple[int, int, int, int]:
        """The shape of the noise of `frames` frames of `size`: all targets of a frame side by side on channels."""
        canvas = plan_framing(size, self.card.maps.size, name).canvas
        shared = self.card.sampling.grouping.shared_noise in ("targets", "frames_and_targets")
        targets = 1 if shared else len(self.card.maps.targets)
        return frames, targets * self.card.latents.channels, *self.latent_size(canvas)


def load_engine(
    model: str | Path,
    task: Task,
    options: InferenceOptions,
    domain: str = "",
    *,
    adaptable: bool = False,
    lora: float | None = None,
    attend: bool = False,
) -> Engine:
    """The engine of an embedded or published model, or of a model folder.

    Args:
        adaptable: diffusers' own networks, which take adapters, where a small model would be run without them.
        lora: see `load_checkpoint`.
        attend: let the frames of a call attend to one another, whatever the card says.

    Raises:
        UserError: no such model, one for another task, a broken folder, a device that is not present, or a domain that
            the card does not know.
    """
    compute = _compute(options)
    if options.compile and compute.device.type == "cpu" and not any(map(shutil.which, _COMPILERS)):
        raise UserError(
            f"compiling on the CPU needs a C++ compiler; expected one of {', '.join(_COMPILERS)}, or no --compile"
        )
    location = find(model, task)
    if options.faithful:
        location = replace(location, card=faithful(location.card))
    if attend:
        location = replace(location, card=_attending(location.card))
    if domain and domain not in location.card.domains:
        known = ", ".join(location.card.domains)
        raise UserError(f"{location.card.id} knows no domain {domain}; expected {known or 'none'}")
    decoder = find_decoder(options.decoder) if options.decoder else None
    small = options.memory == "normal" and not adaptable
    checkpoint = load_checkpoint(location, compute, decoder, inference_only=small, lora=lora)
    if options.long_side is not None:
        size = replace(checkpoint.card.maps.size, long_side=options.long_side, short_side=0)
        checkpoint = replace(checkpoint, card=checkpoint.card.with_maps(size=size))
    if options.compile:
        checkpoint.unet.compile()
    return Engine(checkpoint, compute, options.memory, domain)


def _attending(card: ModelCard) -> ModelCard:
    """The card with frames that see one another; what the network learnt of one picture at a time stays as it is."""
    grouping = card.sampling.grouping
    if grouping.joint == "targets":
        raise UserError(f"{card.id} lets the targets of a frame attend to one another; expected --no-attend with it")
    return card.with_sampling(grouping=replace(grouping, joint="frames"))


def _compute(options: InferenceOptions) -> Compute:
    """Where and in what; a faithful reading on a CPU is in float32, as official code runs there."""
    compute = choose_compute(options.device, options.dtype)
    exact = options.faithful and options.dtype == "auto" and compute.device.type == "cpu"
    return replace(compute, dtype=torch.float32) if exact else compute
