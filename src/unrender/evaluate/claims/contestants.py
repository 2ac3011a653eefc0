"""Who is measured: a model, or a pair of them, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Task = Literal["inverse", "forward", "relight", "photo_cycle", "maps_cycle", "real_photo_cycle"]
"""What a contestant does: photo -> maps; maps and light -> photo; photo -> maps -> photo under another light; photo ->
maps -> photo; maps -> photo -> maps; photo -> maps -> photo of real photos."""


@dataclass(frozen=True)
class Contestant:
    """Who is measured.

    Attributes:
        name: what it is called in the table.
        task: what it does.
        models: names of the model folders, in the order in which they are run; those of a deferred renderer, and of
            nobody at all, are no folders.
        steps: denoising steps; the card's own when None.
        members: answers that are brought together.
        spacing: of the timesteps; the card's own when "".
    """

    name: str
    task: Task
    models: tuple[str, ...]
    steps: int | None = None
    ensemble_size: int = 1
    spacing: Literal["", "leading", "trailing"] = ""

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of those models that are folders."""
        return tuple(name for name in self.models if name in TRAINING)


TRAINING = {
    "inverse-multi": "unrender train pretrain --data TRAIN --autoencoder VAE -o {models}/inverse-multi",
    "forward-multi": "unrender train pretrain --task forward --data TRAIN --autoencoder VAE -o {models}/forward-multi",
    "inverse-e2e": "unrender train e2e --data TRAIN --start {models}/inverse-multi/model -o {models}/inverse-e2e",
    "inverse-e2e-gaussian": "unrender train e2e --noise gaussian --data TRAIN --start {models}/inverse-multi/model "
    "-o {models}/inverse-e2e-gaussian",
    "inverse-e2e-multi": "unrender train e2e --noise multi_resolution --data TRAIN "
    "--start {models}/inverse-multi/model -o {models}/inverse-e2e-multi",
    "forward-e2e": "unrender train e2e --task forward --data TRAIN --start {models}/forward-multi/model "
    "-o {models}/forward-e2e",
    "cycle/inverse": "unrender train ouroboros --data TRAIN --inverse {models}/inverse-e2e/model "
    "--forward {models}/forward-e2e/model -o {models}/cycle",
    "cycle-photos/inverse": "unrender train ouroboros --data TRAIN --photos PHOTOS "
    "--inverse {models}/inverse-e2e/model --forward {models}/forward-e2e/model -o {models}/cycle-photos",
}
"""The command that trains each model folder."""
TRAINING["cycle-none/inverse"] = TRAINING["cycle/inverse"].replace("/cycle", "/cycle-none --no-cycles")
TRAINING |= {f"{run}/forward": TRAINING[f"{run}/inverse"] for run in ("cycle", "cycle-photos", "cycle-none")}

FLAT = Contestant("flat answer: one depth, each picture's mean normal", "inverse", ())
ENSEMBLE = Contestant("multi-step, 50 steps x 10", "inverse", ("inverse-multi",), steps=50, ensemble_size=10)
LEADING = Contestant("multi-step, 1 step, leading", "inverse", ("inverse-multi",), steps=1, spacing="leading")
TRAILING = Contestant("multi-step, 1 step, trailing", "inverse", ("inverse-multi",), steps=1, spacing="trailing")
INVERSE_50 = Contestant("multi-step inverse, 50 steps", "inverse", ("inverse-multi",), steps=50)
ZEROS = Contestant("end-to-end inverse, 1 step, zeros", "inverse", ("inverse-e2e",))
GAUSSIAN = Contestant("end-to-end inverse, 1 step, Gaussian", "inverse", ("inverse-e2e-gaussian",))
MULTI_RESOLUTION = Contestant("end-to-end inverse, 1 step, multi-resolution", "inverse", ("inverse-e2e-multi",))

FORWARD_50 = Contestant("multi-step forward, 50 steps", "forward", ("forward-multi",), steps=50)
FORWARD_1 = Contestant("end-to-end forward, 1 step", "forward", ("forward-e2e",))
SPLIT_SUM = Contestant("split sum", "forward", ("deferred:split_sum",))
SCREEN_SPACE = Contestant("screen-space ray tracing", "forward", ("deferred:screen_space",))

RELIT = Contestant("end-to-end maps, end-to-end forward", "relight", ("inverse-e2e", "forward-e2e"))
RELIT_SPLIT_SUM = Contestant("end-to-end maps, split sum", "relight", ("inverse-e2e", "deferred:split_sum"))
RELIT_SCREEN_SPACE = Contestant("end-to-end maps, screen space", "relight", ("inverse-e2e", "deferred:screen_space"))

_APART = ("inverse-e2e", "forward-e2e")
APART = Contestant("before either", "photo_cycle", _APART)
CYCLE = Contestant("with cycle training", "photo_cycle", ("cycle/inverse", "cycle/forward"))
NO_CYCLE = Contestant("without it, trained as long", "photo_cycle", ("cycle-none/inverse", "cycle-none/forward"))
CYCLE_PHOTOS = Contestant("with it, and real photos", "photo_cycle", ("cycle-photos/inverse", "cycle-photos/forward"))


def on_maps(pair: Contestant) -> Contestant:
    """The same pair, the other way round: maps -> photo -> maps."""
    return replace(pair, task="maps_cycle")


def on_real_photos(pair: Contestant) -> Contestant:
    """The same pair, on real photos."""
    return replace(pair, task="real_photo_cycle")
