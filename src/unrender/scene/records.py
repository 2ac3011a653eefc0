"""What the nouns of tensors have in common: `==` by value, and a `repr` of one line.

The `==` that a dataclass writes for itself compares tuples of tensors, which raises where there is more than one pixel,
and its `repr` prints pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

import torch
from torch import Tensor


def same(first: Any, second: object) -> bool:
    """Whether two dataclass instances are of one class and all their fields are equal; tensors by shape, type and every
    value, where NaN equals nothing. For their `__eq__`, which is NotImplemented where the classes differ."""
    if type(first) is not type(second):
        return NotImplemented
    return all(_equal(getattr(first, field.name), getattr(second, field.name)) for field in fields(first))


def summary(record: Any) -> str:
    """A dataclass instance in one line: of a tensor its shape; fields that are as by default are left out."""
    told = {field.name: getattr(record, field.name) for field in fields(record) if not _is_default(record, field)}
    return f"{type(record).__name__}({', '.join(f'{name}={_short(value)}' for name, value in told.items())})"


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first is second or (first.dtype == second.dtype and torch.equal(first.cpu(), second.cpu()))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_equal(first[name], second[name]) for name in first)
    return isinstance(first, Tensor) == isinstance(second, Tensor) and bool(first == second)


def _is_default(record: Any, field: Field[Any]) -> bool:
    value = getattr(record, field.name)
    if field.default_factory is not MISSING:
        return bool(value == field.default_factory())
    return not isinstance(value, Tensor) and field.default is not MISSING and bool(value == field.default)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{tuple(value.shape)}" + ("" if kind == "float32" else f" {kind}")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_short(item)}" for name, item in value.items()) + "}"
    return repr(value)
