"""Whether a card and the configuration of a UNet are of one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unrender.diffusion.card import ModelCard
from unrender.errors import UserError


def check_unet(card: ModelCard, config: dict[str, Any], folder: Path) -> None:
    """Raises UserError where the UNet of `folder` takes or gives something else than the card says."""
    sides = [
        ("in channels", "in_channels", 4, card.input_channels),
        ("out channels", "out_channels", 4, card.target_channels),
    ]
    if not card.is_video:  # there the projection is that of the micro-conditioning
        sides.append(("task numbers", "projection_class_embeddings_input_dim", 0, card.task_numbers))
    for what, name, default, want in sides:
        have = config.get(name, default) or 0
        if have != want:
            raise UserError(f"{folder}: the UNet has {have} {what}; the card of {card.id} wants {want}")
    if card.is_video:
        _check_video_unet(card, config, folder)


def _check_video_unet(card: ModelCard, config: dict[str, Any], folder: Path) -> None:
    """A video UNet says in its own file how it is told what is wanted, and which tokens it takes."""
    kind = config.get("context_embedding_type")
    if card.asks_by_domain and kind is None:
        raise UserError(
            f"{folder}/config.json has no context_embedding_type; expected clip or time: nothing else says how "
            "the UNet is told which buffer is wanted"
        )
    rows = [target.domain or 0 for target in card.maps.targets]
    if card.asks_by_domain and max(rows) >= config.get("context_vocab_size", 16):
        raise UserError(
            f"{folder}: the UNet has a table of {config['context_vocab_size']} buffers; {card.id} asks for "
            f"row {max(rows)}"
        )
    lit = card.light is not None
    if lit != bool(config.get("multi_res_encoder_hidden_states", False)):
        raise UserError(
            f"{folder}: multi_res_encoder_hidden_states is {str(not lit).lower()}; {card.id} has "
            f"{'tokens of a light at every level' if lit else 'one token'}"
        )
    if lit and config.get("temporal_cross_attention_dim", 0) is not None:
        raise UserError(
            f"{folder}: temporal_cross_attention_dim is {config.get('temporal_cross_attention_dim')}; expected null: "
            "a light is attended to in every frame by itself"
        )
