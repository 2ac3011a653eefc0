"""The folder of a run: its recipe, its log, and the state to resume from. All are valid at any moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.paths import existing_file
from unrender.files.reading import reading
from unrender.train.recipe import resolved

STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
MODEL_FOLDER = "model"
RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class RunFolder:
    """`recipe.json`, `log.jsonl` (a line a step), `state.pt`, `validation/`, `tensorboard/`, in the end `model/`."""

    path: Path

    @property
    def model(self) -> Path:
        """The folder of the finished model."""
        return self.path / MODEL_FOLDER

    def claim(self, recipe: Any) -> None:
        """Creates the folder for this recipe, or checks that it has the same one.

        Raises:
            UserError: it holds a run of another recipe, or cannot be written to.
        """
        text, mark = resolved(recipe), self.path / RECIPE_FILE
        if mark.is_file() and mark.read_text() != text:
            raise UserError(
                f"{self.path} holds a run of another recipe ({RECIPE_FILE} differs); give another folder or that recipe"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create {self.path}: {error.strerror}; give another folder") from error
        with atomic_write(mark) as temporary:
            temporary.write_text(text)

    def restore(self) -> dict[str, Any] | None:
        """The last state that was saved, None where there is none."""
        path = self.path / STATE_FILE
        if not path.is_file():
            return None
        with reading(existing_file(path), "the state of a run"):
            return torch.load(path, weights_only=True, map_location="cpu")

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the last state by `state`."""
        with atomic_write(self.path / STATE_FILE) as path:
            torch.save(state, path)

    def cut_log(self, steps: int) -> None:
        """Removes what was logged after the state from which a run resumes."""
        log = self.path / LOG_FILE
        lines = log.read_text().splitlines() if log.is_file() else []
        with atomic_write(log) as path:
            path.write_text("".join(line + "\n" for line in lines[:steps]))

    def log(self, line: dict[str, float]) -> None:
        """Adds the line of one step."""
        with (self.path / LOG_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")
