"""Joint attention: the items of a group attend to one another (GeoWizard's cross-task attention, Fu et al. 2024,
section 3.2; the frames of an inflated picture model; the views of a set)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class JointAttention:
    """Self-attention in which every item sees the keys and values of all items of its group.

    Attributes:
        group_size: consecutive items of the batch that make a group.
    """

    def __init__(self, group_size: int = 1) -> None:
        self.group_size = group_size

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(items, N, D) to (items, N, D)."""
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        attended = functional.scaled_dot_product_attention(
            _heads(query, attn), _heads(self._joined(key), attn), _heads(self._joined(value), attn)
        )
        return attn.to_out[0](attended.transpose(1, 2).flatten(2))

    def _joined(self, values: Tensor) -> Tensor:
        """(items, N, D) to (items, group_size x N, D): every item's, for every item of its group."""
        together = values.unflatten(0, (-1, self.group_size)).flatten(1, 2)
        return together.repeat_interleave(self.group_size, dim=0)


def join_items(network: nn.Module) -> None:
    """Makes every self-attention of a UNet joint; cross-attention stays as it is."""
    from diffusers.models.attention_processor import Attention

    for name, module in network.named_modules():
        if isinstance(module, Attention) and name.endswith("attn1"):
            module.set_processor(JointAttention())


def set_group_size(network: nn.Module, group_size: int) -> None:
    """Says how many consecutive items of the next batch make a group, where the attention of `network` is joint."""
    for module in network.modules():
        processor = getattr(module, "processor", None)
        if isinstance(processor, JointAttention):
            processor.group_size = group_size


def _heads(values: Tensor, attn: Any) -> Tensor:
    return values.unflatten(2, (attn.heads, -1)).transpose(1, 2)
