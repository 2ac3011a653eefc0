"""Folders of weights, read strictly: a missing, extra or mis-shaped tensor is named, nothing is guessed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import safetensors.torch
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unrender.device import Compute
from unrender.diffusion.card import ModelCard
from unrender.diffusion.card_file import read_card, write_card
from unrender.errors import UserError

TOKENS_FILE = "tokens.safetensors"
WEIGHTS = "diffusion_pytorch_model"

Network = TypeVar("Network", UNet2DConditionModel, AutoencoderKL)


@dataclass(frozen=True)
class Checkpoint:
    """A model in memory.

    Attributes:
        card: its habits.
        unet, autoencoder: its networks.
        tokens: (N, D) cross-attention tokens for each picture that has its own, and "" for the rest.
    """

    card: ModelCard
    unet: UNet2DConditionModel
    autoencoder: AutoencoderKL
    tokens: dict[str, Tensor]


def load_checkpoint(folder: Path, compute: Compute) -> Checkpoint:
    """Reads a model folder: `unrender.json`, `unet/`, `vae/` (diffusers layout, safetensors) and `tokens.safetensors`.
    The networks come in the precision and to the device of `compute`.

    Raises:
        UserError: a file is missing, a tensor is missing, extra or mis-shaped, or the card and the networks disagree.
    """
    card = read_card(folder)
    unet = _load_network(UNet2DConditionModel, folder / "unet", compute)
    autoencoder = _load_network(AutoencoderKL, folder / "vae", compute)
    tokens = _read_tensors(folder / TOKENS_FILE)
    checkpoint = Checkpoint(card, unet, autoencoder, tokens)
    _check_fit(checkpoint, folder)
    return checkpoint


def save_checkpoint(
    checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.float32, max_shard_size: str = "15MB"
) -> None:
    """Writes a model folder that `load_checkpoint` takes, its weights in `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    for network, name in ((checkpoint.unet, "unet"), (checkpoint.autoencoder, "vae")):
        state = {key: value.detach().to(dtype) for key, value in network.state_dict().items()}
        network.save_config(folder / name)
        _save_shards(state, folder / name, max_shard_size)
    safetensors.torch.save_file(checkpoint.tokens, folder / TOKENS_FILE)
    write_card(checkpoint.card, folder)


def _save_shards(state: dict[str, Tensor], folder: Path, max_shard_size: str) -> None:
    """Safetensors files of at most `max_shard_size`, with an index where there are several."""
    split = split_torch_state_dict_into_shards(
        state, filename_pattern=f"{WEIGHTS}{{suffix}}.safetensors", max_shard_size=max_shard_size
    )
    for filename, names in split.filename_to_tensors.items():
        safetensors.torch.save_file({name: state[name].contiguous() for name in names}, folder / filename)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (folder / f"{WEIGHTS}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _load_network(kind: type[Network], folder: Path, compute: Compute) -> Network:
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise UserError(f"{folder} has no config.json; a network folder in diffusers' layout is right")
    config: dict[str, Any] = json.loads(config_path.read_text())
    state: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        state |= _read_tensors(path)
    # Built without memory, then given the tensors themselves: no time goes into random weights that are thrown away.
    with torch.device("meta"):
        network = cast(Network, kind.from_config(config))
    _check_tensors(network.state_dict(), state, folder)
    placed = {name: tensor.to(compute.device, compute.dtype) for name, tensor in state.items()}
    network.load_state_dict(placed, assign=True)
    return network.eval()


def _weight_files(folder: Path) -> list[Path]:
    index = folder / f"{WEIGHTS}.safetensors.index.json"
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
    return [folder / f"{WEIGHTS}.safetensors"]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path.parent} has no {path.name}; safetensors weights in diffusers' layout are right")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file: {error}") from error


def _check_tensors(expected: dict[str, Tensor], found: dict[str, Tensor], folder: Path) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        raise UserError(f"{folder}: tensor {missing[0]} is missing ({len(missing)} in all)")
    if extra:
        raise UserError(f"{folder}: tensor {extra[0]} is not one of this network's ({len(extra)} in all)")
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise UserError(f"{folder}: {name} is {tuple(found[name].shape)}; {tuple(tensor.shape)} is right")


def _check_fit(checkpoint: Checkpoint, folder: Path) -> None:
    card, config = checkpoint.card, checkpoint.unet.config
    for side, have, want in (
        ("in", config["in_channels"], card.input_channels),
        ("out", config["out_channels"], card.target_channels),
    ):
        if have != want:
            raise UserError(f"{folder}: the UNet has {have} {side} channels; the card of {card.id} wants {want}")
    width = config["cross_attention_dim"]
    for name, tokens in checkpoint.tokens.items():
        if tokens.ndim != 2 or tokens.shape[1] != width:
            raise UserError(f"{folder}: tokens {name!r} are {tuple(tokens.shape)}; (N, {width}) is right")
