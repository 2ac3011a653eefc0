"""Picture models made to see the frames of a window: by temporal layers of their own, or inflated."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import safetensors.torch

from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.tensors import check_tensors, read_tensors, tensor_shapes, weight_files
from unrender.diffusion.model import Engine
from unrender.diffusion.networks.inflation import inflate
from unrender.diffusion.networks.temporal import TemporalLayers
from unrender.files.notes import note
from unrender.files.paths import existing_file
from unrender.files.reading import reading
from unrender.files.tables import read_table

TEMPORAL = "temporal"
"""The folder of a model that holds its temporal layers."""

_STEM = "diffusion_pytorch_model"
_WEIGHTS = f"{_STEM}.safetensors"


def seeing_time(engine: Engine) -> Engine:
    """The engine whose items are the frames of a window, which see one another. A model that is made for clips stays as
    it is; one that has temporal layers gets them; every other picture model is inflated (`networks.inflation`).

    The network is the same one, changed in place: for a single frame it answers as before.
    """
    card = engine.card
    if card.sampling.grouping.joins_frames:
        return engine
    unet = engine.checkpoint.unet
    layers = None if hasattr(unet, TEMPORAL) else load_layers(engine)
    if layers is not None:
        layers.attach(unet)
    elif not hasattr(unet, TEMPORAL):
        inflate(unet)
    card = card.with_sampling(grouping=card.sampling.grouping.over_frames())
    return replace(engine, checkpoint=replace(engine.checkpoint, card=card))


def load_layers(engine: Engine) -> TemporalLayers | None:
    """The temporal layers beside a model's weights; None where there are none, or where they were trained over other
    weights, which a note says.

    Raises:
        UserError: a tensor is missing, extra or of another shape.
    """
    home = engine.checkpoint.home
    folder = home.find(TEMPORAL) if home is not None else None
    if home is None or folder is None:
        return None
    with reading(folder / "config.json", "the settings of temporal layers"):
        told = read_table(existing_file(folder / "config.json"))
    if told.get("trained_over") != fingerprint(home):
        note(folder, f"holds temporal layers trained over other weights than those of {engine.card.id}: left out")
        return None
    layers, path = TemporalLayers.of(engine.checkpoint.unet), folder / _WEIGHTS
    check_tensors(
        {name: tuple(value.shape) for name, value in layers.state_dict().items()}, tensor_shapes(path), folder
    )
    layers.load_state_dict(dict(read_tensors(path, engine.compute)), assign=True)
    return layers.eval()


def save_layers(layers: TemporalLayers, over: ModelLocation, folder: Path) -> None:
    """Writes temporal layers alone, in half precision, into `folder` of a model; `load_layers` reads them.

    Args:
        over: the picture model that they were trained over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().half().contiguous().cpu() for name, value in layers.state_dict().items()}
    safetensors.torch.save_file(state, folder / _WEIGHTS)
    told = {"_class_name": "TemporalLayers", "trained_over": fingerprint(over)}
    (folder / "config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def fingerprint(home: ModelLocation) -> str:
    """Sixteen digits that stand for the weights of a model's UNet, as its files have them."""
    digest = hashlib.sha256()
    for path in weight_files(home.component(home.card.identity.source.unet), _STEM):
        digest.update(existing_file(path).read_bytes())
    return digest.hexdigest()[:16]
