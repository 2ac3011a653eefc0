"""Training stills in 8 bits on disk, one file for each shard, read still by still: a set may be larger than memory, and
may grow from one start of a run to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from unrender.diffusion.card import LightTokens, RadianceHint
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.leftovers import clean_leftovers
from unrender.files.paths import existing_file
from unrender.files.reading import reading
from unrender.files.shards import Clip, read_shard, shard_files
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.encoding import MINI
from unrender.scene.gbuffer import CHANNELS
from unrender.train.data import (
    Lit,
    StillDataset,
    lit_frames,
    load_lit_still_dataset,
    load_still_dataset,
)

VERSION = 1
"""Version of the packed tensors; files of another version are packed anew."""

BRIGHTEST = 4.0
"""Radiance of an exposed picture is kept up to this: cameras clip at 1, and exposure is augmented by less than two
stops."""

_LIT = {"lit.radiance_hint": "radiance_hint", "lit.rgb": "rgb"}
_RADIANCE = ("rgb", *_LIT)
_PER_LIGHT = ("rgb", "irradiance", *_LIT, "lit.picture")


@dataclass(frozen=True)
class PackedStills:
    """Ground truth of N worlds of one size; a still is a world under one of its lights, which is drawn when it is
    taken. Takes a `StillDataset`'s place in training.

    Attributes:
        files: one for each shard.
        ends: after how many worlds each file ends.
        start, stop: the part of all worlds that this set is.
        known: by name, (N,) which worlds have the map.
        lit: whether the light conditioning is there.
    """

    files: tuple[Path, ...]
    ends: tuple[int, ...]
    start: int
    stop: int
    known: dict[str, Tensor]
    lit: bool

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def encoding(self) -> object:
        """How the lights of the light conditioning are encoded; None without lights."""
        return MINI if self.lit else None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every still."""
        with safe_open(self.files[0], framework="pt") as file:
            height, width = file.get_slice("mask").get_shape()[-2:]
        return height, width

    def part(self, start: int, end: int | None = None) -> PackedStills:
        """The worlds from `start` to `end`."""
        stop = self.stop if end is None else min(self.stop, self.start + end)
        known = {name: values[start:end] for name, values in self.known.items()}
        return replace(self, start=self.start + start, stop=stop, known=known)

    @torch.autocast("cpu", enabled=False)  # which stacks no whole numbers
    def take(self, index: Tensor, generator: torch.Generator | None) -> tuple[dict[str, Tensor], Lit | None]:
        """The maps (B, C, H, W) by name, float32, and the light conditioning of the worlds `index` (B,), each under a
        random light; under its own where there is no generator."""
        rows = [self._row(int(i), generator) for i in index]
        stacked = {}
        for name in {name: None for row in rows for name in row}:
            there = next(row[name] for row in rows if name in row)
            # Sets of an older generator lack some maps.
            stacked[name] = _decoded(name, torch.stack([row.get(name, torch.zeros_like(there)) for row in rows]))
        maps = {name: values for name, values in stacked.items() if not name.startswith("lit.")}
        if not self.lit:
            return maps, None
        return maps, Lit(stacked["lit.radiance_hint"], stacked["lit.rgb"], stacked["lit.picture"])

    def in_memory(self) -> StillDataset:
        """Every world under its own light, in memory."""
        maps, lit = self.take(torch.arange(len(self)), None)
        half = {name: values.half() for name, values in maps.items()}
        kept = lit and replace(lit, radiance_hint=lit.radiance_hint.half(), rgb=lit.rgb.half())
        return StillDataset(half, dict(self.known), kept)

    def _row(self, index: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """One still as it is stored."""
        place = self.start + index
        number = next(i for i, end in enumerate(self.ends) if place < end)
        place -= self.ends[number - 1] if number else 0
        file = _opened(self.files[number])
        lights = file.get_slice("rgb").get_shape()[1]
        light = 0 if generator is None else int(torch.randint(lights, (), generator=generator))
        row = {}
        for name in (name for name in file.keys() if not name.startswith("known.")):  # noqa: SIM118 (not a dict)
            stored = file.get_slice(name)[place : place + 1]
            row[name] = stored[0, light] if name in _PER_LIGHT else stored[0]
        return row


@cache
def _opened(path: Path) -> safe_open:
    return safe_open(path, framework="pt")


def packed(
    folder: Path, data: Sequence[Path], lights: LightTokens | None, hint: RadianceHint = "split_sum"
) -> PackedStills:
    """The stills of every shard in the folders `data`, packed in `folder` where they were packed before; with the light
    conditioning for `lights`, where that is given, and a first render of the quality `hint`. A folder of packed files
    in place of shards is taken as it is.

    Raises:
        UserError: there are no shards, one is damaged, they are of several sizes, or the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clean_leftovers(folder)
    kind = "unlit" if lights is None else f"lit {lights.size} {hint}"
    files = [path for one in data for path in _packed_before(one)]
    for shard in (shard for one in data if not _packed_before(one) for shard in shard_files(one)):
        path = folder / f"stills-{_key(shard, kind)}.safetensors"
        if not path.exists():
            with atomic_write(path) as temporary:
                safetensors.torch.save_file(_packed_shard(read_shard(shard), lights, hint), temporary)
        files.append(path)
    return open_packed(files)


def are_packed(folders: Sequence[Path]) -> bool:
    """Whether every folder has packed files in place of shards."""
    return all(_packed_before(folder) for folder in folders)


def _packed_before(folder: Path) -> list[Path]:
    return [] if any(folder.glob("*.tar")) else sorted(folder.glob("stills-*.safetensors"))


def open_packed(files: Sequence[Path]) -> PackedStills:
    """The stills of packed files.

    Raises:
        UserError: a file is damaged, or they are of several sizes, or some have lights and some have none.
    """
    known: dict[str, list[Tensor]] = {}
    ends, kinds = [0], set()
    for path in files:
        with reading(existing_file(path), "packed stills; delete it, and it is packed anew"):
            flags, kind = _checked(path)
        kinds.add(kind)
        count = len(next(iter(flags.values())))
        for name in {*known, *(name.removeprefix("known.") for name in flags)}:
            before = known.setdefault(name, [torch.zeros(ends[-1], dtype=torch.bool)])
            before.append(flags.get(f"known.{name}", torch.zeros(count, dtype=torch.bool)))
        ends.append(ends[-1] + count)
    if len(kinds) != 1:
        raise UserError(f"packed stills of {len(kinds)} kinds; expected one: give folders of the same resolution")
    joined = {name: torch.cat(flags) for name, flags in known.items()}
    return PackedStills(tuple(files), tuple(ends[1:]), 0, ends[-1], joined, next(iter(kinds))[2])


def _checked(path: Path) -> tuple[dict[str, Tensor], tuple[int, int, bool]]:
    """Which worlds of a file have which map, and the kind of its stills: height, width, whether they have lights."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        flags = {name: file.get_tensor(name) for name in names if name.startswith("known.")}
        shapes = {name: file.get_slice(name).get_shape() for name in names - flags.keys()}
    *_, height, width = shapes["mask"]
    lit = "lit.picture" in names
    channels = {**CHANNELS, **dict.fromkeys(_LIT, 3)}
    missing = {"rgb", *_LIT} - names if lit else {"rgb"} - names
    if missing or len({len(values) for values in flags.values()}) != 1:
        raise UserError(f"{path} lacks {', '.join(sorted(missing)) or 'what is known of its worlds'}; delete it")
    worlds = len(flags["known.rgb"])
    for name, shape in shapes.items():
        lights = 1 if name in _PER_LIGHT else 0
        per_still = shape[1 + lights :] if name == "lit.picture" else [channels.get(name), height, width]
        if len(shape) != 4 + lights or shape[0] != worlds or shape[1 + lights :] != per_still or 0 in shape:
            raise UserError(f"{path}: {name[:40]} has shape {shape}; delete it, and it is packed anew")
    return flags, (height, width, lit)


def _packed_shard(clips: Iterable[Clip], lights: LightTokens | None, hint: RadianceHint) -> dict[str, Tensor]:
    """The coded tensors of a shard: (worlds, C, H, W), or (worlds, lights, C, H, W) of what the light changes."""
    worlds: list[dict[str, Tensor]] = []
    maps: dict[str, Tensor] = {}
    for clip in clips:
        frames = list(lit_frames(clip))
        count = len(clip.gbuffer)
        if lights is None:
            stills = load_still_dataset(gbuffer for gbuffer, _ in frames)
        else:
            stills = load_lit_still_dataset(frames, lights, hint)
        tensors = {name: values for name, values in stills.maps.items() if bool(stills.known[name].any())}
        if stills.lit is not None:
            tensors |= {name: getattr(stills.lit, attribute) for name, attribute in _LIT.items()}
            tensors["lit.picture"] = stills.lit.picture
        # The frames under the clip's own light come first, light by light of each frame: a world is one frame.
        for frame in range(count):
            rows = slice(frame * len(frames) // count, (frame + 1) * len(frames) // count)
            world = {name: values[rows] if name in _PER_LIGHT else values[rows][0] for name, values in tensors.items()}
            known = {f"known.{name}": flags[rows][0] for name, flags in stills.known.items()}
            worlds.append({name: _coded(name, values) for name, values in world.items()} | known)
            maps |= worlds[-1]
    if not worlds:
        raise UserError("a shard without clips; delete it and run the same `unrender synth` again")
    return {
        name: torch.stack([world.get(name, torch.zeros_like(like)) for world in worlds]) for name, like in maps.items()
    }


def _key(shard: Path, kind: str) -> str:
    stat = shard.stat()
    conditions = [VERSION, kind, str(shard.resolve()), stat.st_size, stat.st_mtime_ns]
    return hashlib.sha256(json.dumps(conditions).encode()).hexdigest()[:16]


def _coded(name: str, values: Tensor) -> Tensor:
    """A map as it is stored: colours and radiance in 8 bits on a display's curve, normals in 8 bits with an exact zero,
    shares in 8 bits, depth and pictures of lights in half precision."""
    if name in ("depth", "lit.picture"):
        return values.half()
    if name == "normal":
        return ((values.float() * 127).round() + 128).clamp(0, 255).byte()
    unit = (values.float() / (BRIGHTEST if name in _RADIANCE else 1.0)).clamp(0, 1)
    return ((linear_to_srgb(unit) if name in _curved() else unit) * 255).round().byte()


def _decoded(name: str, stored: Tensor) -> Tensor:
    """(B, C, H, W) as stored to float32."""
    if name in ("depth", "lit.picture"):
        if not bool(stored.isfinite().all()):
            raise UserError(f"packed stills have a {name} that is not finite; delete them, and they are packed anew")
        return stored.float()
    if name == "normal":
        return torch.nn.functional.normalize(stored.float() - 128, dim=1)
    if name in _curved():
        return _table(BRIGHTEST if name in _RADIANCE else 1.0)[stored.int()]
    return stored.float() / 255


def _curved() -> tuple[str, ...]:
    return (*_RADIANCE, "base_color", "irradiance")


@cache
def _table(top: float) -> Tensor:
    """The linear value of each of 256 codes."""
    return srgb_to_linear(torch.arange(256) / 255) * top
