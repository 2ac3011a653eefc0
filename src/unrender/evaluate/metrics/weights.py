"""Weight files of the networks behind metrics: always the caller's, from disk; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from unrender.errors import UserError
from unrender.files.paths import existing_file

Weights = dict[str, Tensor]


def read_weights(path: str | Path, wanted: str) -> Weights:
    """A state dict from .safetensors, or from what `torch.save` wrote (tensors only; no code in it runs).

    Args:
        wanted: which file is expected, where to get it, and which option takes it; for the error message.

    Raises:
        UserError: a missing or damaged file, or one that holds something else.
    """
    if not Path(path).exists():
        raise UserError(f"{path} does not exist; {wanted}")
    path = existing_file(path)
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of pickle, zip files and torch: there is no end to their kinds
        raise UserError(f"{path} cannot be read as weights; it is damaged or another format; {wanted}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path} holds no state dict; expected a file of named tensors")
    if not all(value.isfinite().all() for value in weights.values() if value.is_floating_point()):
        raise UserError(f"{path} has weights that are not finite; it is damaged; {wanted}")
    return weights


def pick(weights: Weights, name: str, dims: int, path: str | Path) -> Tensor:
    """The float32 tensor of that name and number of dimensions; UserError names it where it is not there."""
    if name not in weights:
        raise UserError(f"{path} has no {name}; the weights are incomplete, or of another network")
    if weights[name].ndim != dims:
        raise UserError(f"{path}: {name} has the shape {tuple(weights[name].shape)}; expected {dims} dimensions")
    return weights[name].float()
