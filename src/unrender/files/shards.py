"""Clips with complete ground truth in WebDataset shards: tar files of multi-layer EXR, environment maps and JSON.

A clip of key `000012` is, where it has them,

    000012.gbuffer.0000.exr    every map of frame 0, rgb among them
    000012.light.exr           the light of rgb, as in the first frame
    000012.light-3.exr         another light, the third, on the scale of its own rgb
    000012.rgb-3.0000.exr      rgb and irradiance of frame 0 under it
    000012.view-2.0000.exr     every map of frame 0, seen by the second other camera
    000012.json                cameras, caption, names of things and lights, the light's turn, seed

docs/shards.md has the names of the layers. Bytes depend on nothing but the clips: no times, no user names.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR  # ty: ignore[import-not-found]  # compiled, without type stubs
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.exr import read_channels
from unrender.files.leftovers import remove, removed_on_signal, unfinished_name
from unrender.files.paths import existing_file
from unrender.files.radiance import HALF_MAX
from unrender.files.reading import brief, reading
from unrender.files.views import mapping, require_sound, side
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import CHANNELS, DepthKind, GBuffer, concatenate

_AGAIN = "delete it and run the same `unrender synth` again"
_FLOAT_MAPS = ("normal", "depth")  # geometry needs 32 bits; 16 are enough for colours and materials
_LETTERS = {"normal": "XYZ", "depth": "Z", "mask": "A"}


@dataclass(frozen=True)
class LitClip:
    """The frames of a clip under another light.

    Attributes:
        light: (1, 3, H, W) radiance, on the scale of this rgb; it turns as the clip's own light does.
        rgb: (T, 3, H, W) linear.
        irradiance: (T, 3, H, W) linear diffuse irradiance on the scale of this rgb, not divided by pi.
    """

    light: EnvironmentMap
    rgb: Tensor
    irradiance: Tensor


@dataclass(frozen=True)
class Clip:
    """A rendered clip with complete ground truth.

    Attributes:
        gbuffer: maps (T, C, H, W), rgb among them, and the camera; a still has T = 1. In its map `instance`, n stands
            for `things[n - 1]`.
        light: the radiance (1, 3, H, W) of its light, as in the first frame, on the scale of rgb.
        caption: a text description.
        seed: its index in the set, which with the set's recipe reproduces it.
        yaw: degrees that the light has turned by in each of T frames; () where it stands still.
        things: names of the objects, "" for unnamed scenery.
        lights: the same frames under other lights.
        views: the same frames, maps and all, from other cameras, under the clip's own light.
        replaced: how many attempts the quality gate rejected before this one.
    """

    gbuffer: GBuffer
    light: EnvironmentMap
    caption: str
    seed: int
    yaw: tuple[float, ...] = ()
    things: tuple[str, ...] = ()
    lights: tuple[LitClip, ...] = ()
    views: tuple[GBuffer, ...] = ()
    replaced: int = 0

    def light_of(self, frame: int, other: int = 0) -> EnvironmentMap:
        """The light (1, 3, H, W) of one frame: the clip's own, or that of `lights[other - 1]`."""
        light = self.lights[other - 1].light if other else self.light
        return light.rotated(self.yaw[frame]) if self.yaw else light


