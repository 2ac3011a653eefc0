"""Where a model is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unrender.diffusion.card import ModelCard
from unrender.errors import UserError

_OF_THE_BASE = ("vae", "text_encoder", "tokenizer")


@dataclass(frozen=True)
class ModelLocation:
    """A model's card, and the folders that hold its weights.

    Attributes:
        card: its description, see `ModelCard`.
        folder: the model folder, in diffusers' layout.
        rest: the folder with the components that `folder` lacks; None where there is none.
        revision: the commit that was pulled; "" where it is unknown.
    """

    card: ModelCard
    folder: Path
    fallback: Path | None = None
    revision: str = ""

    def component(self, name: str) -> Path:
        """The folder of a component ("vae", "text_encoder", ...).

        Raises:
            UserError: no folder has it.
        """
        found = self.find(name)
        if found is None:
            raise UserError(f"{self.folder} has no {name}; {self._remedy(name)}")
        return found

    def _remedy(self, name: str) -> str:
        """What to do about a component that is not there."""
        companion = self.card.identity.source.fallback
        if companion and name != self.card.identity.source.unet:
            beside = self.folder.parent / companion.rpartition("/")[2]
            return (
                f"{self.card.id} takes it from {companion}: clone that as {beside}, or run "
                f"`unrender models pull {self.card.id}`, which fetches both"
            )
        if name in _OF_THE_BASE and not self.card.is_video:
            return (
                f"{self.card.id} may take it from Stable Diffusion 2: name a folder or an id that has it in "
                f"UNRENDER_STABLE_DIFFUSION_2, or run `unrender models pull {self.card.id}`; "
                "expected a complete model folder in diffusers' layout"
            )
        return "expected a complete model folder in diffusers' layout"

    def find(self, name: str) -> Path | None:
        """The folder of a component, None where no folder has it."""
        places = [place / name for place in (self.folder, self.fallback) if place is not None]
        return next((place for place in places if place.is_dir()), None)
