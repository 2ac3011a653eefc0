"""Texts to tokens, by the text encoder of a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unrender.device import Compute
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.errors import UserError

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

_COMPONENTS = ("text_encoder", "tokenizer")
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"))


def embed_prompts(location: ModelLocation, texts: Sequence[str], padded: bool) -> list[Tensor]:
    """The tokens (N, D) of each text, float32 on the CPU: the last hidden state of the model's text encoder, which is
    loaded for it and let go. A text that is too long is truncated.

    Args:
        padded: to the full length that the encoder takes (N = 77); if not, N is what the text needs, 2 at least.

    Raises:
        UserError: there is no text encoder or tokenizer, or one is damaged.
    """
    encoder, tokenizer = load_text_encoder(location)
    return [_embed(encoder, tokenizer, text, padded) for text in texts]


def load_text_encoder(location: ModelLocation) -> tuple[CLIPTextModel, CLIPTokenizer]:
    """The text encoder of a model, single precision, and its tokenizer.

    Raises:
        UserError: there is no text encoder or tokenizer, or one is damaged.
    """
    from transformers import CLIPTextModel

    from unrender.diffusion.checkpoints.clip.network import load_clip

    if missing := missing_components(location):
        raise UserError(
            f"{location.folder} has no {missing}; a caption needs text_encoder and tokenizer, "
            "without a caption none is needed"
        )
    tokenizer = _load_tokenizer(location.component("tokenizer"))
    return load_clip(
        CLIPTextModel, location.component("text_encoder"), Compute(torch.device("cpu"), torch.float32)
    ), tokenizer


def missing_components(location: ModelLocation) -> str:
    """The components that `location` lacks to embed a text, in words; "" where it lacks nothing."""
    return " and no ".join(name for name in _COMPONENTS if location.find(name) is None)


def _load_tokenizer(folder: Path) -> CLIPTokenizer:
    from transformers import CLIPTokenizer

    # Without one, transformers makes up a vocabulary of three words.
    if not any(all((folder / name).is_file() for name in names) for names in _VOCABULARIES):
        raise UserError(f"{folder} has no vocabulary; expected vocab.json with merges.txt, or tokenizer.json")
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # The tokenizers library raises no other kind.
        raise UserError(f"{folder} is damaged or not a tokenizer: {str(error).splitlines()[0]}") from error


@torch.no_grad()
def _embed(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, text: str, padded: bool) -> Tensor:
    limit = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    padding = "max_length" if padded else "do_not_pad"
    encoded = tokenizer([text], padding=padding, max_length=limit, truncation=True, return_tensors="pt")
    size = encoder.config.vocab_size
    if encoded.input_ids.max() >= size:
        raise UserError(
            f"the tokenizer has token {encoded.input_ids.max()}, the text encoder {size} in all; "
            "expected the tokenizer of this text encoder"
        )
    # Stable Diffusion's encoders see their padding as words; few others want it masked, and say so.
    mask = encoded.attention_mask if getattr(encoder.config, "use_attention_mask", False) else None
    return encoder(encoded.input_ids, attention_mask=mask)[0][0]
