"""Recognises whose weights a folder holds: by its own files, its path in a hub cache, the repository that it is a clone
of, its name, or its contents."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from unrender.diffusion.card import ModelCard, Task
from unrender.diffusion.card.file import CARD_FILE, read_card
from unrender.diffusion.checkpoints.hub.cache import fallback_of, snapshots
from unrender.diffusion.checkpoints.hub.components import MODEL_INDEX, WORDLESS, lacking, required, wanted
from unrender.diffusion.checkpoints.hub.ids import cards_of, embedded, known_ids, pick
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.published import PUBLISHED
from unrender.diffusion.checkpoints.published.stable_diffusion import stable_diffusion_card
from unrender.diffusion.checkpoints.published.viewdiff import TEDDYBEAR
from unrender.diffusion.checkpoints.released_views import is_released
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.reading import reading
from unrender.files.tables import read_table

POINTER = "published"
OUROBOROS = "Y-Research-Group/Ouroboros"
VIDEO_UNET = "UNetCustomSpatioTemporalConditionModel"
DIFFUSION_RENDERER_INVERSE = "nexuslrf/diffusion_renderer-inverse-svd"
DIFFUSION_RENDERER_FORWARD = "nexuslrf/diffusion_renderer-forward-svd"

_MOST_OF_A_CONFIG = 65536
_INTRINSICS = {
    ("albedo", "material"): "prs-eth/marigold-iid-appearance-v1-1",
    ("albedo", "shading", "residual"): "prs-eth/marigold-iid-lighting-v1-1",
}
_DROPOUT = {23: "zheng95z/x-to-rgb", 28: "zheng95z/x-to-rgb-inpainting"}


def local_model(folder: Path, task: Task | None = None) -> ModelLocation:
    """The location of the weights in a folder of the caller's; see `card_of`."""
    card = card_of(folder, task)
    return ModelLocation(card, folder, _rest(card, folder), _cached(folder)[1])


def cached_model(repository: str, task: Task | None = None) -> ModelLocation | None:
    """Where a repository in Stable Diffusion's layout is, which no card names and another program has fetched into the
    hub's cache; None where there is none."""
    for folder in snapshots(repository) if repository.count("/") == 1 else ():
        card = stable_diffusion_card(folder)
        if card is not None:
            card = pick((replace(card, identity=replace(card.identity, id=repository)),), task)
            return ModelLocation(card, folder, revision=folder.name)
    return None


def card_of(folder: Path, task: Task | None = None) -> ModelCard:
    """The card of the weights in a folder: its own `unrender.json`, or that of the published model which it is.

    Raises:
        UserError: the folder does not say whose weights it holds, or the model is of the other task.
    """
    return pick(cards_in(folder), task)


def cards_in(folder: Path) -> tuple[ModelCard, ...]:
    """The cards of the weights in a folder, one for each task; see `card_of`."""
    if (folder / CARD_FILE).is_file():
        known = _pointed(folder)
        return (read_card(folder),) if known is None else cards_of(known)
    with reading(folder, "a model's folder"):  # whose tables may hold anything
        known = _cached(folder)[0] or _cloned(folder) or _called(folder) or _made_of(folder)
        if known is None and (card := stable_diffusion_card(folder)) is not None:
            return (card,)
    if known is None:
        raise UserError(
            f"{folder} does not say whose weights it holds; run `unrender models adopt {folder} ID`, "
            f"or give it an {CARD_FILE}"
        )
    return cards_of(known)


def adopt(folder: Path, model: str) -> None:
    """Writes into `folder` whose weights it holds.

    Raises:
        UserError: no published model has that id, the folder has none of its components, or a card of its own.
    """
    found = cards_of(model)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; expected the folder with the weights of {model}")
    if (folder / CARD_FILE).is_file() and _pointed(folder) is None:
        raise UserError(f"{folder} has a card of its own, {CARD_FILE}; remove it first if it is wrong")
    components = dict.fromkeys(name for card in found for name in wanted(card) if name not in WORDLESS)
    if not any((folder / name).is_dir() for name in components):
        raise UserError(f"{folder} has none of {', '.join(components)}; expected a model folder in diffusers' layout")
    with atomic_write(folder / CARD_FILE) as path:
        path.write_text(json.dumps({POINTER: model}) + "\n")


def _pointed(folder: Path) -> str | None:
    """The id that `adopt` wrote; None where the file is something else."""
    said = _read(folder / CARD_FILE)
    return said[POINTER] if set(said) == {POINTER} and isinstance(said[POINTER], str) else None


