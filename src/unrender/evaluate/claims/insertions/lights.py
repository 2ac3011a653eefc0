"""Lights that nobody had to look for: trivial answers of an insertion."""

from __future__ import annotations

import torch

from unrender.insert.light import LIGHT_SIZE
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap, texel_directions
from unrender.scene.frames import Frames


def constant_light(photo: Frames) -> EnvironmentMap:
    """The photo's mean radiance from everywhere, (1, 3, *LIGHT_SIZE)."""
    mean = photo.rgb[0].mean((1, 2))
    return EnvironmentMap(mean[None, :, None, None].expand(1, 3, *LIGHT_SIZE).clone(), "constant")


def mirrored_light(photo: Frames, camera: Camera) -> EnvironmentMap:
    """The photo as light, (1, 3, *LIGHT_SIZE): before the camera where its pixels look, its edges going on beyond the
    field of view; behind the camera the same mirrored, as environment maps were made of a single picture before there
    were estimators (Khan et al. 2006)."""
    directions = texel_directions(LIGHT_SIZE).reshape(-1, 3)
    x, y, z = (directions @ camera.pose[0, :3, :3]).unbind(-1)
    ahead = z.abs().clamp(min=1e-6)
    k = camera.intrinsics[0]
    height, width = camera.size
    across, down = (k[0, 2] + k[0, 0] * x / ahead) / width, (k[1, 2] - k[1, 1] * y / ahead) / height
    at = torch.stack((across, down), -1).reshape(1, *LIGHT_SIZE, 2) * 2 - 1
    seen = torch.nn.functional.grid_sample(photo.rgb[:1], at.clamp(-1, 1), padding_mode="border", align_corners=False)
    return EnvironmentMap(seen, "mirrored")
