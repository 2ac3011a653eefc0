"""Latents of training frames, encoded once: the autoencoder of a video model does not learn, and takes three times as
long as a small network that does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from unrender.files.atomic import atomic_write
from unrender.train.video_data import VideoBatch

UNWRITTEN = 500
"""Latents that a run that is killed may lose, besides a fifth of all."""


class KeptLatents:
    """What was made of frames before, by frame, in half precision.

    Args:
        path: a file to begin with, and to `write`; None for none.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._rows: dict[str, Tensor] = {}
        self._before = 0
        if path is not None and path.exists():
            self._rows = safetensors.torch.load_file(path)
            self._before = len(self._rows)

    @classmethod
    def of(cls, cache: Path | None, autoencoder: nn.Module) -> KeptLatents:
        """Those that the folder `cache` has of an autoencoder."""
        if cache is None:
            return cls()
        cache.mkdir(parents=True, exist_ok=True)
        told = hashlib.blake2b(digest_size=8)
        for name, value in autoencoder.state_dict().items():
            told.update(name.encode() + value.float().cpu().numpy().tobytes())
        return cls(cache / f"latents-{told.hexdigest()}.safetensors")

    def rows(self, batch: VideoBatch, what: str, make: Callable[[Tensor], Tensor]) -> Tensor:
        """What `make` gives for the frames of a batch, (B x F, ...); of frames that are known, what it gave before.

        Args:
            batch: a frame that has no name (`VideoBatch.names`) is made each time.
            what: is made, in words that are the same for nothing else.
            make: called with the indices of frames.
        """
        everything = torch.arange(len(batch))
        if not batch.names:
            return make(everything)
        keys = [_key(what, name) for name in batch.names]
        new = [i for i, key in enumerate(keys) if key not in self._rows]
        if new:
            for i, row in zip(new, make(everything[new]), strict=True):
                self._rows[keys[i]] = row.detach().half().cpu()
            if len(self._rows) >= 1.25 * self._before + UNWRITTEN:
                self.write()
        return torch.stack([self._rows[key].float() for key in keys]).to(batch.maps["rgb"].device)

    def write(self) -> None:
        """Writes what is new, where there is a file."""
        if self._path is not None and len(self._rows) > self._before:
            with atomic_write(self._path) as temporary:
                safetensors.torch.save_file(self._rows, temporary)
            self._before = len(self._rows)


def _key(what: str, name: str) -> str:
    return f"{hashlib.blake2b(what.encode(), digest_size=6).hexdigest()} {name}"
