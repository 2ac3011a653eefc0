"""Where a model is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unrender.diffusion.card import ModelCard
from unrender.errors import UserError


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
            raise UserError(f"{self.folder} has no {name}; expected a complete model folder in diffusers' layout")
        return found

    def find(self, name: str) -> Path | None:
        """The folder of a component, None where no folder has it."""
        places = [place / name for place in (self.folder, self.fallback) if place is not None]
        return next((place for place in places if place.is_dir()), None)
