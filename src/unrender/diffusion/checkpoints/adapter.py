"""Low-rank adapters (Hu et al. 2022) beside the weights of a checkpoint, added to them as they are read."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.tensors import read_tensors
from unrender.errors import UserError

ADAPTER_FILE = "pytorch_lora_weights.safetensors"

_PARTS = {
    "down": re.compile(r"\.(?:lora_A(?:\.[\w-]+)?|lora\.down)\.weight$"),
    "up": re.compile(r"\.(?:lora_B(?:\.[\w-]+)?|lora\.up)\.weight$"),
    "alpha": re.compile(r"(?:\.lora(?:_A)?)?\.(?:network_)?alpha$"),
}
"""What a tensor is, by the end of its name, as peft and diffusers have written them."""
_PROCESSOR = re.compile(r"\.processor\.(to_\w+?)_lora\.(down|up)\.")
"""The layer's name in files of diffusers' first adapters, which lay in the attention processors."""


@dataclass
class _Layer:
    """The adapter of one layer; its update is alpha / rank x up @ down."""

    parts: dict[str, Tensor] = field(default_factory=dict)

    def update(self, weight: Tensor) -> Tensor:
        down, up = self.parts["down"].float(), self.parts["up"].float()
        rank = down.shape[0]
        alpha = float(self.parts.get("alpha", torch.tensor(rank)))
        return (up.flatten(1) @ down.flatten(1)).reshape(weight.shape) * (alpha / rank)


def add_adapter(unet: nn.Module, card: ModelCard, home: ModelLocation, scale: float | None) -> None:
    """Adds the adapter of a model to its UNet's weights, in place.

    Args:
        scale: how much of it; the card's when None. 0 leaves the weights as they are.

    Raises:
        UserError: a scale is asked for and the model has no adapter, or its file is damaged or for another network.
    """
    if card.adapter is None:
        if scale:
            raise UserError(f"{card.id} has no adapter; leave --lora out")
        return
    share = card.adapter.scale if scale is None else scale
    if not share:
        return
    path = home.folder / card.adapter.folder / ADAPTER_FILE
    if not path.is_file():
        if scale is not None:
            raise UserError(f"{home.folder} has no {card.adapter.folder}/{ADAPTER_FILE}; leave --lora out")
        print(f"{home.folder} has no {card.adapter.folder}/{ADAPTER_FILE}: run without its adapter", file=sys.stderr)
        return
    with torch.no_grad():
        for name, layer in _read(path).items():
            weight = _weight(unet, name, path)
            update = _checked(layer, weight, name, path)
            weight.copy_((weight.float() + share * update.to(weight.device)).to(weight.dtype))


def _read(path: Path) -> dict[str, _Layer]:
    """The adapters of a file, by the name of the layer."""
    layers: dict[str, _Layer] = {}
    for name, tensor in read_tensors(path):
        plain = _PROCESSOR.sub(r".\1.lora.\2.", name.removeprefix("unet."))
        plain = plain.replace(".to_out.lora.", ".to_out.0.lora.")
        found = next(((part, end.sub("", plain)) for part, end in _PARTS.items() if end.search(plain)), None)
        if found is None:
            raise UserError(f"{path}: {name} is no part of an adapter; expected lora_A, lora_B or alpha")
        part, layer = found
        layers.setdefault(layer, _Layer()).parts[part] = tensor
    return layers


def _weight(unet: nn.Module, name: str, path: Path) -> Tensor:
    try:
        weight = unet.get_submodule(name).weight
    except AttributeError:
        weight = None
    if not isinstance(weight, Tensor):
        raise UserError(f"{path}: the UNet has no layer {name} for its adapter; expected an adapter of this model")
    return weight


def _checked(layer: _Layer, weight: Tensor, name: str, path: Path) -> Tensor:
    missing = {"down", "up"} - layer.parts.keys()
    if missing:
        raise UserError(f"{path}: the adapter of {name} lacks its {missing.pop()} weights")
    down, up = layer.parts["down"], layer.parts["up"]
    if up.shape[0] != weight.shape[0] or up.shape[1] != down.shape[0] or down[0].numel() != weight[0].numel():
        raise UserError(
            f"{path}: the adapter of {name} is {tuple(up.shape)} and {tuple(down.shape)}; "
            f"expected one of weights {tuple(weight.shape)}"
        )
    return layer.update(weight)
