"""Pictures under known lights, with what a model makes of them: what the network that guesses lights learns from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from unrender.diffusion.checkpoints.fingerprint import weights_hash
from unrender.diffusion.networks.light import LIGHT_SIZE
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.leftovers import clean_leftovers
from unrender.files.shards import Clip, read_clips
from unrender.inverse.renderer import InverseRenderer
from unrender.relight.light_guess import GREY, displayed, surfaces
from unrender.relight.surface import soft_surface
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.train.captioned import shards_key

VIEWS = 3
"""Other cameras of a clip that are used, at most."""

STOPS = 0.7
"""Exposures vary by so much either way about a middle grey."""


@dataclass(frozen=True)
class LightExamples:
    """N pictures of 64 pixels a side, on the CPU, float16.

    Attributes:
        rgb: (N, 3, S, S) linear display values in [0, 1].
        base_color, normal, mask: (N, 3 or 1, S, S), a model's answer.
        light: (N, 3, 8, 16) radiance in the picture's units, as its camera sees it.
    """

    rgb: Tensor
    base_color: Tensor
    normal: Tensor
    mask: Tensor
    light: Tensor

    def __len__(self) -> int:
        return len(self.rgb)

    def take(self, index: Tensor) -> LightExamples:
        """Those of `index` (B,), float32."""
        return LightExamples(*(values[index].float() for values in vars(self).values()))


def load_light_examples(folders: Sequence[Path], inverse: InverseRenderer, cache: Path | None = None) -> LightExamples:
    """Every picture of the shards in `folders` (the first frame, the last one under each other light, and some of the
    other cameras), taken apart by `inverse`; from the folder `cache`, where they were kept for the same shards.

    Raises:
        UserError: a folder has no shards, or a shard is damaged.
    """
    path = None
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        clean_leftovers(cache)
        weights = weights_hash(inverse.card, inverse.engine.checkpoint.home)
        path = cache / f"light-{shards_key(folders, f'light {weights}')}.safetensors"
        if path.exists():
            return LightExamples(**safetensors.torch.load_file(path))
    examples = _gathered((clip for folder in folders for clip in read_clips(folder)), inverse)
    if path is not None:
        with atomic_write(path) as temporary:
            safetensors.torch.save_file(
                {name: values.contiguous() for name, values in vars(examples).items()}, temporary
            )
    return examples


def hold_out_lights(examples: LightExamples) -> tuple[LightExamples, LightExamples]:
    """The last twelfth for validation, and the others for training; of a handful, all serve both."""
    count = len(examples) // 12
    if not count:
        return examples, examples
    parts = (range(len(examples) - count, len(examples)), range(len(examples) - count))
    held, rest = (
        LightExamples(*(values[part.start : part.stop] for values in vars(examples).values())) for part in parts
    )
    return held, rest


def _gathered(clips: Iterable[Clip], inverse: InverseRenderer) -> LightExamples:
    rows = []
    for number, (rgb, light) in enumerate(pair for clip in clips for pair in _lit_pictures(clip)):
        if not (bool(rgb.isfinite().all()) and float(rgb.mean()) > 1e-4):
            continue
        gain = _gain(rgb, number)
        photo = Frames((rgb * gain).clamp(0, 1))
        maps, _ = soft_surface(photo, inverse(photo, ("base_color", "normal")))
        radiance = light.resized(LIGHT_SIZE).radiance * gain
        rows.append((displayed(photo.rgb, hdr=False)[0], *surfaces(maps), radiance))
    if not rows:
        raise UserError("no pictures under known lights; give a folder that `unrender synth` has written")
    return LightExamples(*(torch.cat(values).clamp(max=6e4).half() for values in zip(*rows, strict=True)))


def _lit_pictures(clip: Clip) -> Iterator[tuple[Tensor, EnvironmentMap]]:
    """Pictures (1, 3, H, W) linear, and the light of each as its camera sees it."""
    frames, camera = clip.gbuffer, clip.gbuffer.camera_or_default()

    def seen(light: EnvironmentMap, pose: Tensor) -> EnvironmentMap:
        return light.transformed(pose[:3, :3].T)

    yield frames.maps["rgb"][:1], seen(clip.light_of(0), camera.pose[0])
    for number, lit in enumerate(clip.lights, start=1):
        yield lit.rgb[-1:], seen(clip.light_of(len(frames) - 1, number), camera.pose[-1])
    for view in clip.views[:VIEWS]:
        yield view.maps["rgb"][:1], seen(clip.light_of(0), view.camera_or_default().pose[0])


def _gain(rgb: Tensor, number: int) -> float:
    """What exposes a picture for display: its logarithmic mean to a middle grey, its bright parts not far above 1, and
    a random part of that."""
    bright = luminance(rgb)
    gain = GREY / float(bright.clamp(min=1e-4).log().mean().exp())
    gain = min(gain, 1.35 / (float(torch.quantile(bright.flatten(), 0.9)) + 1e-6))
    generator = torch.Generator().manual_seed(number)
    return gain * 2.0 ** float(STOPS * (2 * torch.rand((), generator=generator) - 1))
