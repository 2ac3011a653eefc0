"""Temporal layers over a picture model that stays as it is: how the errors of its frames differ along the true motion
is added to the picture model's own losses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.codec import encode_map
from unrender.diffusion.networks.temporal import TemporalLayers
from unrender.diffusion.temporal import save_layers
from unrender.errors import UserError
from unrender.scene.alignment import fit_scale_shift
from unrender.scene.motion import warp
from unrender.train.clips import ClipBatch, TrainingClip, sample_window
from unrender.train.dropout import condition_on_all
from unrender.train.learner import Learner
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.losses import masked_mean
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.start import Start, starting_checkpoint
from unrender.train.task_losses import Weights, task_losses

CONFIG = TrainConfig(
    steps=700,
    stages=(Stage(0.8, 64, 1), Stage(0.2, 128, 1)),
    lr=1e-3,
    warmup=50,
    save_every=50,
    validate_every=0,
)


@dataclass(frozen=True)
class TemporalRecipe:
    """Attributes:
    config: how long and how fast; a batch is one window.
    start: the picture model.
    window: frames that are seen together.
    steadiness: weight of the temporal loss beside those of the task.
    weights: of each map's loss.
    """

    config: TrainConfig = CONFIG
    start: Start = field(default_factory=lambda: Start(model="mini"))
    window: int = 6
    steadiness: float = 10.0
    weights: Weights = field(default_factory=Weights)


MINI = TemporalRecipe()
"""The temporal layers of `mini`. Scores: docs/clips.md."""
SMOKE = replace(MINI, config=replace(MINI.config, steps=4, stages=(Stage(1.0, 32, 1),), save_every=2), window=3)
"""Shows that it runs; not measured."""
RECIPES = {"mini": MINI, "smoke": SMOKE}


def train_temporal(recipe: TemporalRecipe, clips: list[TrainingClip], out: Path, report: Report | None = None) -> Path:
    """Trains temporal layers over the picture model that `recipe.start` names, which stays as it is; see `loop.run`.

    Returns:
        A folder with the layers alone: as `temporal` in the folder of that model they are part of it.

    Raises:
        UserError: the model is none with files, or what `starting_checkpoint` raises.
    """
    if recipe.start.model is None:
        raise UserError("temporal layers are trained over a model; expected --start with its id or folder")
    checkpoint = starting_checkpoint(recipe.start, recipe.config.seed)
    folder = RunFolder(out)
    folder.claim(recipe)
    return run(TemporalTask(_with_layers(checkpoint, recipe.config.seed), clips, recipe), recipe.config, folder, report)


def _with_layers(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    """The checkpoint with new temporal layers, which alone learn, and the frames of a batch in one group."""
    torch.manual_seed(seed)
    checkpoint.unet.requires_grad_(False)
    TemporalLayers.of(checkpoint.unet).attach(checkpoint.unet)
    if checkpoint.environment is not None:
        checkpoint.environment.requires_grad_(False)
    card = checkpoint.card
    return replace(checkpoint, card=card.with_sampling(grouping=card.sampling.grouping.over_frames()))


@dataclass(frozen=True)
class TemporalTask:
    """One picture model whose temporal layers learn from windows of clips."""

    checkpoint: Checkpoint
    clips: list[TrainingClip]
    recipe: TemporalRecipe

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The UNet, of which only the temporal layers learn, and the environment encoder where there is one."""
        networks: dict[str, nn.Module] = {"unet": self.checkpoint.unet}
        if self.checkpoint.environment is not None:
            networks["environment"] = self.checkpoint.environment
        return networks

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The losses of one window: those of the task frame by frame, and the temporal one."""
        device = next(self.checkpoint.unet.parameters()).device
        self.checkpoint.autoencoder.to(device)
        learner = Learner.of(self.checkpoint, networks)
        window = sample_window(self.clips, self.recipe.window, spec)
        batch = window.frames.to(device)
        batch = batch.seen_forward() if learner.card.task == "forward" else batch
        targets = learner.targets(spec.seed)
        conditioning = learner.condition(batch, targets, condition_on_all(learner.card, batch))
        noise = learner.noise(learner.card.sampling.noise, learner.blank(batch, targets), spec.seed)
        predicted = learner.maps(learner.single_step(conditioning, noise), targets)
        losses = task_losses(predicted, batch, targets, self.recipe.weights)
        # Deviations have no truth of their own; what they tell of is held steady itself.
        true = {name for name, known in batch.known.items() if bool(known.all())}
        for codec in (codec for picture in targets for codec in picture.maps if codec.map in true):
            error = _error(predicted[codec.map], encode_map(batch.maps[codec.map], codec), codec.map, batch.surface())
            losses[f"steady {codec.map}"] = self.recipe.steadiness * _unsteadiness(error, window)
        return losses

    def validate(self) -> dict[str, Tensor]:
        """None: a picture shows no flicker."""
        return {}

    def export(self, folder: Path) -> None:
        """Writes the layers alone."""
        home = self.checkpoint.home
        assert home is not None, "trained over a model with files"
        layers = self.checkpoint.unet.get_submodule("temporal")
        assert isinstance(layers, TemporalLayers)
        save_layers(layers, home, folder)


def _error(predicted: Tensor, target: Tensor, name: str, surface: Tensor) -> Tensor:
    """What a map is wrong by, (F, C, H, W); of depth, after the one scale and shift that suit the window best."""
    if name == "depth":
        scale, shift = fit_scale_shift(predicted, target, surface, dims=(0, 1, 2, 3), ridge=1e-6)
        predicted = scale * predicted + shift
    return predicted - target


def _unsteadiness(error: Tensor, window: ClipBatch) -> Tensor:
    """How errors (F, C, H, W) change along the motion: the mean squared difference of the points seen twice."""
    moved = warp(error[1:], window.flow.to(error)) - error[:-1]
    return masked_mean(moved.square().mean(1, keepdim=True), window.visible.to(error))
