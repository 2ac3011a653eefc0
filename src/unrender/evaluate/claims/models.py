"""The model folders of a contest: where they are, how long they were trained, and the renderers in them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from unrender.diffusion.card.file import CARD_FILE
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.training import TRAINING
from unrender.evaluate.metrics.lpips import Lpips
from unrender.files.reading import reading
from unrender.files.tables import read_table
from unrender.forward import DeferredRenderer, ForwardOptions, ForwardRenderer
from unrender.forward.neural import NeuralRenderer
from unrender.inverse.renderer import InverseRenderer
from unrender.multiview import MultiViewGenerator
from unrender.scene.frames import Frames

INDEX_FILE = "model_index.json"


@dataclass(frozen=True)
class ContestSettings:
    """What is settled for a whole contest, and written beside its figures.

    Attributes:
        path_views: views of a long path, the given one among them.
        guided_steps: of every fit of a light that a diffusion model guides; DiPIR has 600.
        personalise_steps: of teaching that model a photo; its recipe's own when None.
        concepts: pictures of an object's class in that.
        samples: light paths a pixel of composites.
        video_steps: denoising steps of video models; their cards' own when None.
    """

    path_views: int = 100
    guided_steps: int = 60
    personalise_steps: int | None = None
    concepts: int = 12
    samples: int = 64
    video_steps: int | None = None


class Teacher(Protocol):
    """Teaches a text-to-image model a photo (`train.personalise`, which is above this room)."""

    def prompt(self, class_name: str) -> str:
        """What the composite is called, of a photo with an object of the class."""
        ...

    def adapters(self, base: Path, photo: Frames, class_name: str, *, preserved: bool) -> Path:
        """The folder of adapters that know the photo; `preserved`: and the class."""
        ...


@dataclass(frozen=True)
class Models:
    """The models in one folder, each loaded once.

    Attributes:
        folder: where the model folders lie.
        inference: how networks run.
        seed: of their noise, and of sampled directions.
        conditions: under which the contest is held.
        teacher: for contestants that are taught a photo first.
        lpips: measures composites, too.
        loaded: the models loaded so far.
    """

    folder: Path
    inference: InferenceOptions
    seed: int = 0
    conditions: ContestSettings = field(default_factory=ContestSettings)
    teacher: Teacher | None = None
    lpips: Lpips | None = None
    loaded: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"no folder {self.folder}; expected one with model folders such as {next(iter(TRAINING))}")

    def find(self, name: str) -> Path | None:
        """The folder of a model: `name`, or `model` in it or beside its last part; None where there is neither a card
        nor Stable Diffusion's index."""
        path = self.folder / name
        places = (path, path / "model", path.parent / "model" / path.name)
        return next((place for place in places if _is_model(place)), None)

    def missing(self, contestant: Contestant) -> tuple[str, ...]:
        """The names of the contestant's folders that do not exist."""
        return tuple(name for name in contestant.folders if self.find(name) is None)

    def trained(self, contestant: Contestant) -> tuple[int | None, ...]:
        """The optimiser steps of each of its models, by the recipe beside it; None where there is none."""
        return tuple(_steps(self.place(name)) for name in contestant.folders)

    def inverse(self, contestant: Contestant) -> InverseRenderer:
        """Its inverse renderer, the first of its models, with its spacing of timesteps."""
        name = contestant.models[0]
        if name not in self.loaded:
            self.loaded[name] = InverseRenderer.from_pretrained(self.place(name), self.inference)
        renderer = self.loaded[name]
        assert isinstance(renderer, InverseRenderer)
        if not contestant.spacing:
            return renderer
        checkpoint = renderer.engine.checkpoint
        checkpoint = replace(checkpoint, card=checkpoint.card.with_schedule(spacing=contestant.spacing))
        return InverseRenderer(replace(renderer.engine, checkpoint=checkpoint))

    def forward(self, contestant: Contestant) -> NeuralRenderer | DeferredRenderer:
        """Its forward renderer, the last of its models. Deferred ones run on the CPU."""
        name = contestant.models[-1]
        if name not in TRAINING:
            deferred = ForwardRenderer.from_pretrained(name, options=ForwardOptions(seed=self.seed)).engine
            assert isinstance(deferred, DeferredRenderer)
            return deferred
        return self.neural(contestant)

    def neural(self, contestant: Contestant) -> NeuralRenderer:
        """Its forward renderer, a network: the last of its models."""
        name = contestant.models[-1]
        if name not in self.loaded:
            self.loaded[name] = NeuralRenderer.from_pretrained(
                self.place(name), self.inference, ForwardOptions(seed=self.seed)
            )
        renderer = self.loaded[name]
        assert isinstance(renderer, NeuralRenderer)
        return replace(renderer, options=replace(renderer.options, steps=contestant.steps))

    def views(self, contestant: Contestant) -> MultiViewGenerator:
        """Its generator of views."""
        (name,) = contestant.models
        if name not in self.loaded:
            self.loaded[name] = MultiViewGenerator.from_pretrained(self.place(name), self.inference)
        generator = self.loaded[name]
        assert isinstance(generator, MultiViewGenerator)
        return generator

    def embedded(self) -> InverseRenderer:
        """The embedded inverse renderer, `mini`, for what all contestants see alike."""
        if "mini" not in self.loaded:
            self.loaded["mini"] = InverseRenderer.from_pretrained("mini", self.inference)
        return self.loaded["mini"]

    def place(self, name: str) -> Path:
        """The folder of a model.

        Raises:
            UserError: it is not there, or not any more.
        """
        place = self.find(name)
        if place is None:
            raise UserError(f"no model {name} among those that are compared; expected its folder with a card")
        return place


def _is_model(place: Path) -> bool:
    return any((place / file).is_file() for file in (CARD_FILE, INDEX_FILE))


def _steps(model: Path) -> int | None:
    """For how many steps a model was trained: those that its run has logged, for one with a time budget does fewer than
    its recipe says; the recipe's where there is no log."""
    run = model.resolve().parent
    run = run.parent if run.name == "model" else run  # a pair of models lies one folder deeper
    log, recipe = run / "log.jsonl", run / "recipe.json"
    if log.is_file() and (lines := log.read_text().split("\n")[:-1]):
        with reading(log, "a log of training"):
            return int(json.loads(lines[-1])["step"])
    if not recipe.is_file():
        return None
    config = read_table(recipe).get("config")
    steps = config.get("steps") if isinstance(config, dict) else None
    return steps if type(steps) is int else None
