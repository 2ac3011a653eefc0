"""Layers that let the frames of a window see one another, added to a picture network that stays as it is.

They hang behind the last residual block of every size of features (as Blattmann et al. 2023, section 3.1, put theirs),
and read nothing but how features change from frame to frame. So they start as nothing, a window of one frame or of
equal frames gives what the picture network gives, and they can be stored, and trained, alone.
"""

from __future__ import annotations

import re
from typing import Any, cast

import torch
from torch import Tensor, nn

from unrender.diffusion.networks.joint_attention import set_group_size
from unrender.errors import UserError

_LAST_BLOCK = re.compile(r"(down_blocks|up_blocks)\.\d+\.resnets\.\d+$|mid_block\.resnets\.1$")


class TemporalLayer(nn.Module):
    """Adds to features U (W d * sigmoid(G |d|)), where d is how the frames before and after differ from each.

    Attributes:
        group_size: consecutive items of the batch that are the frames of a window.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_size = 1
        inner = channels // 2
        self.norm = nn.GroupNorm(1, channels, affine=False)
        self.change = nn.Conv2d(2 * channels, inner, 1, bias=False)
        self.gate = nn.Conv2d(2 * channels, inner, 1)
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(items, C, h, w) to the same."""
        if self.group_size == 1:
            return features
        window = self.norm(features).unflatten(0, (-1, self.group_size))
        step = window.diff(dim=1)
        nothing = torch.zeros_like(window[:, :1])
        change = torch.cat((torch.cat((nothing, -step), dim=1), torch.cat((step, nothing), dim=1)), dim=2)
        change = change.flatten(0, 1)
        return features + self.out(self.change(change) * torch.sigmoid(self.gate(change.abs())))


class TemporalLayers(nn.ModuleDict):
    """The temporal layers of a picture UNet (diffusers', or `networks.small`), by the block that each follows."""

    @classmethod
    def of(cls, network: nn.Module) -> TemporalLayers:
        """New ones, that change nothing yet."""
        blocks = _blocks(network)
        return cls({_key(name): TemporalLayer(block.conv2.out_channels) for name, block in blocks.items()})

    def attach(self, network: nn.Module) -> None:
        """Hangs the layers into a network, in place of any that hang there already; they are its `temporal`."""
        if hasattr(network, "temporal"):
            detach(network)
        network.temporal = self
        for name, block in _blocks(network).items():
            block.register_forward_hook(_Follow(self[_key(name)]))
        set_group_size(network, 1)


class _Follow:
    """A hook: what goes on behind a block."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, block: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return self.layer(output)


def detach(network: nn.Module) -> None:
    """Takes the temporal layers of a network out again."""
    for block in _blocks(network).values():
        for key, hook in list(block._forward_hooks.items()):
            if isinstance(hook, _Follow):
                del block._forward_hooks[key]
    if hasattr(network, "temporal"):
        del network.temporal


def _blocks(network: nn.Module) -> dict[str, Any]:
    """The last residual block of every size of features, by name."""
    last: dict[str, str] = {}
    for name, _ in network.named_modules():
        if _LAST_BLOCK.match(name):
            last[name.rpartition(".")[0]] = name
    if not last:
        raise UserError(f"{type(network).__name__} has no residual blocks that temporal layers could follow")
    return {name: cast(Any, network.get_submodule(name)) for name in last.values()}


def _key(name: str) -> str:
    return name.replace(".", "_")
