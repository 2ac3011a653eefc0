"""Views kept in a file as they come, so that the same command goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.multiview.options import ViewOptions
from unrender.multiview.paths import CameraPath
from unrender.multiview.views import GeneratedView
from unrender.scene.frames import Frames

_KEY = "unrender:views"


def state_key(model: Any, prompt: str, path: CameraPath, given: Mapping[int, Frames], options: ViewOptions) -> str:
    """What makes two runs the same: the model's card, prompt, cameras, pictures and options."""
    digest = hashlib.sha256(repr((model, prompt, options, path.subject.radius)).encode())
    for tensor in (path.camera.pose, path.camera.intrinsics, path.subject.pose):
        digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(repr(path.camera.size).encode())
    for index, picture in sorted(given.items()):
        digest.update(f"{index}".encode() + picture.rgb.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def read_state(path: Path, key: str) -> dict[int, GeneratedView]:
    """The views in a file; {} where there is none.

    Raises:
        UserError: it is damaged, or of another run.
    """
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            whose = (file.metadata() or {}).get(_KEY, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is damaged or no kept views ({error}); delete it, and the command begins anew"
        ) from error
    if json.loads(whose or '""') != key:
        raise UserError(f"{path} keeps the views of another command; give another file, or that command")
    numbers = sorted({int(name.partition(".")[0]) for name in tensors})
    return {
        number: GeneratedView(
            tensors[f"{number}.latent"], tensors.get(f"{number}.depth"), tensors.get(f"{number}.coverage")
        )
        for number in numbers
    }


def write_state(path: Path, key: str, views: Mapping[int, GeneratedView]) -> None:
    """Replaces the views in a file."""
    tensors: dict[str, torch.Tensor] = {}
    for number, view in views.items():
        parts = {"latent": view.latent, "depth": view.depth, "coverage": view.coverage}
        tensors |= {f"{number}.{name}": value.contiguous() for name, value in parts.items() if value is not None}
    with atomic_write(path) as partial:
        partial.write_bytes(safetensors.torch.save(tensors, {_KEY: json.dumps(key)}))
