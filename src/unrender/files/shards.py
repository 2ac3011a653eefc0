"""Clips with their whole truth in WebDataset shards: tar files of multi-layer EXR, environment maps and JSON.

A clip of key `000012` is `000012.gbuffer.0000.exr` (one for each frame), `000012.light.exr` and `000012.json`. Bytes
depend on nothing but the clips: no times, no users.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR  # ty: ignore[import-not-found]  # compiled, without type stubs
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.exr import read_channels
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import CHANNELS, DepthKind, GBuffer, concatenate

_FLOAT_MAPS = ("normal", "depth")  # geometry keeps 32 bits; colours and materials are well served by 16
_LETTERS = {"normal": "XYZ", "depth": "Z", "mask": "A"}


@dataclass(frozen=True)
class Clip:
    """A rendered clip with its whole truth.

    Attributes:
        gbuffer: maps (T, C, H, W), rgb among them, and the camera; a still has T = 1.
        light: the radiance (1, 3, H, W) that it was lit by, on the scale of rgb.
        caption: what is in it, in words.
        seed: its index in the set, which with the set's recipe makes it again.
    """

    gbuffer: GBuffer
    light: EnvironmentMap
    caption: str
    seed: int


def write_shard(path: Path, clips: Iterable[tuple[str, Clip]]) -> None:
    """Writes (key, clip) pairs to a tar at `path`, which appears whole or not at all.

    What a killed run leaves behind is called .NAME.PID.partial, so that nobody takes it for a shard.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, clip in clips:
            for name, data in _members(key, clip):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))
    temporary.replace(path)


def read_clips(folder: Path | str) -> Iterator[Clip]:
    """The clips of every shard in `folder`, in order of their names.

    Raises:
        UserError: the folder has no shards, or one of them is damaged.
    """
    shards = sorted(Path(folder).glob("*.tar"))
    if not shards:
        raise UserError(f"no shards in {folder}; a folder that `unrender synth` wrote is right")
    for shard in shards:
        members: dict[str, bytes] = {}
        for name, data in _read_members(shard):
            members[name] = data
            if name.endswith(".json"):
                yield _clip(name.removesuffix(".json"), members)
                members = {}


def _read_members(shard: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(shard) as tar:
            for info in tar:
                file = tar.extractfile(info)
                if file is not None:
                    yield info.name, file.read()
    except tarfile.TarError as error:
        raise UserError(f"{shard} is damaged ({error}); delete it and give the same `unrender synth` again") from error


def _members(key: str, clip: Clip) -> Iterator[tuple[str, bytes]]:
    camera = clip.gbuffer.camera
    if camera is None:
        raise UserError("a clip without a camera cannot be written to a shard; give its G-buffer one")
    for frame in range(len(clip.gbuffer)):
        channels: dict[str, np.ndarray] = {}
        for name, value in clip.gbuffer.maps.items():
            channels |= _channels(name, value[frame])
        yield f"{key}.gbuffer.{frame:04d}.exr", _exr_bytes(channels)
    yield f"{key}.light.exr", _exr_bytes(_channels("rgb", clip.light.radiance[0]))
    about = {
        "caption": clip.caption,
        "seed": clip.seed,
        "light": clip.light.name,
        "depth_kind": clip.gbuffer.depth_kind,
        "camera": {
            "intrinsics": camera.intrinsics.tolist(),
            "pose": camera.pose.tolist(),
            "size": list(camera.size),
        },
    }
    yield f"{key}.json", json.dumps(about, sort_keys=True).encode()


def _channels(name: str, value: Tensor) -> dict[str, np.ndarray]:
    """The map `name` of one frame, (C, H, W), as EXR channels."""
    kind = np.float32 if name in _FLOAT_MAPS else np.float16
    return {
        channel: np.ascontiguousarray(plane.numpy().astype(kind))
        for channel, plane in zip(_channel_names(name), value, strict=True)
    }


def _exr_bytes(channels: dict[str, np.ndarray]) -> bytes:
    # Not `exr.write_channels`: its header would change the bytes that shards of a recipe are known by.
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.exr"
        with OpenEXR.File(header, channels) as file:
            file.write(str(path))
        return path.read_bytes()


def _read_exr(data: bytes) -> dict[str, np.ndarray]:
    """Channels (H, W) by name, float32."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.exr"
        path.write_bytes(data)
        return {name: pixels.astype(np.float32) for name, pixels in read_channels(path).channels.items()}


def _clip(key: str, members: dict[str, bytes]) -> Clip:
    about: dict[str, Any] = json.loads(members[f"{key}.json"])
    pictures = sorted(name for name in members if name.startswith(f"{key}.gbuffer."))
    camera = Camera(
        torch.tensor(about["camera"]["intrinsics"]),
        torch.tensor(about["camera"]["pose"]),
        (about["camera"]["size"][0], about["camera"]["size"][1]),
    )
    frames = [
        _gbuffer(_read_exr(members[name]), camera.frame(i), about["depth_kind"]) for i, name in enumerate(pictures)
    ]
    light = EnvironmentMap(_map(_read_exr(members[f"{key}.light.exr"]), "rgb"), name=about["light"])
    return Clip(concatenate(frames), light, about["caption"], about["seed"])


def _gbuffer(channels: dict[str, np.ndarray], camera: Camera, depth_kind: DepthKind) -> GBuffer:
    maps = {name: _map(channels, name) for name in CHANNELS if _channel_names(name)[0] in channels}
    return GBuffer(rgb=maps["rgb"], camera=camera, depth_kind=depth_kind).with_maps(**maps)


def _map(channels: dict[str, np.ndarray], name: str) -> Tensor:
    """The map `name`, (1, C, H, W), out of an EXR's channels."""
    return torch.from_numpy(np.stack([channels[channel] for channel in _channel_names(name)]))[None]


def _channel_names(name: str) -> list[str]:
    """The EXR channels of a map, as the profile `unrender` has them: rgb is bare R, G, B; others are layers."""
    letters = _LETTERS.get(name, "RGB" if CHANNELS[name] == 3 else "Y")
    return [letter if name == "rgb" else f"{name}.{letter}" for letter in letters]
