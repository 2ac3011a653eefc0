"""How a network's numbers lie in memory: as fast as its device allows, and never at the cost of accuracy."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def lay_out(network: Network, device: torch.device) -> Network:
    """The network, laid out for `device`, in place: channels last on a CUDA device, in torch's usual order elsewhere.

    On CPUs channels last breaks group normalisation: torch (2.13) then takes the variance for the difference of two
    sums, float32 or not, and loses it where values are nearly flat, as they are behind a cut-out, or of a metalness of
    0; taking the means off first does not mend it. The layout would save a tenth of a full-size autoencoder's time
    there, and a few milliseconds of `mini`'s (`benchmarks/layouts.py`), which is not worth that.

    What comes from outside may still have its channels last, as pictures have that were stored pixel by pixel: so every
    normalisation is given its values in the usual order, at no cost where they have it. On CUDA devices torch does so.
    """
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(_in_order)
    if device.type == "cuda":
        return network.to(memory_format=torch.channels_last)  # ty: ignore[no-matching-overload]
    return network


def _in_order(_: nn.Module, values: tuple[Tensor]) -> tuple[Tensor]:
    return (values[0].contiguous(),) if values[0].device.type == "cpu" else values
