"""The items of a batch: which there are, in which order, and what conditions the network on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.card import ModelCard, TargetPicture
from unrender.diffusion.checkpoints.clip.image_encoder import image_tokens
from unrender.diffusion.conditioning import Conditioning, bind, bind_guided, domain_rows, task_vector
from unrender.diffusion.denoisers import make_denoiser
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.model import Engine
from unrender.diffusion.sampler import Network


@dataclass(frozen=True)
class Layout:
    """The order of the items of F frames with P targets each (P = 1 where targets are stacked on channels), so that the
    items of a group follow one another.

    Attributes:
        frames, targets: F and P.
        by_frame: the targets of a frame follow one another; else the frames of a target.
        group_size: consecutive items that see one another.
    """

    frames: int
    targets: int
    by_frame: bool
    group_size: int

    @classmethod
    def of(cls, card: ModelCard, frames: int, targets: int) -> Layout:
        """As the card's grouping has it."""
        grouping = card.sampling.grouping
        group_size = (targets if grouping.joins_targets else 1) * (frames if grouping.joins_frames else 1)
        return cls(frames, targets, grouping.joins_targets, group_size)

    def stack(self, by_target: Sequence[Tensor]) -> Tensor:
        """P tensors (F, ...) to one of the items, (F x P, ...)."""
        return torch.stack(list(by_target), dim=1 if self.by_frame else 0).flatten(0, 1)

    def repeat(self, by_frame: Tensor) -> Tensor:
        """(F, ...) to the items, (F x P, ...): the same for all targets of a frame."""
        return by_frame if self.targets == 1 else self.stack([by_frame] * self.targets)

    def side_by_side(self, items: Tensor) -> Tensor:
        """Latents of the items, (F x P, C, h, w), to those of the frames, (F, P x C, h, w)."""
        if self.by_frame:
            return items.unflatten(0, (self.frames, self.targets)).flatten(1, 2)
        return items.unflatten(0, (self.targets, self.frames)).transpose(0, 1).flatten(1, 2)


def by_target(latents: Tensor, card: ModelCard, targets: Sequence[TargetPicture]) -> list[Tensor]:
    """The channels of each of `targets` in latents (F, all targets x C, h, w) of a card; of stacked targets all, as
    one; where all targets share them, the same for each."""
    channels = card.latents.channels
    if card.stacked:
        return [latents]
    if latents.shape[1] == channels:
        return [latents] * len(targets)
    return [latents[:, i * channels : (i + 1) * channels] for i in map(card.maps.targets.index, targets)]


def make_conditioning(
    engine: Engine,
    targets: Sequence[TargetPicture],
    latents: Tensor | None,
    inputs: Inputs,
    photo: Tensor | None = None,
) -> Conditioning:
    """What conditions the denoiser on F frames. Its items are the frames, where the card stacks targets; else each
    target of each frame, in the order of `Layout`.

    Args:
        targets: that are denoised.
        latents: (F, C, h, w) from `latents.encode_conditioning`.
        inputs: of which tokens, time ids and cameras are taken.
        photo: (F, 3, H, W) in [0, 1] as the network sees it, for cards that want image tokens.
    """
    card, compute = engine.card, engine.compute
    apart = targets[:1] if card.stacked else targets
    layout = Layout.of(card, inputs.frames, len(apart))
    tasks = [task_vector(card, target, engine.chosen_domain) for target in apart]
    numbers = [task.expand(inputs.frames, -1).to(compute.dtype) for task in tasks if task is not None]
    labels = numbers or domain_rows(card, apart, inputs.frames)
    levels = zip(*(_tokens(engine, target, inputs, photo) for target in apart), strict=True)
    return Conditioning(
        latents=None if latents is None else layout.repeat(latents),
        tokens=tuple(layout.stack(level) for level in levels),
        class_labels=layout.stack(labels).to(compute.device) if labels else None,
        time_ids=_on_device(engine, _time_ids(card, inputs), layout),
        cameras=_cameras(engine, inputs.cameras, layout),
        group_size=layout.group_size,
    )


def make_network(engine: Engine, conditioning: Conditioning, *, guided: bool = True) -> Network:
    """The denoiser as a function of noisy latents and time, under the card's guidance where `guided`."""
    sampling = engine.card.sampling
    denoiser = make_denoiser(engine.checkpoint.unet, engine.card.latents.order, sampling.noise != "none")
    if not (guided and sampling.guidance.on):
        return bind(denoiser, conditioning)
    empty = None
    if sampling.guidance.leaves_out == "text":
        (tokens,) = conditioning.tokens
        empty = engine.checkpoint.tokens[""].to(tokens).expand(len(tokens), -1, -1)
    return bind_guided(denoiser, conditioning, empty, sampling.guidance, one_by_one=engine.memory == "low")


def _tokens(engine: Engine, target: TargetPicture, inputs: Inputs, photo: Tensor | None) -> tuple[Tensor, ...]:
    """(F, N, D) cross-attention tokens of each frame, one for all levels of the network or one a level."""
    checkpoint, dtype, device = engine.checkpoint, engine.compute.dtype, engine.compute.device
    if checkpoint.image_encoder is not None and photo is not None:
        return (image_tokens(checkpoint.image_encoder, photo.to(device)).to(dtype),)
    if inputs.tokens is not None:
        levels = inputs.tokens if isinstance(inputs.tokens, tuple) else (inputs.tokens,)
    elif engine.card.asks_by_domain:
        levels = (torch.zeros(1, checkpoint.unet.config["cross_attention_dim"]),)
    else:
        levels = (checkpoint.tokens[target.prompt.format(domain=engine.chosen_domain)],)
    return tuple(tokens.to(device, dtype).expand(inputs.frames, -1, -1) for tokens in levels)


def _time_ids(card: ModelCard, inputs: Inputs) -> Tensor | None:
    """(F, K) numbers that are added to the time embedding: those of the run, else those of the card."""
    if inputs.time_ids is not None or card.micro is None:
        return inputs.time_ids
    return torch.tensor(card.micro.numbers).expand(inputs.frames, -1)


def _cameras(engine: Engine, cameras: Tensor | None, layout: Layout) -> Tensor | None:
    """In single precision whatever the network runs in: half a pixel is lost in eight bits of a place."""
    return None if cameras is None else layout.repeat(cameras.to(engine.compute.device, torch.float32))


def _on_device(engine: Engine, values: Tensor | None, layout: Layout) -> Tensor | None:
    return None if values is None else layout.repeat(values.to(engine.compute.device, engine.compute.dtype))
