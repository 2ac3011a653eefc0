"""A hash that knows weights again, wherever they lie."""

from __future__ import annotations

import hashlib

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.files.hashes import file_hash


def weights_hash(card: ModelCard, home: ModelLocation | None) -> str:
    """A hash of a model's card and weights."""
    digest = hashlib.sha256(card.id.encode())
    places = (home.folder, home.fallback) if home is not None else ()
    for place in (place for place in places if place is not None):
        for path in sorted(place.rglob("*.safetensors")):
            digest.update(path.relative_to(place).as_posix().encode())
            digest.update(file_hash(path).encode())
    return digest.hexdigest()
