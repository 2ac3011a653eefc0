"""What people hand over where frames, a light or a G-buffer is expected: paths, names, tensors, arrays."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.environments import resolve_light
from unrender.files.readers import FrameReader, Reader
from unrender.files.sequences import open_frames, open_gbuffers
from unrender.scene.color import srgb_to_linear
from unrender.scene.environment import EnvironmentMap, require_equirectangular
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

FramesLike = Frames | Tensor | np.ndarray | str | PathLike[str]
LightLike = EnvironmentMap | Tensor | np.ndarray | str | PathLike[str]
GBufferLike = GBuffer | str | PathLike[str]


def as_clip(value: Any) -> Any:
    """A clip to be read frame by frame: a path is opened (see `open_frames`), arrays are made `Frames`, and what gives
    frames one by one is left as it is."""
    if isinstance(value, str | PathLike):
        return open_frames(Path(value))
    if isinstance(value, Tensor | np.ndarray):
        return as_frames(value)
    if not hasattr(value, "__iter__"):
        raise _unknown("pictures", value, "Frames, a path, a tensor or an array, or frames one by one")
    return value


def as_frames(value: FramesLike | FrameReader) -> Frames:
    """Frames of a path (all of a clip, held whole), of a tensor, of an array, or of frames.

    Args:
        value: floats are scene-linear: (3, H, W) or (T, 3, H, W), or as arrays are kept, (H, W, 3) or (T, H, W, 3).
            8- and 16-bit integers are pictures of a display, sRGB, in either order.

    Raises:
        UserError: what `open_frames` raises, another type or shape, or signed or very long integers.
    """
    if isinstance(value, Frames):
        return value
    if isinstance(value, str | PathLike):
        value = open_frames(Path(value))
    if isinstance(value, Reader):
        return Frames.concatenate(list(value))
    if not isinstance(value, Tensor | np.ndarray):
        raise _unknown("pictures", value, "Frames, a path, a tensor or an array")
    return Frames(_linear(value))


def as_light(value: LightLike) -> EnvironmentMap:
    """A light of a path or the name of a shipped one (see `resolve_light`), of a tensor or an array (shapes and numbers
    as for `as_frames`), or of a light.

    Raises:
        UserError: no such light, another type or shape, or a map that is not twice as wide as high.
    """
    if isinstance(value, str | PathLike):
        return resolve_light(Path(value))
    if not isinstance(value, EnvironmentMap | Tensor | np.ndarray):
        raise _unknown("a light", value, "an EnvironmentMap, a path or a name, a tensor or an array")
    if not isinstance(value, EnvironmentMap):
        value = EnvironmentMap(_linear(value), hdr=torch.as_tensor(value).is_floating_point())
    require_equirectangular(value)
    return value


def as_gbuffer(value: GBufferLike) -> GBuffer:
    """A G-buffer of a path (see `open_gbuffers`; all of a clip, held whole), or of a G-buffer.

    Raises:
        UserError: what `open_gbuffers` raises, or another type.
    """
    if isinstance(value, GBuffer):
        return value
    if not isinstance(value, str | PathLike):
        raise _unknown("a G-buffer", value, "a GBuffer or a path")
    return GBuffer.concatenate(list(open_gbuffers(Path(value))))


def _linear(value: Tensor | np.ndarray) -> Tensor:
    """(T, 3, H, W) float32, linear."""
    pixels = torch.as_tensor(value)
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim == 4 and pixels.shape[1] != 3 and pixels.shape[3] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        expected = "(T, 3, H, W), (3, H, W), (T, H, W, 3) or (H, W, 3)"
        raise UserError(f"pictures have shape {tuple(value.shape)}; expected {expected}")
    if pixels.is_floating_point():
        return pixels.float()
    if pixels.dtype not in (torch.uint8, torch.uint16):
        kind = str(pixels.dtype).removeprefix("torch.")
        raise UserError(f"pictures hold {kind} numbers; expected floats (scene-linear), uint8 or uint16 (sRGB)")
    return srgb_to_linear(pixels.float() / torch.iinfo(pixels.dtype).max)


def _unknown(what: str, value: object, expected: str) -> UserError:
    return UserError(f"{type(value).__name__} cannot be taken as {what}; expected {expected}")
