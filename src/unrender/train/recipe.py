"""The training config that all recipes have: steps, learning rate, precision, checkpoints."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from unrender.errors import UserError

Precision = Literal["auto", "no", "bf16", "fp16"]


@dataclass(frozen=True)
class Stage:
    """A part of a run: its share of the steps, the side of its pictures in pixels, and how many make a batch."""

    share: float
    side: int
    batch: int


@dataclass(frozen=True)
class TrainConfig:
    """The training config of a run.

    Attributes:
        steps: optimiser steps.
        stages: one after the other, coarse first; their shares add up to 1. Small pictures train fastest.
        lr, warmup, final_lr: AdamW's learning rate, warm-up steps, and the factor to which it decays exponentially.
        weight_decay: AdamW's.
        betas: AdamW's; a short training needs a short memory of squared gradients.
        max_grad_norm: the gradient's norm is clipped to it.
        ema_decay: decay of the EMA of the weights, which is saved; 0 saves the last weights.
        accumulate: batches to one optimiser step.
        precision: of the networks; `auto` is bf16 where the machine multiplies it in hardware.
        save_every, validate_every: steps between checkpoints, and between validation pictures (0 for none).
        seed: of weights, pictures, order and noise.
        hours: a time budget; None for none. A run then ends after `steps` or after so many hours of training, whichever
            comes first, however often it was stopped between; learning rate and stages follow the share of either that
            is spent. What such a run learns depends on the machine: only one without a budget ends bit for bit alike.
    """

    steps: int
    stages: tuple[Stage, ...]
    lr: float = 3e-4
    warmup: int = 100
    final_lr: float = 0.05
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    max_grad_norm: float = 1.0
    ema_decay: float = 0.998
    accumulate: int = 1
    precision: Precision = "auto"
    save_every: int = 250
    validate_every: int = 1000
    seed: int = 0
    hours: float | None = None

    def __post_init__(self) -> None:
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise UserError(f"recipe: the shares of its stages add up to {total}; expected 1")
        if self.hours is not None and not self.hours > 0:
            raise UserError(f"recipe: {self.hours} hours; expected more than 0")
        if self.steps < 1 or self.accumulate < 1:
            raise UserError(f"recipe: {self.steps} steps of {self.accumulate} batches; expected 1 or more of each")

    def progress(self, step: int, seconds: float = 0.0) -> float:
        """The share of the run, [0, 1], that is done after `step` steps and so many seconds of training."""
        spent = 0.0 if self.hours is None else seconds / (3600 * self.hours)
        return min(1.0, max(step / self.steps, spent))

    def lr_at(self, step: int, seconds: float = 0.0) -> float:
        """Linear warm-up, then exponential decay to `final_lr` of the peak at the last step."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        first = min(self.warmup / self.steps, 1.0)
        decayed = (self.progress(step, seconds) - first) / max(1 / self.steps, 1 - first)
        return self.lr * self.final_lr ** max(decayed, 0.0)

    def stage_at(self, step: int, seconds: float = 0.0) -> Stage:
        """The stage that `step` is in."""
        done, end = self.progress(step, seconds), 0.0
        for stage in self.stages:
            end += stage.share
            if done < end - 1e-9:
                return stage
        return self.stages[-1]


def resolved(recipe: Any) -> str:
    """All fields of a recipe (a dataclass), as the JSON in the run's folder."""
    return json.dumps(dataclasses.asdict(recipe), indent=2, sort_keys=True) + "\n"
