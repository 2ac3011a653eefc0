"""CLIP networks in transformers' layout, read as strictly as the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import torch

from unrender.device import Compute
from unrender.diffusion.checkpoints.tensors import check_tensors, read_tensors, tensor_shapes, weight_files
from unrender.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

WEIGHTS = "model"

Clip = TypeVar("Clip", bound="PreTrainedModel")

# Published files put it before each tensor of a text encoder; transformers 5 no longer does, and writes none.
_TEXT = "text_model."
# Old files carry the positions 0, 1, 2, ..., which are no weights.
_POSITIONS = "position_ids"


def load_clip(kind: type[Clip], folder: Path, compute: Compute) -> Clip:
    """A CLIP network of transformers from a folder with `config.json` and safetensors weights, ready to evaluate.

    Raises:
        UserError: a file is missing or damaged, or a tensor is missing, extra or mis-shaped.
    """
    config = _config(kind, folder)
    with torch.device("meta"):
        network = kind(config)
    files = weight_files(folder, WEIGHTS)
    found = {name: shape for path in files for name, shape in tensor_shapes(path).items() if _is_weight(name)}
    named = {_as_in(found, name): name for name in network.state_dict()}
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_tensors({theirs: shapes[ours] for theirs, ours in named.items()}, found, folder)
    state = {named[name]: value for path in files for name, value in read_tensors(path, compute) if name in named}
    network.load_state_dict(state, assign=True)
    _count_positions(network, compute.device)
    return network.requires_grad_(False).eval()


def _config(kind: type[PreTrainedModel], folder: Path) -> PreTrainedConfig:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} has no config.json; expected a network folder in transformers' layout")
    try:
        return cast("type[PreTrainedConfig]", kind.config_class).from_pretrained(folder, local_files_only=True)
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'} is no configuration of a {kind.__name__}") from error


def _is_weight(name: str) -> bool:
    return name.split(".")[-1] != _POSITIONS


def _as_in(found: dict[str, tuple[int, ...]], name: str) -> str:
    """The name of a tensor of the network in the files, which have all their names with `_TEXT` or none."""
    prefixed = any(theirs.startswith(_TEXT) for theirs in found)
    return (_TEXT if prefixed else "") + name.removeprefix(_TEXT)


def _count_positions(network: PreTrainedModel, device: torch.device) -> None:
    """Numbers the positions, which no file holds, and which a network built on the meta device does not have."""
    for module in network.modules():
        positions = module._buffers.get(_POSITIONS)
        if positions is not None:
            module._buffers[_POSITIONS] = torch.arange(positions.shape[-1], device=device)[None]
