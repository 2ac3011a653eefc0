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
import OpenEXR
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import CHANNELS, GBuffer, concatenate

_FLOAT_MAPS = ("normal", "depth")  # geometry keeps 32 bits; colours and materials are well served by 16
_LETTERS = {"normal": "XYZ", "depth": "Z", "mask": "A"}


@dataclass(frozen=True)
class Clip:
    """A rendered clip: `gbuffer` with rgb and camera, the `light` it was lit by, a caption, and its seed."""

    gbuffer: GBuffer
    light: EnvironmentMap
    caption: str
    seed: int


def write_shard(path: Path, clips: Iterable[tuple[str, Clip]]) -> None:
    """Writes (key, clip) pairs to a tar at `path`, which appears whole or not at all."""
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
        UserError: when the folder has no shards.
    """
    shards = sorted(Path(folder).glob("*.tar"))
    if not shards:
        raise UserError(f"no shards in {folder}; a folder that `unrender synth` wrote is right")
    for shard in shards:
        with tarfile.open(shard) as tar:
            members: dict[str, bytes] = {}
            for info in tar:
                file = tar.extractfile(info)
                if file is None:
                    continue
                members[info.name] = file.read()
                if info.name.endswith(".json"):
                    yield _clip(info.name.removesuffix(".json"), members)
                    members = {}


def _members(key: str, clip: Clip) -> Iterator[tuple[str, bytes]]:
    camera = clip.gbuffer.camera
    if camera is None:
        raise UserError("a clip without a camera cannot be written to a shard; give its G-buffer one")
    for frame in range(len(clip.gbuffer)):
        yield f"{key}.gbuffer.{frame:04d}.exr", _exr_bytes(_gbuffer_channels(clip.gbuffer, frame))
    yield f"{key}.light.exr", _exr_bytes(_color_channels("", clip.light.radiance[0], np.float16))
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


def _gbuffer_channels(gbuffer: GBuffer, frame: int) -> dict[str, np.ndarray]:
    channels: dict[str, np.ndarray] = {}
    for name, value in gbuffer.maps.items():
        kind = np.float32 if name in _FLOAT_MAPS else np.float16
        channels |= _color_channels("" if name == "rgb" else name, value[frame], kind)
    return channels


def _color_channels(layer: str, value: Tensor, kind: type) -> dict[str, np.ndarray]:
    letters = _letters(layer, len(value))
    prefix = f"{layer}." if layer else ""
    return {
        f"{prefix}{letter}": np.ascontiguousarray(plane.numpy().astype(kind))
        for letter, plane in zip(letters, value, strict=True)
    }


def _letters(layer: str, count: int) -> str:
    return _LETTERS.get(layer, "RGB" if count == 3 else "Y")


def _exr_bytes(channels: dict[str, np.ndarray]) -> bytes:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.exr"
        with OpenEXR.File(header, channels) as file:
            file.write(str(path))
        return path.read_bytes()


def _read_exr(data: bytes) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.exr"
        path.write_bytes(data)
        with OpenEXR.File(str(path), separate_channels=True) as file:
            return {name: np.array(channel.pixels, np.float32) for name, channel in file.channels().items()}


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
    light = _map(_read_exr(members[f"{key}.light.exr"]), "", 3)
    assert light is not None
    return Clip(concatenate(frames), EnvironmentMap(light, name=about["light"]), about["caption"], about["seed"])


def _gbuffer(channels: dict[str, np.ndarray], camera: Camera, depth_kind: Any) -> GBuffer:
    maps = {name: _map(channels, "" if name == "rgb" else name, count) for name, count in CHANNELS.items()}
    return GBuffer(**maps, camera=camera, depth_kind=depth_kind)


def _map(channels: dict[str, np.ndarray], layer: str, count: int) -> Tensor | None:
    prefix = f"{layer}." if layer else ""
    names = [f"{prefix}{letter}" for letter in _letters(layer, count)]
    if names[0] not in channels:
        return None
    return torch.from_numpy(np.stack([channels[name] for name in names]))[None]