def _cached(folder: Path) -> tuple[str | None, str]:
    """The known id and the commit of a snapshot in a hub cache; None and "" for any other folder."""
    place = folder.resolve()
    match = re.fullmatch(r"models--(.+?)--(.+)", place.parent.parent.name)
    if match is None or place.parent.name != "snapshots":
        return None, ""
    model = f"{match[1]}/{match[2]}"
    return (model, place.name) if model in known_ids() else (None, place.name)


def _cloned(folder: Path) -> str | None:
    """The known id of the repository that the folder is a clone of, whatever it was called since."""
    try:
        said = (folder / ".git" / "config").read_text("utf-8", "replace")[:_MOST_OF_A_CONFIG]
    except OSError:
        return None
    match = re.search(r"^\s*url\s*=\s*\S*huggingface\.co[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?\s*$", said, re.MULTILINE)
    return match[1] if match is not None and match[1] in known_ids() else None


def _called(folder: Path) -> str | None:
    """The known id whose last part is the folder's name, as after `git clone`."""
    same = {card.id for card in PUBLISHED if card.id.rpartition("/")[2] == folder.resolve().name}
    return same.pop() if len(same) == 1 else None


def _made_of(folder: Path) -> str | None:
    """The known id that the folder's files leave no doubt of."""
    if (folder / "unet_0").is_dir() and (folder / "unet_1").is_dir():
        return OUROBOROS
    if is_released(_read(folder / "unet" / "config.json")):
        return TEDDYBEAR
    index = _read(folder / MODEL_INDEX)
    match index.get("_class_name"):
        case "MarigoldDepthPipeline":
            return _marigold(folder, "prs-eth/marigold-depth-v1-1", "prs-eth/marigold-depth-v1-0")
        case "MarigoldNormalsPipeline":
            return _marigold(folder, "prs-eth/marigold-normals-v1-1", "prs-eth/marigold-normals-v0-1")
        case "MarigoldIntrinsicsPipeline":
            return _INTRINSICS.get(tuple((index.get("target_properties") or {}).get("target_names") or ()))
        case "StableDiffusionAOVMatEstPipeline":
            return "zheng95z/rgb-to-x"
        case "StableDiffusionAOVDropoutPipeline":
            return _DROPOUT.get(_read(folder / "unet" / "config.json").get("in_channels", 0))
        case "DepthNormalEstimationPipeline":
            return _geowizard(folder)
    return _diffusion_renderer(folder, index)


def _marigold(folder: Path, newer: str, older: str) -> str | None:
    scheduler = _scheduler(folder)
    if scheduler.get("rescale_betas_zero_snr"):
        return newer
    # E2E-FT's folders have the class too, with a trailing schedule; so have distilled models, with another scheduler.
    plain = scheduler.get("_class_name") == "DDIMScheduler" and scheduler.get("timestep_spacing") != "trailing"
    return older if plain else None


def _geowizard(folder: Path) -> str | None:
    if _scheduler(folder).get("timestep_spacing") == "trailing":
        return None  # one of E2E-FT's, which have the class too
    return "lemonaddie/geowizard" if (folder / "unet").is_dir() else "lemonaddie/geowizard-v2"


def _diffusion_renderer(folder: Path, index: dict[str, Any]) -> str | None:
    """By the class of its UNet, as the index of the pipeline or the network's own file has it, and its channels. The
    two forward models are alike in all but their weights."""
    config, named = _read(folder / "unet" / "config.json"), index.get("unet")
    classes = {config.get("_class_name"), named[-1] if isinstance(named, list) and named else None}
    if VIDEO_UNET not in classes:
        return None
    return {8: DIFFUSION_RENDERER_INVERSE, 24: DIFFUSION_RENDERER_FORWARD}.get(config.get("in_channels", 8))


def _scheduler(folder: Path) -> dict[str, Any]:
    return _read(folder / "scheduler" / "scheduler_config.json")


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; {} where there is none, or it cannot be read."""
    try:
        return read_table(path)
    except UserError:
        return {}


def _rest(card: ModelCard, folder: Path) -> Path | None:
    """Where the components are that the folder lacks: beside it, under the name of their repository, or pulled."""
    beside = folder.resolve().parent / card.identity.source.fallback.rpartition("/")[2]
    alone = ModelLocation(card, folder)
    # A run's model and its base may both be called `model`: a folder is not what it lacks.
    elsewhere = beside != folder.resolve() and beside.is_dir()
    if card.identity.source.fallback and lacking(alone, required(card)) and elsewhere:
        return beside
    shipped = embedded("text_to_image").get(card.identity.source.fallback)
    if shipped is None and card.views is not None and Path(card.identity.source.fallback or "?").is_dir():
        return Path(card.identity.source.fallback)
    return shipped or fallback_of(card, folder)
