"""What an official folder says of its own model, where that is more than its card knows."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from unrender.diffusion.card import AnySchedule, KarrasCard, LightTokens, ModelCard, ScheduleCard, TargetPicture
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.released_views import with_released_layers
from unrender.errors import UserError
from unrender.files.tables import read_table
from unrender.scene.encoding import Picture

PICTURES: dict[str, Picture] = {"env_ldr": "ldr", "env_log": "log", "env_nrm": "direction"}
"""The pictures of a light by the names that encoders' configurations have for them."""

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
    both, and Lotus' file is a leftover of another scheduler. Of a schedule over sigmas their range is read, and what
    cannot be followed is refused; where there is no file, that is said in a line on stderr.

    Raises:
        UserError: a scheduler of sigmas that are not those of Karras et al. 2022, or of other predictions.
    """
    card = with_released_layers(card, home.folder)
    said = _scheduler(home)
    if isinstance(card.sampling.schedule, KarrasCard) and not said and card.identity.source.repository:
        schedule = card.sampling.schedule
        print(
            f"{home.folder} has no scheduler_config.json: sigmas from {schedule.sigma_min} to {schedule.sigma_max}, "
            f"v-prediction and {schedule.spacing} spacing are assumed, as of Stable Video Diffusion",
            file=sys.stderr,
        )
    index = _read(home.folder / "model_index.json")
    card = card.with_sampling(schedule=_refined_schedule(card.sampling.schedule, said))
    if card.light is not None and card.light.by_levels:
        card = _with_light(card, _light_pictures(card.light, home.component(card.light.encoder)))
    if card.identity.source.tells_defaults:
        card = _with_defaults(card, index)
    if index.get("use_full_z_range", True):
        return card
    return card.with_maps(targets=tuple(_half_z(target) for target in card.maps.targets))


def _refined_schedule(schedule: AnySchedule, said: dict[str, Any]) -> AnySchedule:
    if isinstance(schedule, KarrasCard):
        return _refined_sigmas(schedule, said) if said else schedule
    if not isinstance(schedule, ScheduleCard):
        return schedule
    known = {ours: said[theirs] for theirs, ours in _BETAS.items() if said.get(theirs) is not None}
    return replace(schedule, **known)


def _refined_sigmas(schedule: KarrasCard, said: dict[str, Any]) -> KarrasCard:
    """The range of the file's sigmas, its prediction, and its spacing where official code takes that (it forces
    `trailing` on the forward renderers)."""
    prediction = said.get("prediction_type", "epsilon")
    followed = {
        "use_karras_sigmas": (said.get("use_karras_sigmas", False), (True,)),
        "timestep_type": (said.get("timestep_type", "discrete"), ("continuous",)),
        "prediction_type": (prediction, ("v_prediction",)),
        "timestep_spacing": (said.get("timestep_spacing", "linspace"), ("leading", "trailing", "linspace")),
    }
    for name, (have, can) in followed.items():
        if have not in can:
            raise UserError(f"scheduler_config.json: {name} is {have!r}; expected {' or '.join(map(repr, can))}")
    known: dict[str, Any] = {}
    for name in ("sigma_min", "sigma_max"):
        if not isinstance(said.get(name), int | float):
            raise UserError(f"scheduler_config.json: {name} is {said.get(name)!r}; expected a number")
        known[name] = float(said[name])
    if schedule.spacing == "leading" and said.get("timestep_spacing", "linspace") != "leading":
        known["spacing"] = "trailing"  # linspace starts from sigma_max, too
    return replace(schedule, **known)


def _light_pictures(light: LightTokens, folder: Path) -> LightTokens:
    """The light with its pictures in the order that the encoder's own file names them."""
    labels = _read(folder / "config.json").get("in_labels", list(PICTURES))
    unknown = [label for label in labels if label not in PICTURES]
    if unknown:
        raise UserError(f"{folder}: in_labels has {unknown[0]!r}; expected {', '.join(PICTURES)}")
    channels = tuple(PICTURES[label] for label in labels)
    return replace(light, encoding=replace(light.encoding, channels=channels))


def _with_light(card: ModelCard, light: LightTokens) -> ModelCard:
    others = (light if isinstance(one, LightTokens) else one for one in card.conditioning)
    return replace(card, conditioning=tuple(others))


def _scheduler(home: ModelLocation) -> dict[str, Any]:
    """The scheduler's file, from its own folder or from beside the networks."""
    scheduler = home.find("scheduler")
    places = [*([scheduler] if scheduler else []), home.folder]
    return next((said for place in places if (said := _read(Path(place) / "scheduler_config.json"))), {})


def _with_defaults(card: ModelCard, index: dict[str, Any]) -> ModelCard:
    steps, long_side = index.get("default_denoising_steps"), index.get("default_processing_resolution")
    card = card if steps is None else card.with_schedule(steps=steps)
    return card if long_side is None else card.with_maps(size=replace(card.maps.size, long_side=long_side))


def _half_z(picture: TargetPicture) -> TargetPicture:
    return replace(picture, maps=tuple(replace(codec, half_z=codec.map == "normal") for codec in picture.maps))


def _read(path: Any) -> dict[str, Any]:
    return read_table(path) if path.is_file() else {}
