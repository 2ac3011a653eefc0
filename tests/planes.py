"""A tilted plane seen by a camera: what depth and normals every reader has to find."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.scene.camera import Camera, pixel_rays

NORMAL = torch.nn.functional.normalize(torch.tensor([0.3, 0.5, 0.8]), dim=0)
OFFSET = -3.0


def plane_depth(camera: Camera, normal: Tensor = NORMAL, offset: float = OFFSET) -> Tensor:
    """Planar depth (1, 1, H, W) of the plane n . P = offset: a point at depth d is d ray, so d = offset / (n . ray)."""
    return offset / torch.einsum("i,tihw->thw", normal, pixel_rays(camera))[:, None]


def everywhere(vector: Tensor, size: tuple[int, int]) -> Tensor:
    """One vector (C,) at every pixel, (1, C, H, W)."""
    return vector[None, :, None, None].expand(1, -1, *size).contiguous()
