"""The training of one diffusion model: its networks, its pictures, its folder. What is to be lost is the recipe's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from unrender.diffusion.card import MapCodec
from unrender.diffusion.checkpoints.loader import Checkpoint, save_checkpoint
from unrender.diffusion.codec import encode_map
from unrender.diffusion.lora import merged
from unrender.train.data import Batch, Stills, sample_batch, whole_batch
from unrender.train.dropout import condition_on_all
from unrender.train.learner import Learner, source_of
from unrender.train.loop import BatchSpec, Networks
from unrender.train.prefetch import Prefetch
from unrender.train.sheets import sheet
from unrender.train.task_losses import actual_deviation

Loss = Callable[[Learner, Batch, BatchSpec], dict[str, Tensor]]

SHOWN = 6
"""Pictures that validation looks at."""


@dataclass(frozen=True)
class ModelTask:
    """One model that learns from stills.

    Attributes:
        checkpoint: what learns; its autoencoder stays as it is, or not, as its parameters say.
        stills, held_out: what it learns from, and what validation looks at.
        loss: the weighted losses of a batch, by name.
    """

    checkpoint: Checkpoint
    stills: Stills
    held_out: Stills
    loss: Loss

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The UNet, the environment encoder where there is one, and the autoencoder where it learns."""
        networks: dict[str, nn.Module] = {"unet": self.checkpoint.unet.train()}
        if any(parameter.requires_grad for parameter in self.checkpoint.autoencoder.parameters()):
            networks["autoencoder"] = self.checkpoint.autoencoder.train()
        if self.checkpoint.environment is not None:
            networks["environment"] = self.checkpoint.environment.train()
        return networks

    @cached_property
    def _batches(self) -> Prefetch:
        return Prefetch(partial(sample_batch, self.stills))

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.checkpoint.unet.parameters()).device

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The recipe's losses of one batch."""
        self.checkpoint.autoencoder.to(self.device)
        batch = self._seen(self._batches(spec))
        return self.loss(Learner.of(self.checkpoint, networks), batch, spec)

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """For each map of the card: what was given above the truth above what the model says."""
        batch = self._seen(whole_batch(self.held_out.part(0, SHOWN), self._side))
        learner = Learner.of(self.checkpoint, self.networks)
        shown = learner.card.maps.inputs[0]
        given = encode_map(source_of(batch, shown, learner.card), shown.codec).expand(-1, 3, -1, -1)
        sheets = {}
        for targets in learner.passes():
            conditioning = learner.condition(batch, targets, condition_on_all(learner.card, batch))
            noise = learner.noise(learner.card.sampling.noise, learner.blank(batch, targets), seed=0)
            latent = learner.sample(conditioning, noise, learner.card.sampling.schedule.steps)
            answers = learner.maps(latent, targets)
            for codec in (codec for picture in targets for codec in picture.maps):
                rows = [given, _truth(batch, codec, answers), answers[codec.map]]
                sheets[codec.map] = sheet([row.expand(-1, 3, -1, -1) * 0.5 + 0.5 for row in rows])
        return sheets

    def _seen(self, batch: Batch) -> Batch:
        forward = self.checkpoint.card.task == "forward"
        return (batch.seen_forward() if forward else batch).to(self.device)

    @property
    def _side(self) -> int:
        """The side of validation's pictures: what the card's size rule says, or what there is."""
        height, width = self.held_out.size
        size = self.checkpoint.card.maps.size
        there = min(size.long_side or height, height, width)
        return max(size.multiple, there // size.multiple * size.multiple)

    def export(self, folder: Path) -> None:
        """Writes the model in half precision; adapters are merged into the weights they adapt."""
        save_checkpoint(replace(self.checkpoint, unet=merged(self.checkpoint.unet)), folder, torch.float16)


def _truth(batch: Batch, codec: MapCodec, answers: Mapping[str, Tensor]) -> Tensor:
    """What a map should be, in [-1, 1]; grey where nobody knows, and of a deviation the one that is."""
    about = codec.map.removesuffix("_deviation")
    if about not in batch.maps:
        return torch.zeros_like(answers[codec.map])
    if about == codec.map:
        return encode_map(batch.maps[about], codec)
    return actual_deviation(answers, batch, about) * 2 - 1
