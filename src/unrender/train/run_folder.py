"""The folder of a run: its recipe, its log, and the state to resume from. All are valid at any moment."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.leftovers import PREFIX, clean_leftovers
from unrender.files.lock import LOCK_FILE, locked
from unrender.files.paths import existing_file
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
        try:
            if mark.is_file() and _text(mark) != text:
                raise UserError(
                    f"{self.path} holds a run of another recipe ({RECIPE_FILE} differs); "
                    "give another folder or that recipe"
                )
            strange = self.path.is_dir() and any(not _is_ours(path) for path in self.path.iterdir())
            if strange and not mark.is_file():  # in this order: other processes of the run claim it at the same moment
                raise UserError(f"{self.path} is not empty and no recipe began it; give a new folder")
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create {self.path}: {error.strerror}; give another folder") from error
        if not mark.is_file():
            with atomic_write(mark) as temporary:
                temporary.write_text(text, encoding="utf-8")

    @contextmanager
    def held(self) -> Generator[None]:
        """Keeps other runs out while the block runs, and removes what killed ones left unfinished.

        Raises:
            UserError: another run is in the folder.
        """
        with locked(self.path):
            clean_leftovers(self.path)
            yield

    def restore(self) -> dict[str, Any] | None:
        """The last state that was saved, None where there is none.

        Raises:
            UserError: it is damaged.
        """
        path = self.path / STATE_FILE
        if not path.is_file():
            return None
        if not path.stat().st_size:
            raise self.damaged("it cannot be read")
        existing_file(path)
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # of pickle, zip files and torch: there is no end to their kinds
            raise self.damaged("it cannot be read") from error
        if not isinstance(state, dict) or not {"step", "weights", "ema", "optimiser", "scaler"} <= state.keys():
            raise self.damaged("it is no state of a training run")
        return state

    def damaged(self, why: str) -> UserError:
        """The error of a state that no run can go on from."""
        return UserError(f"{self.path / STATE_FILE} is damaged: {why}; delete it, and the same command begins anew")

    def save(self, state: dict[str, Any]) -> None:
        """Replaces the last state by `state`."""
        with atomic_write(self.path / STATE_FILE) as path:
            torch.save(state, path)

    def cut_log(self, steps: int) -> None:
        """Removes what was logged after the state from which a run resumes."""
        log = self.path / LOG_FILE
        lines = _text(log).splitlines() if log.is_file() else []
        with atomic_write(log) as path:
            path.write_text("".join(line + "\n" for line in lines[:steps]), encoding="utf-8")

    def log(self, line: dict[str, float]) -> None:
        """Adds the line of one step."""
        with (self.path / LOG_FILE).open("a") as file:
            file.write(json.dumps(line) + "\n")


def _text(path: Path) -> str:
    """What a file says; of one without a size, as those of the kernel are, which may wait for ever, nothing."""
    return path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size else ""


def _is_ours(path: Path) -> bool:
    """Whether a file of a new run's folder is one that a run has there before its recipe."""
    return path.name == LOCK_FILE or path.name.startswith(PREFIX)
