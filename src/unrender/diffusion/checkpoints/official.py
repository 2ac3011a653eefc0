"""What an official folder says of its own model, where that is more than its card knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unrender.diffusion.card import AnySchedule, ModelCard, ScheduleCard, TargetPicture
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.released_views import with_released_layers
from unrender.files.tables import read_table

_BETAS = {
    "num_train_timesteps": "train_steps",
    "beta_start": "beta_start",
    "beta_end": "beta_end",
    "beta_schedule": "beta_schedule",
    "steps_offset": "steps_offset",
    "set_alpha_to_one": "set_alpha_to_one",
}


def refined(card: ModelCard, home: ModelLocation) -> ModelCard:
    """The card with the betas of the folder's scheduler, and with what its pipeline's index says: the range of normals'
    z, and where the card wants it the steps and the pixels that are taken by default.

    What the network predicts, and where its few timesteps lie, stay the card's: official code overrides the file in
    both, and Lotus' file is a leftover of another scheduler.
    """
    card = with_released_layers(card, home.folder)
    scheduler = home.find("scheduler")
    said = _read(scheduler / "scheduler_config.json") if scheduler else {}
    index = _read(home.folder / "model_index.json")
    card = card.with_sampling(schedule=_refined_schedule(card.sampling.schedule, said))
    if card.identity.source.tells_defaults:
        card = _with_defaults(card, index)
    if index.get("use_full_z_range", True):
        return card
    return card.with_maps(targets=tuple(_half_z(target) for target in card.maps.targets))


def _refined_schedule(schedule: AnySchedule, said: dict[str, Any]) -> AnySchedule:
    if not isinstance(schedule, ScheduleCard):
        return schedule
    known = {ours: said[theirs] for theirs, ours in _BETAS.items() if said.get(theirs) is not None}
    return replace(schedule, **known)


def _with_defaults(card: ModelCard, index: dict[str, Any]) -> ModelCard:
    steps, long_side = index.get("default_denoising_steps"), index.get("default_processing_resolution")
    card = card if steps is None else card.with_schedule(steps=steps)
    return card if long_side is None else card.with_maps(size=replace(card.maps.size, long_side=long_side))


def _half_z(picture: TargetPicture) -> TargetPicture:
    return replace(picture, maps=tuple(replace(codec, half_z=codec.map == "normal") for codec in picture.maps))


def _read(path: Any) -> dict[str, Any]:
    return read_table(path) if path.is_file() else {}
