"""Text without a text encoder: the prompts that a card needs are embedded once and kept beside the weights, so that
inference loads no text encoder unless the caller gives a caption."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unrender.diffusion.checkpoints.clip.text_encoder import embed_prompts, missing_components
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.paths import existing_file
from unrender.files.reading import brief

TOKENS_FILE = "tokens.safetensors"

_PADDED = "padded"
_REMEDY = "without it the prompts are embedded anew"


def prompt_tokens(location: ModelLocation) -> dict[str, Tensor]:
    """The tokens (N, D) of every prompt of the card, float32, by prompt; {} for a card without prompts.

    Those that are not kept yet are embedded, and kept beside the weights, or in the user's cache where nothing can be
    written there.

    Raises:
        UserError: the kept tokens are damaged; or some are not kept, and there is no text encoder to embed them with.
    """
    prompts = location.card.prompts
    if not prompts:
        return {}
    padded = location.card.padded_prompts
    tokens = _read(location.folder / TOKENS_FILE, padded)
    if not tokens.keys() >= set(prompts):
        tokens = _read(_cached(location), padded) | tokens
    unknown = [prompt for prompt in prompts if prompt not in tokens]
    if unknown:
        embedded = _embedded(location, unknown)
        _keep(location, embedded)
        tokens |= embedded
    return {prompt: tokens[prompt] for prompt in prompts}


def keep_prompts(location: ModelLocation) -> None:
    """Embeds the prompts of the card that are not kept yet, and keeps them.

    Raises:
        UserError: see `prompt_tokens`.
    """
    prompt_tokens(location)


def _embedded(location: ModelLocation, prompts: list[str]) -> dict[str, Tensor]:
    if missing := missing_components(location):
        raise UserError(
            f"{location.folder} has no {missing}, and no {TOKENS_FILE} with the prompts of {location.card.id}; "
            "expected one or the other"
        )
    return dict(zip(prompts, embed_prompts(location, prompts, location.card.padded_prompts), strict=True))


def _read(path: Path, padded: bool) -> dict[str, Tensor]:
    """The tokens in a file; {} where there is none, or its prompts are padded otherwise. A file that does not say how
    they are padded is one that was made with its card."""
    if not path.is_file():
        return {}
    if not path.stat().st_size:
        raise UserError(f"{path} is damaged or not a safetensors file (it is empty); {_REMEDY}")
    existing_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            stored = (file.metadata() or {}).get(_PADDED, _flag(padded))
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or not a safetensors file ({brief(error)}); {_REMEDY}") from error
    for name, value in found.items():
        if value.ndim != 2 or not value.is_floating_point() or not value.isfinite().all():
            raise UserError(f"{path} has no tokens: {name!r} is {tuple(value.shape)}; expected (N, D); {_REMEDY}")
    return {name: value.float() for name, value in found.items()} if stored == _flag(padded) else {}


def _keep(location: ModelLocation, tokens: dict[str, Tensor]) -> None:
    """Adds `tokens` to those beside the weights, else to those in the cache; else they are embedded again next time."""
    padded = location.card.padded_prompts
    if not _add(location.folder / TOKENS_FILE, tokens, padded):
        _add(_cached(location), tokens, padded, make=True)


def _add(path: Path, tokens: dict[str, Tensor], padded: bool, make: bool = False) -> bool:
    """Adds `tokens` to a file, in a folder that is made where `make`; whether it could be written."""
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as unfinished:
            # Read anew: another card of the folder may have kept its own prompts meanwhile.
            # As bytes: the library writes files that only their owner can read.
            together = _read(path, padded) | tokens
            unfinished.write_bytes(safetensors.torch.save(together, {_PADDED: _flag(padded)}))
    except (OSError, SafetensorError, UserError):
        return False
    return True


def _flag(padded: bool) -> str:
    return "true" if padded else "false"


def _cached(location: ModelLocation) -> Path:
    """The tokens of a folder that cannot be written to."""
    card = location.card
    facts = [str(location.folder.resolve()), location.revision, card.padded_prompts, *card.prompts]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "unrender" / "tokens" / key / TOKENS_FILE
