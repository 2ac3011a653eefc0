"""Joint attention: the items of a group attend to one another (GeoWizard's cross-task attention, Fu et al. 2024,
section 3.2; the frames of an inflated picture model; the views of a set)."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional

from unrender.diffusion.networks import layers


class JointAttention:
    """Self-attention in which every item sees the keys and values of all items of its group.

    Attributes:
        group_size: consecutive items of the batch that make a group.
    """

    def __init__(self, group_size: int = 1) -> None:
        self.group_size = group_size

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(items, N, D) to (items, N, D)."""
        joined = layers.joined(hidden_states, self.group_size)
        query, key, value = attn.to_q(joined), attn.to_k(joined), attn.to_v(joined)
        attended = functional.scaled_dot_product_attention(_heads(query, attn), _heads(key, attn), _heads(value, attn))
        return attn.to_out[0](layers.apart(attended.transpose(1, 2).flatten(2), self.group_size))


def join_items(network: nn.Module) -> None:
    """Makes every self-attention of a UNet, diffusers' or that of `networks.small`, joint; cross-attention stays as it
    is."""
    small = [module for module in network.modules() if isinstance(module, layers.Attention)]
    for module in small:
        module.joint = True
    if small:
        return
    from diffusers.models.attention_processor import Attention

    for name, module in network.named_modules():
        joint = isinstance(getattr(module, "processor", None), JointAttention)
        if isinstance(module, Attention) and name.endswith("attn1") and not joint:
            module.set_processor(JointAttention())


def set_group_size(network: nn.Module, group_size: int) -> None:
    """Says how many consecutive items of the next batch make a group, to all of `network` that is joint: attention,
    normalisation over a window, temporal layers."""
    for module in network.modules():
        processor = getattr(module, "processor", None)
        if isinstance(processor, JointAttention):
            processor.group_size = group_size
        elif hasattr(module, "group_size"):
            cast("Any", module).group_size = group_size


def _heads(values: Tensor, attn: Any) -> Tensor:
    return values.unflatten(2, (attn.heads, -1)).transpose(1, 2)
