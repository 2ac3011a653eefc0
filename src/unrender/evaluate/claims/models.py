"""The model folders of a contest: where they are, how long they were trained, and the renderers in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from unrender.diffusion.card.file import CARD_FILE
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.evaluate.claims.contestants import TRAINING, Contestant
from unrender.files.tables import read_table
from unrender.forward import DeferredRenderer, ForwardOptions, ForwardRenderer
from unrender.forward.neural import NeuralRenderer
from unrender.inverse.renderer import InverseRenderer


@dataclass(frozen=True)
class Models:
    """The models in one folder, each loaded once.

    Attributes:
        folder: where the model folders lie.
        inference: how networks run.
        seed: of their noise, and of sampled directions.
        loaded: the renderers loaded so far.
    """

    folder: Path
    inference: InferenceOptions
    seed: int = 0
    loaded: dict[str, InverseRenderer | NeuralRenderer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UserError(f"no folder {self.folder}; expected one with model folders such as {next(iter(TRAINING))}")

    def find(self, name: str) -> Path | None:
        """The folder of a model: `name`, or `model` in it or beside its last part; None without a card."""
        path = self.folder / name
        places = (path, path / "model", path.parent / "model" / path.name)
        return next((place for place in places if (place / CARD_FILE).is_file()), None)

    def missing(self, contestant: Contestant) -> tuple[str, ...]:
        """The names of the contestant's folders that do not exist."""
        return tuple(name for name in contestant.folders if self.find(name) is None)

    def trained(self, contestant: Contestant) -> tuple[int | None, ...]:
        """The optimiser steps of each of its models, by the recipe beside it; None where there is none."""
        return tuple(_steps(self._place(name)) for name in contestant.folders)

    def inverse(self, contestant: Contestant) -> InverseRenderer:
        """Its inverse renderer, the first of its models, with its spacing of timesteps."""
        name = contestant.models[0]
        if name not in self.loaded:
            self.loaded[name] = InverseRenderer.from_pretrained(self._place(name), self.inference)
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
                self._place(name), self.inference, ForwardOptions(seed=self.seed)
            )
        renderer = self.loaded[name]
        assert isinstance(renderer, NeuralRenderer)
        return replace(renderer, options=replace(renderer.options, steps=contestant.steps))

    def _place(self, name: str) -> Path:
        place = self.find(name)
        assert place is not None, name
        return place


def how_to_train(name: str, folder: Path) -> str:
    """The command that trains a model folder."""
    return TRAINING[name].format(models=folder)


def _steps(model: Path) -> int | None:
    run = model.resolve().parent
    run = run.parent if run.name == "model" else run  # a pair of models lies one folder deeper
    recipe = run / "recipe.json"
    if not recipe.is_file():
        return None
    config = read_table(recipe).get("config")
    steps = config.get("steps") if isinstance(config, dict) else None
    return steps if type(steps) is int else None
