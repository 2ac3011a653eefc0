"""A contestant: a model, or several models, and how they are run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unrender.evaluate.claims.training import TRAINING

Task = Literal[
    "inverse",
    "forward",
    "relight",
    "photo_cycle",
    "maps_cycle",
    "real_photo_cycle",
    "insert",
    "views",
    "view_path",
    "video_inverse",
    "video_forward",
    "video_relight",
]
"""A contestant's task: photo -> maps; maps and light -> photo; photo -> maps -> photo under another light; photo ->
maps -> photo; maps -> photo -> maps; photo -> maps -> photo of real photos; photo and object -> photo with the object;
picture and cameras -> views; the same along a path -> its last view; clip -> maps; maps and light -> clip; clip -> maps
-> clip under another light."""

Kind = Literal["pictures", "relit", "photos", "pairs", "views", "clips", "relit_clips"]
"""What a contest is about: the items that all of its contestants answer for."""

KINDS: dict[Task, Kind] = {
    "inverse": "pictures",
    "forward": "pictures",
    "photo_cycle": "pictures",
    "maps_cycle": "pictures",
    "relight": "relit",
    "real_photo_cycle": "photos",
    "insert": "pairs",
    "views": "views",
    "view_path": "views",
    "video_inverse": "clips",
    "video_forward": "clips",
    "video_relight": "relit_clips",
}


@dataclass(frozen=True)
class Contestant:
    """Models under one setting.

    Attributes:
        name: what it is called in the table.
        task: what it computes.
        models: names of the model folders, in the order in which they are run. Deferred renderers and embedded models
            have no folder here, and a direct answer has no model.
        steps: denoising steps; the card's own when None.
        ensemble_size: members of the ensemble.
        spacing: of the timesteps; the card's own when "".
        way: which of several ways to do the task, where there are several; a word of the task's own.
    """

    name: str
    task: Task
    models: tuple[str, ...]
    steps: int | None = None
    ensemble_size: int = 1
    spacing: Literal["", "leading", "trailing"] = ""
    way: str = ""

    @property
    def folders(self) -> tuple[str, ...]:
        """The names of those models that are folders."""
        return tuple(name for name in self.models if name in TRAINING)

    @property
    def kind(self) -> Kind:
        """What it answers for."""
        return KINDS[self.task]
