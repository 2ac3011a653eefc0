"""A cache of training stills in one file: reading shards and rendering radiance hints takes minutes, this seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors.torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.leftovers import clean_leftovers
from unrender.files.paths import existing_file
from unrender.files.reading import reading
from unrender.scene.encoding import MINI
from unrender.train.data import LIT_TENSORS, Lit, StillDataset

VERSION = 2
"""Version of the cached tensors; files of another version are rebuilt."""


def prepared(cache: Path, data: Sequence[Path], kind: str, gather: Callable[[], StillDataset]) -> StillDataset:
    """The stills of `gather`, from the folder `cache` where they were cached for the same shards.

    Args:
        data: the folders of shards; identified by their files' names, sizes and times.
        kind: of the stills, such as "lit 16x32".
    """
    cache.mkdir(parents=True, exist_ok=True)
    clean_leftovers(cache)
    path = cache / f"stills-{shards_key(data, kind)}.safetensors"
    if not path.exists():
        with atomic_write(path) as temporary:
            safetensors.torch.save_file(_tensors(gather()), temporary)
    with reading(existing_file(path), "cached stills; delete it, and it is made anew"):
        try:
            return _stills(safetensors.torch.load_file(path))
        except UserError as error:
            raise UserError(f"{path} is damaged: {error}; delete it, and it is made anew") from error


def shards_key(data: Sequence[Path], kind: str) -> str:
    """What stands for something that was made of the shards in `data`: names, sizes and times of their files."""
    files = [file for folder in data for file in sorted(folder.resolve().glob("*.tar"))]
    conditions = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([VERSION, kind, conditions]).encode()).hexdigest()[:16]


def _tensors(stills: StillDataset) -> dict[str, Tensor]:
    tensors = {f"maps.{name}": values for name, values in stills.maps.items()}
    tensors |= {f"known.{name}": values for name, values in stills.known.items()}
    if stills.lit is not None:
        if stills.lit.encoding != MINI:
            raise UserError("only lights in the encoding of the small networks are cached; train without --cache")
        tensors |= {f"lit.{name}": getattr(stills.lit, name) for name in LIT_TENSORS}
    return {name: values.contiguous() for name, values in tensors.items()}


def _stills(tensors: dict[str, Tensor]) -> StillDataset:
    def of(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    if not all(values.isfinite().all() for values in tensors.values()):
        raise UserError("values that are not finite")
    lit = of("lit.")
    return StillDataset(
        of("maps."), of("known."), Lit(lit["radiance_hint"], lit["rgb"], lit["picture"]) if lit else None
    )
