"""Clips in memory for video models, and random windows of them that depend on nothing but a seed. A still is a clip of
one frame: what is known of single frames alone trains a video model too (DiffusionRenderer, Liang et al. 2025, section
4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.diffusion.codec import PERCENTILE, relative_depth
from unrender.errors import UserError
from unrender.files.shards import Clip
from unrender.scene.encoding import EnvironmentEncoding, encode, mirror_encoded
from unrender.scene.environment import EnvironmentMap
from unrender.scene.tone import percentile_gain
from unrender.train.augmentation import crop, mirror
from unrender.train.data import EXTRAS, TARGETS, StillDataset
from unrender.train.loop import BatchSpec

MAPS = ("rgb", *TARGETS, "diffuse_albedo")
LIGHT_SIZE = (128, 256)
"""(height, width) that lights are kept at; larger ones are brought down, with all of their energy."""


@dataclass(frozen=True)
class VideoLight:
    """The light of a clip, exposed as its rgb is.

    Attributes:
        radiance: (1, 3, h, w) as in the first frame.
        yaw: degrees that it has turned by, (T,).
        rotations: (T, 3, 3) camera-to-world.
    """

    radiance: Tensor
    yaw: Tensor
    rotations: Tensor


@dataclass(frozen=True)
class VideoClip:
    """One clip of ground truth, in half precision.

    Attributes:
        maps: by name, (T, 1 or 3, H, W): `rgb`, linear, with one exposure for the clip; those maps that are known;
            depth relative, with one scale and shift for the clip.
        light: None where nobody knows it.
        name: the same for no other clip; "" for none.
        first: which frame of the clip of that name the first one is.
    """

    maps: dict[str, Tensor]
    light: VideoLight | None = None
    name: str = ""
    first: int = 0

    def __len__(self) -> int:
        return len(self.maps["rgb"])


@dataclass(frozen=True)
class VideoBatch:
    """Windows of B clips, F frames each, one after the other.

    Attributes:
        maps: by name, (B x F, 1 or 3, H, W); 0 where a map is not known.
        known: by name, (B x F,) whether it is.
        frames: F.
        lights: of the B clips, those frames of them.
        flipped: (B,) which are mirrored left to right; their lights are mirrored as they are encoded.
        names: of the frames, the same for no other picture; () where they were cut at random.
    """

    maps: dict[str, Tensor]
    known: dict[str, Tensor]
    frames: int
    lights: tuple[VideoLight | None, ...]
    flipped: Tensor
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.maps["rgb"])

    def to(self, device: torch.device) -> VideoBatch:
        """The same on a device; lights stay where they are encoded."""
        maps = {name: values.to(device) for name, values in self.maps.items()}
        return replace(self, maps=maps, known={name: values.to(device) for name, values in self.known.items()})

    def pictures_of_lights(self, encoding: EnvironmentEncoding, size: tuple[int, int]) -> Tensor:
        """(B x F, 3 x pictures, *size) what the network is shown of every frame's light.

        Raises:
            UserError: a light is not known.
        """
        found = []
        for light, flip in zip(self.lights, self.flipped.tolist(), strict=True):
            if light is None:
                raise UserError("a clip has no light; a network that is shown lights learns from clips that have one")
            environment = EnvironmentMap(light.radiance.float())
            picture = encode(environment, encoding, size, light.rotations, yaw=light.yaw).picture
            picture = picture.expand(self.frames, -1, -1, -1)
            found.append(mirror_encoded(picture, encoding) if flip else picture)
        return torch.cat(found)


def load_video_clips(clips: Iterable[Clip]) -> list[VideoClip]:
    """Rendered clips, each under its own light and then under its others.

    Raises:
        UserError: there are none, or one has no rgb.
    """
    found = [one for clip in clips for one in _with_lights(clip)]
    if not found:
        raise UserError("no training clips; give a folder that `unrender synth` has written")
    return found


def clips_of_stills(stills: StillDataset) -> list[VideoClip]:
    """Every still as a clip of one frame, with the maps that are known of it."""
    names = [name for name in stills.maps if name in MAPS]
    return [
        _named(VideoClip({name: stills.maps[name][i : i + 1] for name in names if bool(stills.known[name][i])}))
        for i in range(len(stills))
    ]


def sample_windows(
    clips: Sequence[VideoClip], frames: int, spec: BatchSpec, stills: float = 0.5, *, whole: bool = False
) -> VideoBatch:
    """The random windows of `spec`: of clips, all of the same number of frames, mirrored at random, with one crop.

    Args:
        frames: of a window; fewer where the clips are shorter.
        stills: where there are clips of one frame and longer ones, how often a batch is of those of one frame; it has
            as many frames as any other then.
        whole: their centre squares instead of random crops.
    """
    generator = spec.generator(0)
    long, single = [one for one in clips if len(one) > 1], [one for one in clips if len(one) == 1]
    among = single if single and (not long or float(torch.rand((), generator=generator)) < stills) else long
    count = spec.count * frames if among is single and long else spec.count
    chosen = [among[i] for i in torch.randint(len(among), (count,), generator=generator).tolist()]
    length = min(frames, *(len(clip) for clip in among))
    starts = [int(torch.randint(len(clip) - length + 1, (), generator=generator)) for clip in chosen]
    windows = [_part(clip, start, start + length) for clip, start in zip(chosen, starts, strict=True)]
    flipped = torch.rand(count, generator=generator) < 0.5
    return _batch(windows, flipped, spec.side, None if whole else generator)


def first_windows(clips: Sequence[VideoClip], frames: int, side: int) -> VideoBatch:
    """The first frames of every clip, in their centre square, not mirrored: for validation."""
    length = min(frames, *(len(clip) for clip in clips))
    return _batch([_part(clip, 0, length) for clip in clips], torch.zeros(len(clips), dtype=torch.bool), side, None)


def _batch(windows: Sequence[VideoClip], flipped: Tensor, side: int, generator: torch.Generator | None) -> VideoBatch:
    frames = len(windows[0])
    names = [name for name in MAPS if any(name in window.maps for window in windows)]
    size = {window.maps["rgb"].shape[2:] for window in windows}
    if len(size) > 1:
        raise UserError("training clips of several sizes; expected one: give folders of the same resolution")
    maps = {name: torch.cat([_known_or_zeros(window, name) for window in windows]) for name in names}
    known = {
        name: torch.tensor([name in window.maps for window in windows]).repeat_interleave(frames) for name in names
    }
    maps = crop(mirror(maps, flipped.repeat_interleave(frames)), side, generator)
    named = generator is None and all(window.name for window in windows)
    names = [_frame_names(window, bool(flip), side) for window, flip in zip(windows, flipped, strict=True) if named]
    lights = tuple(window.light for window in windows)
    return VideoBatch(maps, known, frames, lights, flipped, tuple(name for window in names for name in window))


def _frame_names(window: VideoClip, flipped: bool, side: int) -> list[str]:
    mirrored = " mirrored" if flipped else ""
    return [f"{window.name} {window.first + index}{mirrored} {side}" for index in range(len(window))]


def _named(clip: VideoClip) -> VideoClip:
    """The clip by the name of what is in it."""
    told = hashlib.blake2b(digest_size=12)
    for name, values in clip.maps.items():
        told.update(name.encode() + values.contiguous().numpy().tobytes())
    return replace(clip, name=told.hexdigest())


def _known_or_zeros(window: VideoClip, name: str) -> Tensor:
    rgb = window.maps["rgb"]
    channels = 3 if name in ("rgb", "base_color", "normal", "diffuse_albedo") else 1
    return window.maps.get(name, rgb.new_zeros(len(rgb), channels, *rgb.shape[2:])).float()


def _part(clip: VideoClip, start: int, stop: int) -> VideoClip:
    light = clip.light
    if light is not None:
        light = VideoLight(light.radiance, light.yaw[start:stop], light.rotations[start:stop])
    maps = {name: values[start:stop] for name, values in clip.maps.items()}
    return replace(clip, maps=maps, light=light, first=clip.first + start)


def _with_lights(clip: Clip) -> Iterable[VideoClip]:
    gbuffer = clip.gbuffer
    gbuffer.require("rgb", by="training")
    maps = {name: values for name, values in gbuffer.maps.items() if name in MAPS and name not in EXTRAS}
    if "depth" in maps:
        there = maps.get("mask", torch.ones_like(maps["depth"]))
        maps["depth"] = _clip_depth(maps["depth"], there)
    count = len(gbuffer)
    rotations = gbuffer.camera_or_default().pose[:, :3, :3].expand(count, 3, 3)
    yaw = torch.tensor(clip.yaw) if clip.yaw else torch.zeros(count)
    kept = {name: values.half() for name, values in maps.items() if name != "rgb"}
    for light, rgb in [(clip.light, maps["rgb"]), *((other.light, other.rgb) for other in clip.lights)]:
        gain = percentile_gain(_as_one(rgb), *PERCENTILE)
        height, width = (min(have, most) for have, most in zip(light.size, LIGHT_SIZE, strict=True))
        shown = VideoLight(_halved(light.resized((height, width)).radiance * gain), yaw, rotations)
        yield _named(VideoClip(kept | {"rgb": _halved(rgb * gain)}, shown))


def _clip_depth(depth: Tensor, there: Tensor) -> Tensor:
    """Relative depth with the percentiles of the whole clip."""
    return relative_depth(_as_one(depth), _as_one(there)).reshape(1, len(depth), *depth.shape[2:]).movedim(0, 1)


def _as_one(values: Tensor) -> Tensor:
    """(T, C, H, W) to one picture (1, C, T x H, W)."""
    return values.movedim(0, 1).flatten(1, 2)[None]


def _halved(values: Tensor) -> Tensor:
    """In half precision; what is beyond it, a sun, is its largest number."""
    return values.clamp(max=torch.finfo(torch.half).max).half()
