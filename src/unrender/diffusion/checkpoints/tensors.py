"""Safetensors files: their tensors, and whether these match a network.

A tensor may be stored in 8 bits: whole numbers under its own name, and under that name with `SCALE` behind it what each
row of the first axis is to be multiplied by."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unrender.device import Compute
from unrender.errors import UserError
from unrender.files.paths import existing_file
from unrender.files.reading import brief, reading
from unrender.files.tables import read_table

Shape = tuple[int, ...]

SCALE = ".int8_scale"
"""What the name of a scale ends in, after that of its tensor."""

_SMALLEST = 40000  # numbers in a tensor that is worth 8 bits


def weight_files(folder: Path, stem: str) -> list[Path]:
    """The files of a network, named `stem`: full precision where there is one, else half; in parts where there is an
    index. The first of these where there is none."""
    for variant in ("", ".fp16"):
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if index.is_file():
            with reading(existing_file(index), "an index of weights"):
                return [folder / name for name in _named_in(index)]
        whole = folder / f"{stem}{variant}.safetensors"
        if whole.is_file():
            return [whole]
    return [folder / f"{stem}.safetensors"]


def _named_in(index: Path) -> list[str]:
    """The files that an index names, which lie beside it."""
    named = read_table(index).get("weight_map")
    names = list(named.values()) if isinstance(named, dict) else []
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise UserError(f"{index} is damaged: it names no files beside it; expected a weight_map of file names")
    return sorted(set(names))


def tensor_shapes(path: Path) -> dict[str, Shape]:
    """The shape of every tensor in a file, without reading the tensors; the scales of those in 8 bits are none.

    Raises:
        UserError: the file is missing or damaged.
    """
    with _opened(path) as file:
        names = set(file.keys())
        found = {name: tuple(file.get_slice(name).get_shape()) for name in names if not _is_scale(name, names)}
        for name in found:
            if file.get_slice(name).get_dtype() == "I8" and name + SCALE not in names:
                raise UserError(f"{path}: {name} is in 8 bits and has no {name}{SCALE}; expected one a row")
        return found


def read_tensors(path: Path, compute: Compute | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a file by name, one after the other, in the precision and on the device of `compute`: a file in
    float32 is never in memory as a whole where bfloat16 is wanted. Those stored in 8 bits come as the numbers that they
    stand for.

    Raises:
        UserError: the file is missing or damaged.
    """
    with _opened(path) as file:
        names = set(file.keys())
        for name in (name for name in file.keys() if not _is_scale(name, names)):  # noqa: SIM118 (not a dict)
            tensor = file.get_tensor(name)
            if tensor.dtype == torch.int8:
                tensor = _restored(path, name, tensor, file.get_tensor(name + SCALE))
            yield name, tensor if compute is None else tensor.to(compute.device, compute.dtype)


def in_eight_bits(state: dict[str, Tensor], dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """The tensors of a network as they are stored in 8 bits: every large matrix or kernel as whole numbers from -127 to
    127 and a scale for each row of its first axis; all others, biases and norms above all, in `dtype`."""
    stored: dict[str, Tensor] = {}
    for name, values in state.items():
        if values.ndim < 2 or values.numel() < _SMALLEST or not values.is_floating_point():
            stored[name] = values.to(dtype)
            continue
        rows = values.detach().float().flatten(1)
        # The scale as it will be read, so that its own rounding costs nothing.
        scale = (rows.abs().amax(1).clamp(min=1e-6) / 127).to(dtype)
        stored[name] = (rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8).view(values.shape)
        stored[name + SCALE] = scale
    return stored


def _is_scale(name: str, names: set[str]) -> bool:
    return name.endswith(SCALE) and name.removesuffix(SCALE) in names


def _restored(path: Path, name: str, stored: Tensor, scale: Tensor) -> Tensor:
    if tuple(scale.shape) != (len(stored),):
        raise UserError(f"{path}: {name}{SCALE} is {tuple(scale.shape)}; expected ({len(stored)},), one a row")
    return stored.float() * scale.float().view(-1, *[1] * (stored.ndim - 1))


def check_tensors(expected: dict[str, Shape], found: dict[str, Shape], folder: Path) -> None:
    """Raises UserError, naming one, where a tensor is missing, extra or mis-shaped."""
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        raise UserError(f"{folder}: tensor {missing[0]} is missing ({len(missing)} in all)")
    if extra:
        raise UserError(f"{folder}: tensor {extra[0]} is not one of this network's ({len(extra)} in all)")
    for name, shape in expected.items():
        if shape != found[name]:
            raise UserError(f"{folder}: {name} is {found[name]}; expected {shape}")


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    if not path.is_file():
        raise UserError(f"{path.parent} has no {path.name}; expected safetensors weights in diffusers' layout")
    if not path.stat().st_size:
        raise UserError(f"{path} is damaged or not a safetensors file (it is empty)")
    existing_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged or not a safetensors file ({brief(error)})") from error
