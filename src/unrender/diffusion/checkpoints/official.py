"""Settings of a published folder that its card does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from unrender.diffusion.card import ModelCard, ScheduleCard, TargetPicture
from unrender.diffusion.checkpoints.hub.location import ModelLocation

_BETAS = {
    "num_train_timesteps": "train_steps",
    "beta_start": "beta_start",
    "beta_end": "beta_end",
    "beta_schedule": "beta_schedule",
    "steps_offset": "steps_offset",
    "set_alpha_to_one": "set_alpha_to_one",
}


def refined(card: ModelCard, location: ModelLocation) -> ModelCard:
    """The card with the betas of the folder's scheduler, and with what its pipeline's index says: the range of normals'
    z, and where the card wants it the steps and the pixels that are taken by default.

    What the network predicts, and where its few timesteps lie, stay the card's: official code overrides the file in
    both, and Lotus' file describes another scheduler.
    """
    scheduler = location.find("scheduler")
    said = _read(scheduler / "scheduler_config.json") if scheduler else {}
    index = _read(location.folder / "model_index.json")
    card = replace(card, schedule=_refined_schedule(card.schedule, said))
    if card.source.tells_defaults:
        card = _with_defaults(card, index)
    if index.get("use_full_z_range", True):
        return card
    return replace(card, pictures=tuple(_half_z(picture) for picture in card.pictures))


def _refined_schedule(schedule: ScheduleCard, said: dict[str, Any]) -> ScheduleCard:
    known = {ours: said[theirs] for theirs, ours in _BETAS.items() if said.get(theirs) is not None}
    return replace(schedule, **known)


def _with_defaults(card: ModelCard, index: dict[str, Any]) -> ModelCard:
    steps, long_side = index.get("default_denoising_steps"), index.get("default_processing_resolution")
    schedule = card.schedule if steps is None else replace(card.schedule, steps=steps)
    size = card.size if long_side is None else replace(card.size, long_side=long_side)
    return replace(card, schedule=schedule, size=size)


def _half_z(picture: TargetPicture) -> TargetPicture:
    return replace(picture, maps=tuple(replace(codec, half_z=codec.map == "normal") for codec in picture.maps))


def _read(path: Any) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}
