"""Attention of the views of a set: to one another in place of self-attention, and to the text, both conditioned on the
camera (ViewDiff, Höllein et al. 2024, section 3.2).

Names of tensors are those of the released layout, but for `LowRank`, which diffusers 0.21 called LoRALinearLayer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrender.diffusion.networks.views.cameras import CODE
from unrender.diffusion.networks.views.context import ViewContext

TIME_NUMBERS = 8
"""Numbers of the time embedding that condition attention between views."""


class LowRank(nn.Module):
    """up(down([features; condition])), zero at first (Hu et al. 2022): the W' of ViewDiff's eq. 4."""

    def __init__(self, width: int, condition: int, out: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(width + condition, rank, bias=False)
        self.up = nn.Linear(rank, out, bias=False)
        nn.init.normal_(self.down.weight, std=1 / rank)
        nn.init.zeros_(self.up.weight)

    def forward(self, features: Tensor, condition: Tensor | None = None) -> Tensor:
        """Features (B, L, C) and what is the same for all L of an item, (B, K), to (B, L, out)."""
        width = features.shape[-1]
        hidden = functional.linear(features, self.down.weight[:, :width])
        if condition is not None:
            told = functional.linear(condition.to(features), self.down.weight[:, width:])
            hidden = hidden + told[:, None]
        return self.up(hidden)


class CrossViewAttention(nn.Module):
    """In place of self-attention: a view attends to itself and to others of its set, with the pretrained projections
    and low-rank additions that know camera and time.

    Args:
        width: channels of the features.
        rank: of the additions; 0 for none.
        times: channels of the network's time embedding; 0 where attention is not told the time.
        context: shared with the other added layers.
    """

    def __init__(self, width: int, rank: int, times: int, context: ViewContext) -> None:
        super().__init__()
        self.context, self.rank = context, rank
        if not rank:
            return
        self.temb_proj = time_reader(times, TIME_NUMBERS) if times else None
        condition = CODE + (TIME_NUMBERS if times else 0)
        self.to_q_lora, self.to_k_lora, self.to_v_lora = (LowRank(width, condition, width, rank) for _ in range(3))
        self.to_out_lora = LowRank(width, 0, width, rank)

    def forward(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        if self.rank:
            condition = self._condition()
            query = query + self.to_q_lora(hidden_states, condition)
            key = key + self.to_k_lora(hidden_states, condition)
            value = value + self.to_v_lora(hidden_states, condition)
        attended = self._attend(query, key, value, attn.heads)
        return attn.to_out[0](attended) + (self.to_out_lora(attended) if self.rank else 0)

    def _condition(self) -> Tensor:
        code = self.context.require("code")
        if self.temb_proj is None:
            return code
        return torch.cat((code, self.temb_proj(self.context.require("time_embedding")).to(code)), dim=1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """(B, L, C) of the values that each view sees."""
        views, seen = self.context.group_size, self.context.seen
        sets = [tensor.unflatten(0, (-1, views)) for tensor in (query, key, value)]
        if seen is None:  # all of the set's: one attention over all tokens of all its views
            queries, keys, values = (_heads(tensor.flatten(1, 2), heads) for tensor in sets)
            attended = functional.scaled_dot_product_attention(queries, keys, values)
            return attended.transpose(1, 2).flatten(2).unflatten(1, (views, -1)).flatten(0, 1)
        row = torch.arange(len(seen), device=seen.device)[:, None, None]
        keys, values = (_heads(tensor[row, seen].flatten(2, 3).flatten(0, 1), heads) for tensor in sets[1:])
        attended = functional.scaled_dot_product_attention(_heads(query, heads), keys, values)
        return attended.transpose(1, 2).flatten(2)


class PosedTextAttention(nn.Module):
    """Attention to the text, with low-rank additions that know the camera.

    Args:
        width: channels of the features.
        tokens: channels of the text's tokens.
        rank: of the additions.
        context: shared with the other added layers.
    """

    def __init__(self, width: int, tokens: int, rank: int, context: ViewContext) -> None:
        super().__init__()
        self.context = context
        self.to_q_lora = LowRank(width, CODE, width, rank)
        self.to_k_lora, self.to_v_lora = (LowRank(tokens, CODE, width, rank) for _ in range(2))
        self.to_out_lora = LowRank(width, 0, width, rank)

    def forward(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """(B, L, C) and tokens (B, M, D) to (B, L, C)."""
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        code = self.context.require("code")
        query = attn.to_q(hidden_states) + self.to_q_lora(hidden_states, code)
        key = attn.to_k(text) + self.to_k_lora(text, code)
        value = attn.to_v(text) + self.to_v_lora(text, code)
        query, key, value = (_heads(each, attn.heads) for each in (query, key, value))
        attended = functional.scaled_dot_product_attention(query, key, value)
        attended = attended.transpose(1, 2).flatten(2)
        return attn.to_out[0](attended) + self.to_out_lora(attended)


def time_reader(times: int, out: int) -> nn.Sequential:
    """What makes a few numbers of a time embedding; the layout's `temb_proj` and `temb_encoder`."""
    return nn.Sequential(nn.Linear(times, times // 2), nn.ELU(), nn.Linear(times // 2, out), nn.ELU())


def _heads(values: Tensor, heads: int) -> Tensor:
    return values.unflatten(2, (heads, -1)).transpose(1, 2)
