"""The recipe of a synthetic set, which determines its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from unrender.errors import UserError
from unrender.synth.sources import Sources

GENERATOR = 4
"""Incremented with every change to what a recipe renders: a folder of another generator is not resumed."""

SPLITS = {"train": 0, "test": 1}
"""Every split with its number in the random streams."""

_STILLS_PER_SHARD, _FRAMES_PER_SHARD = 50, 24


@dataclass(frozen=True)
class SynthRecipe:
    """A recipe for a synthetic set. Equal recipes give equal bytes on one machine, whatever the number of workers.

    Attributes:
        clips: number of clips.
        frames: of each clip; 1 makes stills.
        resolution: height and width in pixels.
        seed: of the whole set; each clip is sampled from (seed, split, its index) alone.
        split: "test" has its own seeds, environment maps and texture patterns, which "train" never sees.
        samples: paths a pixel, best a power of two; rooms get `clip.ROOM_SAMPLES` times as many.
        lights: other lights that the same frames are rendered under, beside the clip's own.
        cameras: other cameras that the same frames are seen from, beside the clip's own.
        assets: a folder of meshes to sample objects from, see `Sources`; None for the built-in families.
        hdris: a folder of environment maps to sample lights from; None for the built-in ones.
        normals: a folder of pictures of normals that emboss some surfaces; None for none.
        shard_size: clips a shard; by default 50 stills, or clips of 24 frames together.
    """

    clips: int
    frames: int = 24
    resolution: int = 160
    seed: int = 0
    split: Literal["train", "test"] = "train"
    samples: int = 36
    lights: int = 0
    cameras: int = 0
    assets: Path | None = None
    hdris: Path | None = None
    normals: Path | None = None
    shard_size: int | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("clips", 1),
            ("frames", 1),
            ("resolution", 1),
            ("samples", 1),
            ("shard_size", 1),
            ("lights", 0),
            ("cameras", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"SynthRecipe.{name} is {value}; expected {least} or more")
        if self.split not in SPLITS:
            raise UserError(f"SynthRecipe.split is {self.split!r}; expected 'train' or 'test'")

    @property
    def clips_per_shard(self) -> int:
        """Clips in every shard but the last."""
        return self.shard_size or (_STILLS_PER_SHARD if self.frames == 1 else max(1, _FRAMES_PER_SHARD // self.frames))

    @property
    def starts(self) -> range:
        """The first clip of every shard."""
        return range(0, self.clips, self.clips_per_shard)

    def count(self, start: int) -> int:
        """Clips in the shard that begins at clip `start`."""
        return min(self.clips_per_shard, self.clips - start)


def recipe_facts(recipe: SynthRecipe) -> dict[str, object]:
    """All that determines the bytes of a set: the generator, the recipe, and its files.

    A folder is identified by the names and sizes of its files, not by its path.

    Raises:
        UserError: a folder of assets or lights does not exist, or is empty.
    """
    sources = Sources.of_folders(recipe.assets, recipe.hdris, recipe.normals)
    return (
        {"generator": GENERATOR}
        | asdict(recipe)
        | {
            "assets": _known_by(recipe.assets, sources.assets or tuple(model.path for model in sources.models)),
            "hdris": _known_by(recipe.hdris, sources.lights),
            "normals": _known_by(recipe.normals, sources.normals),
        }
    )


def _known_by(folder: Path | None, files: tuple[Path, ...]) -> str | None:
    if folder is None:
        return None
    listed = "".join(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n" for path in files)
    return f"{len(files)} files, {hashlib.sha256(listed.encode()).hexdigest()[:16]}"
