"""Where cameras that look at one thing have it."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.scene.camera import Camera

_PARALLEL = 1e-4  # least eigenvalue of the axes' normal equations: below it they meet nowhere


def meeting_point(camera: Camera) -> Tensor | None:
    """The point (3,), float64, nearest to the optical axes of T cameras by least squares; None where they are one axis,
    or all but parallel, and meet nowhere."""
    place, axis = camera.pose[:, :3, 3].double(), -camera.pose[:, :3, 2].double()
    across = torch.eye(3, dtype=torch.float64) - axis[:, :, None] * axis[:, None, :]
    normal, wanted = across.mean(0), (across @ place[:, :, None]).mean(0)[:, 0]
    if torch.linalg.eigvalsh(normal)[0] <= _PARALLEL:
        return None
    return torch.linalg.solve(normal, wanted)