def write_shard(path: Path, clips: Iterable[tuple[str, Clip]]) -> None:
    """Writes (key, clip) pairs to a tar at `path`, atomically.

    A killed run leaves an unfinished file behind (see `leftovers`), which is not taken for a shard.
    """
    temporary = path.with_name(unfinished_name(".partial"))
    try:
        with (
            removed_on_signal(lambda: remove(temporary)),
            tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for key, clip in clips:
                for name, data in _members(key, clip):
                    info = tarfile.TarInfo(name)
                    info.size, info.mode = len(data), 0o644
                    tar.addfile(info, io.BytesIO(data))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_clips(folder: Path | str, *, others: bool = True) -> Iterator[Clip]:
    """The clips of every shard in `folder`, in order of their names.

    Args:
        folder: of shards.
        others: False skips frames under other lights and from other cameras, unread.

    Raises:
        UserError: the folder has no shards, or one of them is damaged.
    """
    for shard in shard_files(folder):
        yield from read_shard(shard, others=others)


def read_shard(shard: Path, *, others: bool = True) -> Iterator[Clip]:
    """The clips of one shard; see `read_clips`.

    Raises:
        UserError: the shard is damaged.
    """
    members: dict[str, bytes] = {}
    for name, data in _read_members(shard):
        members[name] = data
        if name.endswith(".json"):
            with reading(shard, "a shard of clips"):
                clip = _clip(name.removesuffix(".json"), members, others)
            yield clip
            members = {}


def read_about(shard: Path) -> Iterator[dict[str, Any]]:
    """The JSON of each clip in one shard; pictures stay unread.

    Raises:
        UserError: the shard is damaged.
    """
    for name, data in _read_members(shard, ".json"):
        with reading(shard, "a shard of clips"):
            about = mapping(json.loads(data), f"{shard}: {name}")
        yield about


def shard_files(folder: Path | str) -> list[Path]:
    """The shards of a folder, in order of their names.

    Raises:
        UserError: there are none.
    """
    shards = sorted(Path(folder).glob("*.tar"))
    if not shards:
        raise UserError(f"no shards in {folder}; expected a folder that `unrender synth` wrote")
    return shards


def _read_members(shard: Path, ending: str = "") -> Iterator[tuple[str, bytes]]:
    whole = existing_file(shard).stat().st_size
    try:
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                if not info.isreg() or info.issparse() or info.size > whole:
                    raise UserError(f"{shard} is damaged: {info.name[:80]!r} in it is no plain file; {_AGAIN}")
                file = tar.extractfile(info) if info.name.endswith(ending) else None
                if file is not None:
                    yield info.name, file.read()
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shard} is damaged ({brief(error)}); {_AGAIN}") from error


def _members(key: str, clip: Clip) -> Iterator[tuple[str, bytes]]:
    frames = range(len(clip.gbuffer))
    for frame in frames:
        yield f"{key}.gbuffer.{frame:04d}.exr", _exr_bytes(_layers(clip.gbuffer, frame))
    yield f"{key}.light.exr", _exr_bytes(_channels("rgb", clip.light.radiance[0]))
    for number, lit in enumerate(clip.lights, 1):
        yield f"{key}.light-{number}.exr", _exr_bytes(_channels("rgb", lit.light.radiance[0]))
        for frame in frames:
            layers = _channels("rgb", lit.rgb[frame]) | _channels("irradiance", lit.irradiance[frame])
            yield f"{key}.rgb-{number}.{frame:04d}.exr", _exr_bytes(layers)
    for number, view in enumerate(clip.views, 1):
        for frame in frames:
            yield f"{key}.view-{number}.{frame:04d}.exr", _exr_bytes(_layers(view, frame))
    about = {
        "caption": clip.caption,
        "seed": clip.seed,
        "replaced": clip.replaced,
        "light": clip.light.name,
        "yaw": clip.yaw,
        "lights": [lit.light.name for lit in clip.lights],
        "things": clip.things,
        "depth_kind": clip.gbuffer.depth_kind,
        "fps": clip.gbuffer.fps,
        "camera": _camera_facts(clip.gbuffer.camera),
        "views": [_camera_facts(view.camera) for view in clip.views],
    }
    yield f"{key}.json", json.dumps(about, sort_keys=True).encode()


def _camera_facts(camera: Camera | None) -> dict[str, Any]:
    if camera is None:
        raise UserError("a clip without a camera cannot be written to a shard; expected a G-buffer with a camera")
    return {"intrinsics": camera.intrinsics.tolist(), "pose": camera.pose.tolist(), "size": list(camera.size)}


def _layers(gbuffer: GBuffer, frame: int) -> dict[str, np.ndarray]:
    """Every map of one frame as EXR channels."""
    channels: dict[str, np.ndarray] = {}
    for name, value in gbuffer.maps.items():
        channels |= _channels(name, value[frame])
    return channels


def _channels(name: str, value: Tensor) -> dict[str, np.ndarray]:
    """The map `name` of one frame, (C, H, W), as EXR channels."""
    kind = np.float32 if name in _FLOAT_MAPS else np.float16
    return {
        channel: np.ascontiguousarray(plane.numpy().astype(kind))
        for channel, plane in zip(_channel_names(name), value, strict=True)
    }


@contextmanager
def _scratch() -> Generator[Path]:
    """A folder for one picture: OpenEXR knows files only."""
    with tempfile.TemporaryDirectory() as name, removed_on_signal(lambda: remove(Path(name))):
        yield Path(name)


