"""Training of what brings a model's answer to the picture's own resolution: `networks.detail`, over a model that stays
as it is. One recipe for both directions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from unrender.diffusion.card import DetailCard, ModelCard, RadianceHint
from unrender.diffusion.checkpoints.loader import Checkpoint, save_checkpoint
from unrender.diffusion.codec import encode_map, raw_map
from unrender.diffusion.detail import refined_maps, refined_render, surface_pictures
from unrender.diffusion.networks.detail import DetailNetwork
from unrender.errors import UserError
from unrender.scene.resize import resize_normal, resize_picture
from unrender.train.data import Batch, Stills, hold_out, require_known, sample_batch, whole_batch
from unrender.train.dropout import condition_on_all
from unrender.train.learner import Learner, source_of
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.model_task import SHOWN
from unrender.train.prefetch import Prefetch
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.sheets import sheet
from unrender.train.start import Start, starting_checkpoint
from unrender.train.task_losses import Weights, task_losses


@dataclass(frozen=True)
class DetailRecipe:
    """Attributes:
    config: how long and how fast.
    start: the model whose answers are refined, which stays as it is.
    weights: of each map's loss; edges count as much as values.
    shares: the side that the model sees, as a share of the pictures' own: drawn between the two.
    hint: of a forward model, the quality of the first render that is mended; the stills have one of it.
    """

    config: TrainConfig
    start: Start = field(default_factory=lambda: Start(model="mini"))
    weights: Weights = field(default_factory=lambda: Weights(gradient=1.0, structure=0.5, absolute=True))
    shares: tuple[float, float] = (0.25, 0.8)
    hint: RadianceHint = "split_sum"


RECIPES = {
    "mini": DetailRecipe(
        TrainConfig(
            steps=20_000, stages=(Stage(0.5, 128, 8), Stage(0.5, 192, 4)), lr=5e-4, ema_decay=0.999, save_every=500
        )
    ),
    "smoke": DetailRecipe(
        TrainConfig(steps=100, stages=(Stage(1.0, 64, 4),), lr=1e-3, warmup=10, ema_decay=0.9, save_every=50)
    ),
}
"""Scores: docs/mini.md."""


def train_detail(recipe: DetailRecipe, stills: Stills, out: Path, report: Report | None = None) -> Path:
    """Trains the detail network of a single-step model; see `loop.run`.

    Raises:
        UserError: `out` holds a run of another recipe, there is no model to start from, or one of several pictures.
    """
    checkpoint = starting_checkpoint(recipe.start, recipe.config.seed)
    card = checkpoint.card
    if len(card.maps.targets) != 1:
        raise UserError(f"{card.id} gives {len(card.maps.targets)} pictures; expected a model of one, as `scratch` is")
    require_known(stills, card)
    folder = RunFolder(out)
    folder.claim(recipe)
    if card.task == "forward":
        inputs = [replace(one, radiance_hint=recipe.hint) if one.radiance_hint else one for one in card.maps.inputs]
        card = card.with_maps(inputs=tuple(inputs))
        checkpoint = replace(checkpoint, card=card)
    if checkpoint.detail is None:
        torch.manual_seed(recipe.config.seed)
        checkpoint = replace(checkpoint, detail=new_detail(card), card=card.with_maps(detail=DetailCard()))
    held_out, rest = hold_out(stills)
    return run(DetailTask(checkpoint, rest, held_out, recipe), recipe.config, folder, report)


def new_detail(card: ModelCard) -> DetailNetwork:
    """The detail network that fits a card, before training: it adds nothing."""
    channels = 1 + max(max(codec.channels) for codec in card.maps.targets[0].maps)
    if card.task == "inverse":
        return DetailNetwork(3, channels)
    blank = {codec.map: torch.zeros(1, 3, 1, 1) for codec in card.maps.targets[0].maps}
    shown = sum(
        3 if given.codec.map in ("base_color", "normal") else 1
        for given in card.maps.inputs
        if not given.radiance_hint and given.codec.map != "irradiance"
    )
    return DetailNetwork(shown + len(blank) * channels, channels)


@dataclass(frozen=True)
class DetailTask:
    """One detail network that learns from stills.

    Attributes:
        checkpoint: the model, and the network that learns.
        stills, held_out: what it learns from, and what validation looks at.
        recipe: of the run.
    """

    checkpoint: Checkpoint
    stills: Stills
    held_out: Stills
    recipe: DetailRecipe

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The detail network alone."""
        for frozen in (self.checkpoint.unet, self.checkpoint.autoencoder, self.checkpoint.environment):
            if frozen is not None:
                frozen.requires_grad_(False).eval()
        assert self.checkpoint.detail is not None
        return {"detail": self.checkpoint.detail.train()}

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The losses of the refined answer, map by map."""
        batch = self._seen(self._batches(spec))
        low, high = self.recipe.shares
        share = low + (high - low) * float(torch.rand((), generator=spec.generator(6)))
        answer = self._refined(networks["detail"], batch, share)
        targets = self.checkpoint.card.maps.targets
        maps = {codec.map: raw_map(answer, codec) for codec in targets[0].maps}
        return task_losses(maps, batch, targets, self.recipe.weights)

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """For each colour map: what was given above the truth above the small answer above the refined one."""
        side = min(self.held_out.size) // 16 * 16
        batch = self._seen(whole_batch(self.held_out.part(0, SHOWN), side))
        card, sheets = self.checkpoint.card, {}
        given = encode_map(batch.photo, card.maps.inputs[0].codec)
        small = resize_picture(self._small(batch, 0.5), (side, side))
        fine = self._refined(self.networks["detail"], batch, 0.5)
        for codec in card.maps.targets[0].maps:
            if codec.map in batch.maps and not codec.map.endswith("_deviation"):
                truth = encode_map(batch.maps[codec.map], codec)
                rows = [given, truth, raw_map(small, codec), raw_map(fine, codec)]
                sheets[codec.map] = sheet([row.expand(-1, 3, -1, -1) * 0.5 + 0.5 for row in rows])
        return sheets

    def export(self, folder: Path) -> None:
        """Writes the model with its detail network, in half precision."""
        save_checkpoint(self.checkpoint, folder, torch.float16)

    def _seen(self, batch: Batch) -> Batch:
        assert self.checkpoint.detail is not None
        device = next(self.checkpoint.detail.parameters()).device
        for frozen in (self.checkpoint.unet, self.checkpoint.autoencoder, self.checkpoint.environment):
            if frozen is not None:
                frozen.to(device)
        return (batch.seen_forward() if self.checkpoint.card.task == "forward" else batch).to(device)

    def _refined(self, network: nn.Module, batch: Batch, share: float) -> Tensor:
        card = self.checkpoint.card
        small, shown = self._small(batch, share), card.maps.inputs[0]
        first = encode_map(source_of(batch, shown, card), shown.codec)
        if card.task == "inverse":
            return refined_maps(network, card, first, small)
        return refined_render(network, surface_pictures(self._learner.engine, batch.maps), small, first)

    @torch.no_grad()
    def _small(self, batch: Batch, share: float) -> Tensor:
        """What the model answers to the batch at a `share` of its side, (B, C, h, w)."""
        learner = self._learner
        multiple = learner.card.maps.size.multiple
        side = max(2 * multiple, round(batch.photo.shape[2] * share / multiple) * multiple)
        shrunk = _shrunk(batch, side)
        targets = learner.passes()[0]
        conditioning = learner.condition(shrunk, targets, condition_on_all(learner.card, shrunk))
        latent = learner.single_step(conditioning, learner.blank(shrunk, targets))
        return learner.pictures(latent, targets)[:, 0]

    @cached_property
    def _batches(self) -> Prefetch:
        return Prefetch(partial(sample_batch, self.stills))

    @property
    def _learner(self) -> Learner:
        return Learner(self.checkpoint, self.checkpoint.unet, self.checkpoint.environment)


def _shrunk(batch: Batch, side: int) -> Batch:
    """The batch at `side` pixels a side."""
    size = (side, side)
    maps = {
        name: resize_normal(values, size) if name == "normal" else resize_picture(values, size)
        for name, values in batch.maps.items()
    }
    lit = batch.lit and replace(
        batch.lit,
        radiance_hint=resize_picture(batch.lit.radiance_hint, size),
        rgb=resize_picture(batch.lit.rgb, size),
    )
    return Batch(resize_picture(batch.photo, size), maps, batch.known, lit)
