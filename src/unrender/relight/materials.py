"""Changes of material: maps set, multiplied or added to, in a part of the picture."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.scene.color import srgb_to_linear
from unrender.scene.gbuffer import CHANNELS, GBuffer

Operation = Literal["set", "multiply", "add"]

EDITABLE = ("base_color", "roughness", "metallic")
"""The maps of material, which a change may name."""

_DEFAULTS = {"roughness": 0.5, "metallic": 0.0}
_CHANGE = re.compile(r"\s*(\w+)\s*([*+]?=)\s*(.*?)\s*")
_OPERATIONS: dict[str, Operation] = {"=": "set", "*=": "multiply", "+=": "add"}
_HEX = re.compile(r"#([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")


@dataclass(frozen=True)
class MaterialChange:
    """One map of material, changed.

    Attributes:
        name: base_color, roughness or metallic.
        value: as many numbers as the map has channels, or one for all; linear for a colour.
        operation: what is done with it; the result is clamped to [0, 1].

    Raises:
        UserError: another map, another number of values, values that are not finite, or ones to set beyond [0, 1].
    """

    name: str
    value: tuple[float, ...]
    operation: Operation = "set"

    def __post_init__(self) -> None:
        if self.name not in EDITABLE:
            near = difflib.get_close_matches(self.name, EDITABLE, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(EDITABLE)}"
            raise UserError(f"{self.name} cannot be changed; {hint}")
        channels = CHANNELS[self.name]
        if len(self.value) not in (1, channels):
            expected = "one number" if channels == 1 else f"one number, or {channels}"
            raise UserError(f"{self.name} of {len(self.value)} numbers; expected {expected}")
        numbers = torch.tensor(self.value, dtype=torch.float64)
        if not bool(numbers.isfinite().all()):
            raise UserError(f"{self.name} of {self.value}; expected finite numbers")
        if self.operation == "set" and not bool(((numbers >= 0) & (numbers <= 1)).all()):
            raise UserError(f"{self.name} = {', '.join(f'{v:g}' for v in self.value)}; expected numbers from 0 to 1")

    @staticmethod
    def parse(text: str) -> MaterialChange:
        """`roughness=0.1`, `base_color=#c04020` (sRGB), `base_color=0.5,0.1,0.1` (linear), `roughness*=0.5`,
        `metallic+=0.2`."""
        found = _CHANGE.fullmatch(text)
        if found is None:
            raise UserError(f"{text!r} is no change of material; expected roughness=0.1 or base_color=#c04020, say")
        name, sign, value = found.groups()
        return MaterialChange(name, _numbers(text, value), _OPERATIONS[sign])


def change_materials(gbuffer: GBuffer, changes: Iterable[MaterialChange], weight: Tensor | float = 1.0) -> GBuffer:
    """A G-buffer with its materials changed, in order.

    Args:
        gbuffer: whose maps are changed; one that has no roughness or metallic and is given some has 0.5 or 0 elsewhere.
        changes: what is done.
        weight: (1 or T, 1, H, W) in [0, 1], how much of each pixel is changed.

    Returns:
        The G-buffer; its diffuse albedo, where it has one, follows as base_color * (1 - metallic).

    Raises:
        UserError: no base color to change.
    """
    maps = {}
    for change in changes:
        old = maps.get(change.name, gbuffer.maps.get(change.name))
        if old is None:
            if change.name == "base_color":
                gbuffer.require("base_color", by="a change of base_color")
            like = next(iter(gbuffer.maps.values()))[:, :1]
            old = torch.full_like(like, _DEFAULTS[change.name])
        value = old.new_tensor(change.value).reshape(1, -1, 1, 1)
        new = {"set": value.expand_as(old), "multiply": old * value, "add": old + value}[change.operation]
        maps[change.name] = _mixed(old, new.clamp(0, 1), weight)
    edited = gbuffer.with_maps(**maps)
    if maps and gbuffer.diffuse_albedo is not None and edited.base_color is not None:
        metallic = edited.metallic if edited.metallic is not None else 0.0
        diffuse = edited.base_color * (1 - metallic)
        edited = edited.with_maps(diffuse_albedo=_mixed(gbuffer.diffuse_albedo, diffuse, weight))
    return edited


def _mixed(old: Tensor, new: Tensor, weight: Tensor | float) -> Tensor:
    return torch.lerp(old, new, torch.as_tensor(weight).to(old).expand_as(old))


def material_of(gbuffer: GBuffer, weight: Tensor | None = None) -> tuple[MaterialChange, ...]:
    """The material of a part of a picture, as changes that give it to another: the median of every map of material,
    over the pixels whose weight is above a half and that have a surface.

    Args:
        gbuffer: where the material is seen.
        weight: (1 or T, 1, H, W); None for all of it.

    Raises:
        UserError: no map of material, or no such pixel.
    """
    any_map = next(iter(gbuffer.maps.values()))
    there = torch.ones_like(any_map[:, :1]) > 0.5 if weight is None else (weight > 0.5).expand_as(any_map[:, :1])
    if gbuffer.mask is not None:
        there = there & (gbuffer.mask > 0.5)
    found = [name for name in EDITABLE if name in gbuffer.maps]
    if not found:
        raise UserError(f"a G-buffer of {', '.join(gbuffer.maps)} has no material; expected {', '.join(EDITABLE)}")
    if not bool(there.any()):
        raise UserError("no pixel with a surface is chosen there, and so no material; expected a larger part")
    changes = []
    for name in found:
        channels = gbuffer.maps[name].movedim(1, 0)[:, there[:, 0]]
        changes.append(MaterialChange(name, tuple(float(v) for v in channels.clamp(0, 1).median(dim=1).values)))
    return tuple(changes)


def _numbers(text: str, value: str) -> tuple[float, ...]:
    found = _HEX.fullmatch(value)
    if found is not None:
        digits = found[1] if len(found[1]) == 6 else "".join(digit * 2 for digit in found[1])
        codes = torch.tensor([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)], dtype=torch.float64)
        return tuple(srgb_to_linear(codes).tolist())
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise UserError(
            f"{text!r}: {value!r} is no value; expected a number, three linear ones with commas, or #rrggbb"
        ) from None