def _exr_bytes(channels: dict[str, np.ndarray]) -> bytes:
    # Not `exr.write_channels`: its header would change the bytes of shards, which are reproducible.
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with _scratch() as folder:
        path = folder / "picture.exr"
        with OpenEXR.File(header, channels) as file:
            file.write(str(path))
        return path.read_bytes()


def _read_exr(data: bytes) -> dict[str, np.ndarray]:
    """Channels (H, W) by name, float32."""
    with _scratch() as folder:
        path = folder / "picture.exr"
        path.write_bytes(data)
        return {name: pixels.astype(np.float32) for name, pixels in read_channels(path).channels.items()}


def _clip(key: str, members: dict[str, bytes], others: bool) -> Clip:
    about = mapping(json.loads(members[f"{key}.json"]), f"{key}.json")
    clip = Clip(
        _view(f"{key}.gbuffer", members, about["camera"], about),
        _light(members[f"{key}.light.exr"], about["light"]),
        about["caption"],
        about["seed"],
        # Shards of generator 1 have none of these.
        yaw=tuple(about.get("yaw", ())),
        things=tuple(about.get("things", ())),
        replaced=about.get("replaced", 0),
    )
    if not others:
        return clip
    lights = enumerate(about.get("lights", ()), 1)
    views = enumerate(about.get("views", ()), 1)
    return replace(
        clip,
        lights=tuple(_lit(key, number, members, name) for number, name in lights),
        views=tuple(_view(f"{key}.view-{number}", members, camera, about) for number, camera in views),
    )


def _view(stem: str, members: dict[str, bytes], camera_facts: dict[str, Any], about: dict[str, Any]) -> GBuffer:
    """The frames under `stem` and their camera."""
    height, width = (side(value, f"{stem}: a side of its camera") for value in camera_facts["size"])
    camera = Camera(torch.tensor(camera_facts["intrinsics"]), torch.tensor(camera_facts["pose"]), (height, width))
    require_sound(camera, stem)
    pictures = _pictures(stem, members)
    gbuffers = [_gbuffer(picture, camera.frame(i), about["depth_kind"]) for i, picture in enumerate(pictures)]
    return replace(concatenate(gbuffers), fps=about.get("fps"))


def _lit(key: str, number: int, members: dict[str, bytes], name: str) -> LitClip:
    pictures = _pictures(f"{key}.rgb-{number}", members)
    rgb, irradiance = (torch.cat([_map(picture, which) for picture in pictures]) for which in ("rgb", "irradiance"))
    return LitClip(_light(members[f"{key}.light-{number}.exr"], name), rgb, irradiance)


def _pictures(stem: str, members: dict[str, bytes]) -> list[dict[str, np.ndarray]]:
    """The channels of every frame under `stem`, in order."""
    return [_read_exr(members[name]) for name in sorted(members) if name.startswith(f"{stem}.")]


def _light(data: bytes, name: str) -> EnvironmentMap:
    return EnvironmentMap(_map(_read_exr(data), "rgb"), name=name)


def _gbuffer(channels: dict[str, np.ndarray], camera: Camera, depth_kind: DepthKind) -> GBuffer:
    maps = {name: _map(channels, name) for name in CHANNELS if _channel_names(name)[0] in channels}
    return GBuffer(rgb=maps["rgb"], camera=camera, depth_kind=depth_kind).with_maps(**maps)


def _map(channels: dict[str, np.ndarray], name: str) -> Tensor:
    """The map `name`, (1, C, H, W), out of an EXR's channels; what was too bright for a half is the largest one."""
    values = np.stack([channels[channel] for channel in _channel_names(name)])
    if np.isnan(values).any():
        raise UserError(f"the map {name} has NaN in it; {_AGAIN}")
    if name != "depth":
        values = np.nan_to_num(values, posinf=HALF_MAX, neginf=-HALF_MAX)
    return torch.from_numpy(values)[None]


def _channel_names(name: str) -> list[str]:
    """The EXR channels of a map, as the profile `unrender` has them: rgb is bare R, G, B; others are layers."""
    letters = _LETTERS.get(name, "RGB" if CHANNELS[name] == 3 else "Y")
    return [letter if name == "rgb" else f"{name}.{letter}" for letter in letters]
