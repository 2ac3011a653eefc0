"""Captioned stills: pictures with the words for them, read out of shards once and kept in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.leftovers import clean_leftovers
from unrender.files.shards import Clip, read_clips
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.resize import resize_picture
from unrender.synth.captions import SceneWords, ThingWords, scene_words

SIDE = 128
"""Pixels a side of the pictures, whatever the shards have."""


@dataclass(frozen=True)
class CaptionedStills:
    """N square pictures and the words for each, in memory.

    Attributes:
        pictures: (N, 3, S, S) uint8 sRGB codes, the middle square of each still.
        words: of each.
    """

    pictures: Tensor
    words: tuple[SceneWords, ...]

    def __len__(self) -> int:
        return len(self.words)

    def part(self, start: int, end: int | None = None) -> CaptionedStills:
        """The stills from `start` to `end`."""
        return CaptionedStills(self.pictures[start:end], self.words[start:end])

    def shown(self, index: Tensor, side: int | None = None) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1], sRGB, float32; S is `side`, their own by default."""
        codes = self.pictures[index].float() / 255
        if side not in (None, codes.shape[-1]):
            codes = linear_to_srgb(resize_picture(srgb_to_linear(codes), (side, side)))
        return codes * 2 - 1


def load_captioned(folders: Sequence[Path], cache: Path | None = None, side: int = SIDE) -> CaptionedStills:
    """Every frame of the shards in `folders`, under each of its lights; from the folder `cache`, where they were kept
    for the same shards.

    Raises:
        UserError: a folder has no shards, a shard is damaged, or its clips have no instances to name.
    """
    if cache is None:
        return _gathered((clip for folder in folders for clip in read_clips(folder)), side)
    cache.mkdir(parents=True, exist_ok=True)
    clean_leftovers(cache)
    path = cache / f"captioned-{shards_key(folders, f'captioned {side}')}.safetensors"
    if not path.exists():
        stills = _gathered((clip for folder in folders for clip in read_clips(folder)), side)
        with atomic_write(path) as temporary:
            words = json.dumps([asdict(one) for one in stills.words])
            safetensors.torch.save_file({"pictures": stills.pictures}, temporary, {"words": words})
    return _kept(path)


def hold_out_captioned(stills: CaptionedStills, count: int = 24) -> tuple[CaptionedStills, CaptionedStills]:
    """The last few stills for validation, and the others for training; of a handful, all serve both."""
    if len(stills) <= 2 * count:
        return stills, stills
    return stills.part(len(stills) - count), stills.part(0, len(stills) - count)


def _gathered(clips: Iterable[Clip], side: int = SIDE) -> CaptionedStills:
    pictures, words = [], []
    for picture, said in (one for clip in clips for one in _stills(clip, side)):
        pictures.append(picture)
        words.append(said)
    if not pictures:
        raise UserError("no captioned pictures; give a folder that `unrender synth` has written")
    return CaptionedStills(torch.stack(pictures), tuple(words))


def _stills(clip: Clip, side: int) -> Iterator[tuple[Tensor, SceneWords]]:
    for frame in range(len(clip.gbuffer)):
        own = clip.gbuffer.frame(frame).maps["rgb"]
        lit = [own, *(light.rgb[frame : frame + 1] for light in clip.lights)]
        for rgb, words in zip(lit, scene_words(clip, frame), strict=True):
            yield _codes(rgb, side), words


def _codes(rgb: Tensor, side: int) -> Tensor:
    """The middle square of a linear picture (1, 3, H, W), resized in linear light, as sRGB codes (3, side, side)."""
    height, width = rgb.shape[2:]
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    square = rgb[:, :, top : top + shorter, left : left + shorter].clamp(0, 1)
    return (linear_to_srgb(resize_picture(square, (side, side)).clamp(0, 1))[0] * 255).round().byte()


def _kept(path: Path) -> CaptionedStills:
    with safe_open(path, framework="pt") as file:
        words = json.loads(file.metadata()["words"])
        return CaptionedStills(file.get_tensor("pictures"), tuple(_words(one) for one in words))


def _words(facts: dict[str, Any]) -> SceneWords:
    def things(name: str) -> tuple[ThingWords, ...]:
        return tuple(ThingWords(one["noun"], one["color"], tuple(one["material"]), one["share"]) for one in facts[name])

    return SceneWords(things("things"), things("scenery"), facts["light"])


def shards_key(data: Sequence[Path], kind: str) -> str:
    """What stands for something that was made of the shards in `data`: names, sizes and times of their files."""
    files = [file for folder in data for file in sorted(folder.resolve().glob("*.tar"))]
    conditions = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([kind, conditions]).encode()).hexdigest()[:16]
