"""A video model in training: its networks, its windows, its folder. What conditions it is what conditions it at
inference; see `learner` for the same of picture models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from unrender.device import Compute
from unrender.diffusion.card import TargetPicture
from unrender.diffusion.checkpoints.loader import Checkpoint, save_checkpoint
from unrender.diffusion.codec import encode_map, encode_picture, raw_map
from unrender.diffusion.conditioning import Conditioning
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.items import make_conditioning, make_network
from unrender.diffusion.latents import decode_latents, encode_conditioning, encode_pictures
from unrender.diffusion.model import Engine
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.sampler import sample
from unrender.diffusion.schedule import make_schedule
from unrender.errors import UserError
from unrender.forward.neural_environment import light_latents, tokens_of_latents
from unrender.train.denoising import DEVIATION, MEAN, denoising_error
from unrender.train.kept_latents import KeptLatents
from unrender.train.loop import BatchSpec, Networks
from unrender.train.sheets import sheet
from unrender.train.video_data import VideoBatch, VideoClip, first_windows

SHOWN = 2
"""Windows that validation looks at."""

Loss = Callable[["VideoLearner", BatchSpec], dict[str, Tensor]]


@dataclass(frozen=True)
class VideoLearner:
    """A video checkpoint in training.

    Attributes:
        checkpoint: its card and networks.
        unet: the one that learns, as it is to be called; several processes wrap it.
        kept: latents of frames that were encoded before.
    """

    checkpoint: Checkpoint
    unet: nn.Module
    kept: KeptLatents = field(default_factory=KeptLatents)

    @property
    def engine(self) -> Engine:
        """The engine that has the network in training."""
        device = next(self.checkpoint.autoencoder.parameters()).device
        checkpoint = replace(self.checkpoint, unet=self.unet)
        return Engine(checkpoint, Compute(device, torch.float32))

    def condition(self, batch: VideoBatch, target: TargetPicture) -> Conditioning:
        """What conditions the network on windows, when `target` is asked for; maps that are not known are zeros in the
        latents. The autoencoder and the encoder of lights stay as they are."""
        engine, inputs = self.engine, self.checkpoint.card.maps.inputs
        latents = self.kept.rows(batch, f"inputs {inputs}", partial(self._input_latents, batch))
        size = (batch.maps["rgb"].shape[2], batch.maps["rgb"].shape[3])
        tokens = None if self.checkpoint.card.light is None else self._tokens(batch)
        conditioning = make_conditioning(engine, [target], latents, Inputs(size, len(batch), tokens=tokens))
        return replace(conditioning, group_size=batch.frames)

    @torch.no_grad()
    def _input_latents(self, batch: VideoBatch, index: Tensor) -> Tensor:
        """Of some frames, side by side."""
        inputs = self.checkpoint.card.maps.inputs
        pictures: list[Tensor | None] = []
        for given in inputs:
            values = batch.maps.get(given.codec.map)
            pictures.append(None if values is None else encode_map(values[index], given.codec).expand(-1, 3, -1, -1))
        none = torch.zeros(len(batch), dtype=torch.bool, device=batch.maps["rgb"].device)
        known = torch.stack([batch.known.get(one.codec.map, none)[index] for one in inputs], 1)
        size = (batch.maps["rgb"].shape[2], batch.maps["rgb"].shape[3])
        latents = encode_conditioning(self.engine, pictures, self.engine.latent_size(size), known=known)
        assert latents is not None
        return latents

    @torch.no_grad()
    def _tokens(self, batch: VideoBatch) -> tuple[Tensor, ...]:
        """Of the light of every frame, a tensor a level."""
        engine, light = self.engine, self.checkpoint.card.light
        assert light is not None

        def encoded(index: Tensor) -> Tensor:
            shown = batch.pictures_of_lights(light.encoding, light.size)[index]
            return light_latents(engine, shown.to(engine.compute.device))

        return tokens_of_latents(engine, self.kept.rows(batch, f"light {light.encoding} {light.size}", encoded))

    @torch.no_grad()
    def clean(self, batch: VideoBatch, target: TargetPicture) -> Tensor:
        """The latents (B x F, C, h, w) of a target, as the truth has them."""

        def encoded(index: Tensor) -> Tensor:
            maps = {codec.map: batch.maps[codec.map][index] for codec in target.maps}
            return encode_pictures(self.engine, encode_picture(maps, target))

        return self.kept.rows(batch, f"target {target}", encoded)

    def error(
        self,
        batch: VideoBatch,
        target: TargetPicture,
        conditioning: Conditioning,
        spec: BatchSpec,
        levels: tuple[float, float] = (MEAN, DEVIATION),
    ) -> Tensor:
        """The mean error on noised truth, of the frames whose target is known; `levels` as in `denoising_error`."""
        network = make_network(self.engine, conditioning, guided=False)
        errors = denoising_error(network, self.clean(batch, target), batch.frames, spec, levels)
        known = torch.stack([batch.known[codec.map] for codec in target.maps]).all(0).to(errors)
        return (errors * known).sum() / known.sum().clamp(min=1)

    def answer(self, batch: VideoBatch, target: TargetPicture, steps: int) -> Tensor:
        """What the network makes of windows, (B x F, 1 or 3, H, W) in about [-1, 1], from the noise of seed 0."""
        conditioning, clean = self.condition(batch, target), self.clean(batch, target)
        noise = draw_noise("gaussian", tuple(clean.shape), 0).to(clean)
        schedule = make_schedule(self.checkpoint.card.sampling.schedule)
        latents = sample(make_network(self.engine, conditioning, guided=False), schedule, noise, steps)
        windows = [decode_latents(self.engine, part) for part in latents.split(batch.frames)]
        return raw_map(torch.cat(windows)[:, 0], target.maps[0])


@dataclass(frozen=True)
class VideoTask:
    """One video model that learns from clips.

    Attributes:
        checkpoint: what learns; its autoencoder and its encoder of lights stay as they are.
        held_out: what validation looks at.
        loss: the weighted losses of a batch, by name.
        frames: of a window.
        finish: what of the UNet is saved, and what beside it: called with the folder.
        kept: latents of frames that were encoded before.
    """

    checkpoint: Checkpoint
    held_out: Sequence[VideoClip]
    loss: Loss
    frames: int
    finish: Callable[[Checkpoint, Path], Checkpoint] = lambda checkpoint, folder: checkpoint
    kept: KeptLatents = field(default_factory=KeptLatents)

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The UNet alone."""
        return {"unet": self.checkpoint.unet.train()}

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The recipe's losses of one batch."""
        device = next(self.checkpoint.unet.parameters()).device
        for frozen in (self.checkpoint.autoencoder, self.checkpoint.environment):
            if frozen is not None:
                frozen.to(device)
        return self.loss(VideoLearner(self.checkpoint, networks["unet"], self.kept), spec)

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """For each target of the card that is known: what was given above the truth above what the model says, frame by
        frame from left to right."""
        card, learner = self.checkpoint.card, VideoLearner(self.checkpoint, self.checkpoint.unet.eval())
        height, width = self.held_out[0].maps["rgb"].shape[2:]
        side = min(height, width) // card.maps.size.multiple * card.maps.size.multiple
        device = next(self.checkpoint.unet.parameters()).device
        batch = first_windows(self.held_out[:SHOWN], self.frames, side).to(device)
        given = card.maps.inputs[0].codec
        sheets = {}
        for target in card.maps.targets:
            codec = target.maps[0]
            if codec.map in batch.known and bool(batch.known[codec.map].all()):
                answer = learner.answer(batch, target, card.sampling.schedule.steps)
                rows = [encode_map(batch.maps[given.map], given), encode_map(batch.maps[codec.map], codec), answer]
                sheets[codec.map] = sheet([row.expand(-1, 3, -1, -1) * 0.5 + 0.5 for row in rows])
        self.checkpoint.unet.train()
        return sheets

    def export(self, folder: Path) -> None:
        """Writes the model in half precision."""
        save_checkpoint(self.finish(self.checkpoint, folder), folder, torch.float16)


def known_target(targets: Sequence[TargetPicture], batch: VideoBatch, seed: int) -> TargetPicture:
    """One of the targets that some frame of a batch has, drawn by `seed`.

    Raises:
        UserError: no frame has any.
    """
    there = [
        target
        for target in targets
        if all(bool(batch.known.get(codec.map, torch.zeros(1)).any()) for codec in target.maps)
    ]
    if not there:
        raise UserError(f"no training clip has any of {', '.join(target.name for target in targets)}")
    return there[int(torch.randint(len(there), (), generator=torch.Generator().manual_seed(seed)))]
