"""GeoWizard's cross-task attention: the pictures of one frame attend to one another (Fu et al. 2024, section 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional


class JointAttention:
    """Self-attention in which every picture sees the keys and values of all pictures of its frame.

    The batch holds the pictures one after the other, every one of them with all frames: (pictures x frames, N, D).
    """

    def __init__(self, pictures: int) -> None:
        self._pictures = pictures

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        attended = functional.scaled_dot_product_attention(
            self._heads(query, attn), self._heads(self._joined(key), attn), self._heads(self._joined(value), attn)
        )
        return attn.to_out[0](attended.transpose(1, 2).flatten(2))

    def _joined(self, values: Tensor) -> Tensor:
        """(pictures x frames, N, D) to (pictures x frames, pictures x N, D): every picture's, for every picture."""
        together = torch.cat(values.chunk(self._pictures), dim=1)
        return torch.cat([together] * self._pictures)

    @staticmethod
    def _heads(values: Tensor, attn: Any) -> Tensor:
        return values.unflatten(2, (attn.heads, -1)).transpose(1, 2)


def join_pictures(unet: UNet2DConditionModel, pictures: int) -> None:
    """Gives every self-attention of `unet` the joint processor; cross-attention stays as it is."""
    for name, module in unet.named_modules():
        if isinstance(module, Attention) and name.endswith("attn1"):
            module.set_processor(JointAttention(pictures))
