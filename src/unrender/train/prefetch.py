"""Batches that are drawn while the accelerator works: the same ones, only earlier."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import torch

from unrender.train.data import Batch
from unrender.train.loop import BatchSpec

_LEFT = 2  # of the processors are for the training itself
_MOST = 24


@dataclass
class Prefetch:
    """Draws the batches of a run, on an accelerator by threads, ahead of time.

    A batch follows from its `BatchSpec`, and the seeds of a process are evenly spaced: so what comes next is known, but
    for the first batch of a stage. On a CPU nothing is drawn ahead: whoever draws takes what trains.

    Attributes:
        draw: the batch of a spec.
        ahead: how many batches are drawn before they are asked for; None for as many as there are processors to spare.
    """

    draw: Callable[[BatchSpec], Batch]
    ahead: int | None = None
    _waiting: dict[BatchSpec, Future[Batch]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor | None = None
    _last: int | None = None

    def __call__(self, spec: BatchSpec) -> Batch:
        """The batch of a spec."""
        count = _spare() if self.ahead is None else self.ahead
        if count == 0:
            return self.draw(spec)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(count, "batches")
        found = self._waiting.pop(spec, None)
        stride = 1 if self._last is None else spec.seed - self._last
        self._last = spec.seed
        wanted = [replace(spec, seed=spec.seed + stride * step) for step in range(1, count + 1)] if stride else []
        for old in [one for one in self._waiting if one not in wanted]:
            self._waiting.pop(old).cancel()
        for one in wanted:
            if one not in self._waiting:
                self._waiting[one] = self._pool.submit(self.draw, one)
        return self.draw(spec) if found is None else found.result()


def _spare() -> int:
    if not torch.cuda.is_available():
        return 0
    return max(0, min(_MOST, len(os.sched_getaffinity(0)) - _LEFT))
