"""What jobs may name: models and lights."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from unrender.serve.answers import LightAnswer, ModelAnswer


def list_models(folders: dict[str, Path]) -> list[ModelAnswer]:
    """Models by id, embedded ones first, and the folders that the service was started with."""
    from unrender.diffusion.checkpoints.hub.cache import pulled
    from unrender.diffusion.checkpoints.hub.ids import cards, embedded
    from unrender.diffusion.checkpoints.hub.recognise import cards_in

    known = [(card.id, card) for card in cards()]
    known += [(name, card) for name, folder in folders.items() for card in cards_in(folder)]
    return [
        ModelAnswer(
            id=name,
            task=card.task,
            maps=list(card.map_names),
            system=card.identity.system,
            licence=card.identity.licence,
            commercial=card.identity.commercial_use,
            here=name in folders or name in embedded(card.task) or pulled(card) is not None,
        )
        for name, card in known
    ]


@lru_cache(maxsize=1)
def _lights() -> tuple[LightAnswer, ...]:
    from unrender.files.environments import DESCRIPTIONS, EVEN

    said = {**DESCRIPTIONS, EVEN: "the same from everywhere: takes the shading out"}
    return tuple(LightAnswer(name=name, description=what) for name, what in said.items())


def list_lights() -> list[LightAnswer]:
    """The lights that ship."""
    return list(_lights())
