"""Picture networks made to see time without training on clips (Ouroboros, Sun et al. 2025, section 3.4).

A convolution of 3 x 3 becomes one of 1 x 3 x 3: it goes over every frame by itself, which is what it does to a batch of
frames. Self-attention goes over the patches of all frames of a window. Cross-attention stays as it is.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from unrender.diffusion.networks.joint_attention import join_items

_RESIDUAL_NORM = re.compile(r"resnets\.\d+\.norm[12]$")


def inflate(network: nn.Module, *, group_norm: bool = False) -> None:
    """Makes a picture UNet pseudo-3D, in place: consecutive items of a batch can be the frames of a window, as many as
    `joint_attention.set_group_size` says; with one frame it is the network that it was. Twice is once.

    Args:
        network: a `UNet2DConditionModel` or a `networks.small.SmallUNet`.
        group_norm: the residual blocks normalise over a whole window too, as Ouroboros' code does on five-dimensional
            tensors, where each frame has its own statistics else.
    """
    join_items(network)
    if not group_norm:
        return
    for name, module in list(network.named_modules()):
        if _RESIDUAL_NORM.search(name) and not isinstance(module, WindowNorm):
            parent = network.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], WindowNorm(module))


class WindowNorm(nn.Module):
    """Group normalisation with one mean and variance for all frames of a window.

    Attributes:
        norm: the picture network's own.
        group_size: consecutive items of the batch that are a window.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm: Any = norm
        self.group_size = 1

    def forward(self, features: Tensor) -> Tensor:
        """(items, C, h, w) to the same."""
        window = features.unflatten(0, (-1, self.group_size)).transpose(1, 2)
        norm = self.norm
        normal = functional.group_norm(window, norm.num_groups, norm.weight, norm.bias, norm.eps)
        return normal.transpose(1, 2).flatten(0, 1)
