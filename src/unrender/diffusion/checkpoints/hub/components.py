"""The parts of a model in diffusers' layout: which a card needs, and which files make one complete."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.errors import UserError

MODEL_INDEX = "model_index.json"
STEMS = ("diffusion_pytorch_model", "model", "pytorch_lora_weights")
WORDLESS = ("tokenizer", "scheduler", "feature_extractor")
"""Components that have settings, and no weights."""

VIEW_LAYERS = "views"
"""What was added to a UNet for the views of a set; in the layout that ViewDiff's code exports it is in the UNet's."""

VIEW_LORA = "pytorch_lora_weights.safetensors"
"""The camera's low-rank layers in that layout, beside the UNet's weights."""

DETAIL = "detail"
"""Brings an answer to the picture's own resolution; unrender's own network, too."""

_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


def networks(card: ModelCard) -> tuple[str, ...]:
    """The components whose weights inference reads."""
    light = (*((card.light.encoder,) if card.light else ()), *((DETAIL,) if card.maps.detail else ()))
    return (card.identity.source.unet, "vae", *(("image_encoder",) if card.image_tokens else ()), *light)


def required(card: ModelCard) -> tuple[str, ...]:
    """The components without which a model cannot be used: its networks, and what turns its prompts into tokens."""
    return (*networks(card), *(("text_encoder", "tokenizer") if card.text else ()))


def wanted(card: ModelCard) -> tuple[str, ...]:
    """Every component that is pulled, those included that a card can do without."""
    adapter = (card.adapter.folder,) if card.adapter else ()
    return (*required(card), "scheduler", *(("feature_extractor",) if card.image_tokens else ()), *adapter)


def choose_files(
    listing: Iterable[str], card: ModelCard, half: bool, components: Sequence[str] | None = None
) -> list[str]:
    """The files of a repository that are pulled: of each component its settings, and one variant of its weights, in
    safetensors; components that the repository lacks are left out.

    Args:
        listing: every file of the repository.
        half: whether the weights in half precision are preferred; the other variant is taken where there is but one.
        components: those of `wanted` to choose for; None for all, and the pipeline's own file.

    Raises:
        UserError: a component's weights are pickles only.
    """
    listing = sorted(listing)
    chosen = [MODEL_INDEX] if components is None and MODEL_INDEX in listing else []
    for component in wanted(card) if components is None else components:
        inside = [path.removeprefix(f"{component}/") for path in listing if path.startswith(f"{component}/")]
        names = [name for name in inside if "/" not in name]
        weights = [] if component in WORDLESS else _weights_or_refusal(names, half, f"{card.id}: {component}")
        if component == card.identity.source.unet and card.views is not None and VIEW_LORA in names:
            weights = [*weights, VIEW_LORA]
        if weights or component in WORDLESS:
            settings = [name for name in names if name.endswith((".json", ".txt")) and ".index." not in name]
            chosen += [f"{component}/{name}" for name in (*settings, *weights)]
    return chosen


def weight_files(names: Iterable[str], half: bool = False) -> list[str]:
    """Of the files of one component, those that make up its weights in safetensors: the index first where they are
    sharded; [] where no variant is complete. Full precision is preferred, half precision where `half`."""
    names = set(names)
    for variant in (".fp16", "") if half else ("", ".fp16"):
        for stem in STEMS:
            index = f"{stem}.safetensors.index{variant}.json"
            shards = _shards(names, stem, variant)
            if index in names and shards:
                return [index, *shards]
            if f"{stem}{variant}.safetensors" in names:
                return [f"{stem}{variant}.safetensors"]
    return []


def is_whole(folder: Path, component: str) -> bool:
    """Whether `folder` has everything of a component; its tensors are not looked at."""
    place = folder / component
    if not place.is_dir():
        return False
    # A link of the hub's cache whose file is gone does not exist, and does not count.
    names = [path.name for path in place.iterdir() if path.is_file()]
    return bool(names) if component in WORDLESS else "config.json" in names and bool(weight_files(names))


def lacking(location: ModelLocation, components: Iterable[str]) -> list[str]:
    """Those of `components` that are complete neither in the location's folder nor in its `rest`."""
    places = [place for place in (location.folder, location.fallback) if place is not None]
    return [name for name in components if not any(is_whole(place, name) for place in places)]


def _weights_or_refusal(names: list[str], half: bool, whose: str) -> list[str]:
    weights = weight_files(names, half)
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles and not weights:
        raise UserError(f"{whose} comes as pickles only ({pickles[0]}), which can run code; expected safetensors")
    return weights


def _shards(names: set[str], stem: str, variant: str) -> list[str]:
    """Every shard of a variant, in order; [] where one is missing. diffusers has named them in two ways."""
    for before, after in ((variant, ""), ("", variant)):
        pattern = re.compile(re.escape(stem + before) + r"-\d{5}-of-(\d{5})" + re.escape(after) + r"\.safetensors")
        found = {name: match for name in sorted(names) if (match := pattern.fullmatch(name))}
        if found and all(int(match[1]) == len(found) for match in found.values()):
            return list(found)
    return []
