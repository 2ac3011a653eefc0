"""Environment maps as neural renderers are shown them: an LDR, a log and a direction picture.

The mathematics is that of DiffusionRenderer (Liang et al. 2025) as its released checkpoints were trained: both radiance
pictures are sRGB-encoded at the end, which the paper leaves out. What differs between checkpoints is data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.scene.color import linear_to_log, linear_to_srgb, reinhard
from unrender.scene.environment import EnvironmentMap, sample

LDR_WHITE = 16.0
LOG_PEAK = 10000.0
HALF_MAX = 65504.0


@dataclass(frozen=True)
class EnvironmentEncoding:
    """How one family of checkpoints wants its light.

    Attributes:
        mirrored: the checkpoint was trained on a world mirrored left to right: what it is told comes from camera +X
            is what the map holds at -X.
        yaw: degrees that the light is turned by before all else.
        rows: polar angles of the rows. "centers": pi (j + 0.5) / H. "inset": pi linspace(1/H, 1 - 1/H, H), off the
            texel centres by up to half a row, which the checkpoint has learned.
        directions: how unit vectors are fed: "signed" as they are, in [-1, 1], or "unit" as v / 2 + 1/2, in [0, 1].
    """

    mirrored: bool = False
    yaw: float = 0.0
    rows: Literal["centers", "inset"] = "centers"
    directions: Literal["signed", "unit"] = "signed"


DIFFUSION_RENDERER_SVD = EnvironmentEncoding(mirrored=False, rows="inset", directions="unit")
DIFFUSION_RENDERER_COSMOS = EnvironmentEncoding(mirrored=True, rows="inset", directions="signed")


@dataclass(frozen=True)
class EncodedEnvironment:
    """The three pictures of a light, in the camera's frame, each (T, 3, H, W).

    Columns run from -Z on the left edge through -X, +Z in the middle and +X at three quarters back to -Z: camera axes,
    OpenGL, seen as in a mirror. +Y is at the top.

    Attributes:
        ldr: [0, 1], what a display shows: extended Reinhard with white at 16, then sRGB.
        log: [0, 1], all of the range: log(1 + x) / log(10001), then sRGB.
        direction: unit vectors of the texels, [-1, 1] or [0, 1] as the encoding says.
    """

    ldr: Tensor
    log: Tensor
    direction: Tensor


def encode(
    light: EnvironmentMap, encoding: EnvironmentEncoding, size: tuple[int, int], rotation: Tensor | None = None
) -> EncodedEnvironment:
    """The light (T frames) as `encoding` wants it, at (height, width) `size`, differentiable in its radiance.

    `rotation` (3, 3) or (T, 3, 3) is the camera-to-world rotation: it turns the radiance pictures; the direction
    picture is of the camera and never turns. A map with more texels than `size` is first resized with its energy kept,
    so that no sun falls between the samples.
    """
    directions = encoded_directions(encoding, size).to(light.radiance)
    light = light.rotated(encoding.yaw) if encoding.yaw else light
    light = light.resized((min(light.size[0], size[0]), min(light.size[1], size[1])))
    radiance = _seen(light, directions, rotation, mirrored=encoding.mirrored).clamp(0, HALF_MAX)
    fed = directions if encoding.directions == "signed" else directions / 2 + 0.5
    return EncodedEnvironment(
        ldr=linear_to_srgb(reinhard(radiance, LDR_WHITE)),
        log=linear_to_srgb(linear_to_log(radiance, LOG_PEAK)).clamp(max=1),
        direction=fed.permute(2, 0, 1).expand(len(radiance), 3, *size),
    )


def encoded_directions(encoding: EnvironmentEncoding, size: tuple[int, int]) -> Tensor:
    """Unit camera-space directions of the texels of an encoded map, (H, W, 3)."""
    height, width = size
    if encoding.rows == "inset":
        theta = math.pi * torch.linspace(1 / height, 1 - 1 / height, height)
    else:
        theta = math.pi * (torch.arange(height) + 0.5) / height
    phi = 2 * math.pi * (torch.arange(width) + 0.5) / width
    theta, phi = torch.meshgrid(theta, phi, indexing="ij")
    return torch.stack(
        (-torch.sin(phi) * torch.sin(theta), torch.cos(theta), -torch.cos(phi) * torch.sin(theta)), dim=-1
    )


def _seen(light: EnvironmentMap, directions: Tensor, rotation: Tensor | None, *, mirrored: bool) -> Tensor:
    """Radiance in camera-space directions (H, W, 3), (T, 3, H, W), T that of the light or of the rotations."""
    turns = torch.eye(3)[None] if rotation is None else rotation.reshape(-1, 3, 3)
    frames = max(len(light), len(turns))
    if {len(light), len(turns)} - {1, frames}:
        raise UserError(f"{len(turns)} camera rotations for a light of {len(light)} frames; one, or one each, is right")
    mirror = directions.new_tensor([-1.0 if mirrored else 1.0, 1.0, 1.0])
    worlds = [directions @ turn.to(directions).T * mirror for turn in turns]
    if len(worlds) == 1:
        return sample(light.radiance, worlds[0])
    return torch.cat([sample(light.frame(i).radiance, world) for i, world in enumerate(worlds)])
