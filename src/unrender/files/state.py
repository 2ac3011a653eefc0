"""The state of a run that may be killed, as one file: dataclasses of tensors and plain values. No code is in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unrender.errors import UserError
from unrender.files.atomic import atomic_write

_PLAIN = (bool, int, float, str, type(None))


class Unsaveable(TypeError):
    """A value that no state can hold."""


def save_state(path: Path, state: Any) -> None:
    """Writes a state, in one step. It may hold dataclasses, tensors, plain values, fractions, tuples, lists and
    dictionaries with names as keys.

    Raises:
        Unsaveable: it holds anything else.
    """
    tensors: dict[str, Tensor] = {}
    told = json.dumps(_packed(state, tensors))
    with atomic_write(path) as partial:
        safetensors.torch.save_file(tensors, partial, {"state": told})


def load_state(path: Path, kinds: Iterable[type]) -> Any:
    """The state that `save_state` wrote.

    Args:
        kinds: the dataclasses that may be in it.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return _unpacked(told, tensors, {kind.__name__: kind for kind in kinds})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}; delete its folder, and the same command begins anew") from error


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Fraction):
        return {"fraction": str(value)}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_packed(item, tensors) for item in value]}
    if isinstance(value, dict):
        return {"dict": {key: _packed(item, tensors) for key, item in value.items()}}
    if is_dataclass(value):
        held = {field.name: _packed(getattr(value, field.name), tensors) for field in fields(value)}
        return {"kind": type(value).__name__, "fields": held}
    raise Unsaveable(f"a state cannot hold a {type(value).__name__}")


def _unpacked(told: Any, tensors: dict[str, Tensor], kinds: dict[str, type]) -> Any:
    if not isinstance(told, dict):
        return told
    if "kind" in told:
        held = {name: _unpacked(item, tensors, kinds) for name, item in told["fields"].items()}
        return kinds[told["kind"]](**held)
    ((form, content),) = told.items()
    if form == "tensor":
        return tensors[content]
    if form == "fraction":
        return Fraction(content)
    if form == "dict":
        return {key: _unpacked(item, tensors, kinds) for key, item in content.items()}
    return {"tuple": tuple, "list": list}[form](_unpacked(item, tensors, kinds) for item in content)
