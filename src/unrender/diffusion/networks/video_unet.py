"""Stable Video Diffusion's UNet as DiffusionRenderer uses it (Liang et al. 2025): tokens level by level and frame by
frame, no temporal cross-attention, and a table of buffers. Diffusers' own UNet, told through hooks; its weights keep
their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models.attention import TemporalBasicTransformerBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from torch import Tensor, nn

from unrender.errors import UserError

LARGEST_ROW = 10.0
"""Rows of the table of buffers are brought down to this norm where they are read."""

SAME_WIDTH = 0
"""As `temporal_cross_attention_dim`: that of the spatial cross-attention, as Stable Video Diffusion has it."""


@dataclass
class _Told:
    """What the blocks of a network are told in one evaluation."""

    levels: Sequence[Tensor] = ()
    row: Tensor | None = None


@dataclass
class _LevelTokens:
    """A hook that gives a block the tokens of its level. An object, not a closure: a copy of the network copies it."""

    told: _Told = field(repr=False)
    level: int

    def __call__(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict]:
        if not self.told.levels:
            return args, kwargs
        return args, kwargs | {"encoder_hidden_states": self.told.levels[self.level]}


@dataclass
class _AddedRow:
    """A hook that adds the row of the buffer asked for to an embedding of the whole clip."""

    told: _Told = field(repr=False)

    def __call__(self, _: nn.Module, args: tuple[Any, ...], embedding: Tensor) -> Tensor:
        return embedding if self.told.row is None else embedding + self.told.row


class SpatialTokensTransformer(TransformerSpatioTemporalModel):
    """Diffusers' spatio-temporal transformer whose temporal blocks attend to no tokens. Diffusers' own would still lay
    out the tokens of a frame for every pixel: ten gigabytes of them at the first level of a light at 512 x 512."""

    def __init__(self, heads: int, head_width: int, channels: int, layers: int, token_width: int) -> None:
        super().__init__(heads, head_width, channels, num_layers=layers, cross_attention_dim=token_width)
        width = heads * head_width
        self.temporal_transformer_blocks = nn.ModuleList(
            TemporalBasicTransformerBlock(width, width, heads, head_width) for _ in range(layers)
        )

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        image_only_indicator: Tensor | None = None,
        return_dict: bool = True,
    ) -> tuple[Tensor]:
        """(B x F, C, h, w) features and (B x F, N, D) tokens to features; `image_only_indicator` (B, F) says F.

        The arguments are diffusers', whose blocks ask for a tuple (`return_dict` False).
        """
        assert image_only_indicator is not None
        frames = image_only_indicator.shape[-1]
        height, width = hidden_states.shape[2:]
        hidden = self.proj_in(self.norm(hidden_states).flatten(2).transpose(1, 2))
        times = torch.arange(frames, device=hidden.device).repeat(image_only_indicator.shape[0])
        places = self.time_pos_embed(self.time_proj(times).to(hidden.dtype))[:, None]
        for spatial, temporal in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                recompute: Any = self._gradient_checkpointing_func
                hidden = recompute(spatial, hidden, None, encoder_hidden_states, None)
            else:
                hidden = spatial(hidden, encoder_hidden_states=encoder_hidden_states)
            moved = temporal(hidden + places, num_frames=frames)
            hidden = self.time_mixer(x_spatial=hidden, x_temporal=moved, image_only_indicator=image_only_indicator)
        return (self.proj_out(hidden).transpose(1, 2).unflatten(2, (height, width)) + hidden_states,)


class VideoRendererUNet(UNetSpatioTemporalConditionModel, PeftAdapterMixin):
    """The UNet of DiffusionRenderer's checkpoints; with its additions left out, Stable Video Diffusion's.

    The parameters are those of its `config.json`: diffusers', and

    Args:
        temporal_cross_attention_dim: width of the tokens of temporal cross-attention; None for no such attention.
        multi_res_encoder_hidden_states: every level has tokens of its own, of every frame.
        context_embedding_type: where the row of a buffer goes: "clip", to the token; "time", to the time embedding;
            None for no table.
        context_vocab_size: rows of the table.
        norm_num_groups: of all group normalisation. Where as many groups as channels are left, a network of 32, every
            channel loses its mean at the last layer: how bright and how rough everything is, and which buffer it is.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 8,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = (*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"),
        up_block_types: tuple[str, ...] = ("UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int | tuple[int, ...] = 2,
        cross_attention_dim: int | tuple[int, ...] = 1024,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20),
        num_frames: int = 25,
        temporal_cross_attention_dim: int | None = SAME_WIDTH,
        multi_res_encoder_hidden_states: bool = False,
        context_embedding_type: str | None = None,
        context_vocab_size: int = 16,
        norm_num_groups: int = 32,
    ) -> None:
        super().__init__(
            sample_size,
            in_channels,
            out_channels,
            tuple(down_block_types),
            tuple(up_block_types),
            tuple(block_out_channels),
            addition_time_embed_dim,
            projection_class_embeddings_input_dim,
            layers_per_block,
            cross_attention_dim,
            transformer_layers_per_block,
            num_attention_heads,
            num_frames,
        )
        self._told = _Told()
        if temporal_cross_attention_dim is None:
            _leave_out_temporal_tokens(self)
        elif temporal_cross_attention_dim not in (SAME_WIDTH, cross_attention_dim):
            raise UserError(
                f"temporal_cross_attention_dim {temporal_cross_attention_dim} and cross_attention_dim "
                f"{cross_attention_dim}; expected the same, or null for no temporal cross-attention"
            )
        for norm in self.modules():
            if isinstance(norm, nn.GroupNorm):
                norm.num_groups = norm_num_groups
        if multi_res_encoder_hidden_states:
            self._hook_levels()
        self.context_embedding = self._table(context_embedding_type, context_vocab_size, cross_attention_dim)

    def forward(  # ty: ignore[incompatible-method-override]
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor | tuple[Tensor, ...],
        added_time_ids: Tensor,
        context: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """One evaluation, as diffusers' UNet has it.

        Args:
            sample: (B, F, C, h, w) noisy latents and what is concatenated with them.
            timestep: one number, or (B,).
            encoder_hidden_states: (B, N, D) tokens of a clip; of a network with `multi_res_encoder_hidden_states` one
                (B x F, N, D) a level, finest first.
            added_time_ids: (B, K) micro-conditioning.
            context: (B,) rows of the table of buffers, for networks that have one.
        """
        row = None if context is None else self._row(context)
        if isinstance(encoder_hidden_states, Tensor):
            levels, tokens = (), encoder_hidden_states
            if row is not None and self.config["context_embedding_type"] == "clip":
                tokens, row = tokens + row[:, None], None
        else:
            # Whatever stands here is what no block sees.
            levels, tokens = encoder_hidden_states, sample.new_zeros(len(sample), 1, 1)
        self._told.levels, self._told.row = levels, row
        try:
            return super().forward(sample, timestep, tokens, added_time_ids, return_dict)
        finally:
            self._told.levels, self._told.row = (), None

    def _hook_levels(self) -> None:
        """Down block i and the up block across from it attend to level i, the middle to the last."""
        told = [(block, level) for level, block in enumerate(self.down_blocks)]
        told += [(self.mid_block, -1)]
        told += [(block, -1 - index) for index, block in enumerate(self.up_blocks)]
        for block, level in told:
            if getattr(block, "has_cross_attention", False):
                block.register_forward_pre_hook(_LevelTokens(self._told, level), with_kwargs=True)

    def _table(self, kind: str | None, rows: int, token_width: int | Sequence[int]) -> nn.Embedding | None:
        if kind is None:
            return None
        if kind not in ("clip", "time"):
            raise UserError(f"context_embedding_type {kind!r}; expected clip, time or null")
        if kind == "time":
            self.add_embedding.register_forward_hook(_AddedRow(self._told))
            width = self.time_embedding.linear_2.out_features
        else:
            width = token_width if isinstance(token_width, int) else token_width[0]
        table = nn.Embedding(rows, width)
        nn.init.uniform_(table.weight, -1e-3, 1e-3)
        return table

    def _row(self, context: Tensor) -> Tensor:
        if self.context_embedding is None:
            raise UserError("this UNet has no table of buffers (its context_embedding_type is null)")
        rows = self.context_embedding(context)
        norms = rows.norm(dim=1, keepdim=True)
        return torch.where(norms > LARGEST_ROW, rows * (LARGEST_ROW / (norms + 1e-7)), rows)


def _leave_out_temporal_tokens(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is TransformerSpatioTemporalModel:
                setattr(module, name, _without_temporal_tokens(child))


def _without_temporal_tokens(transformer: TransformerSpatioTemporalModel) -> SpatialTokensTransformer:
    first: Any = transformer.transformer_blocks[0]
    return SpatialTokensTransformer(
        transformer.num_attention_heads,
        transformer.attention_head_dim,
        transformer.in_channels,
        len(transformer.transformer_blocks),
        first.attn2.to_k.in_features,
    )
