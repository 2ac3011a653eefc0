"""Environment maps by way of a cube, as DiffusionRenderer's official code resamples them: six square faces, looked up
between texels, over the edges of the cube too. It costs sharpness, and is here for parity alone; see
`scene.encoding`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unrender.conventions import direction_to_uv

FACE = 512
"""Texels along the side of a face."""

_AXES = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
"""Of each pair of faces the axis that it lies across, and those along its rows and columns."""


def cube_of(radiance: Tensor, side: int = FACE) -> Tensor:
    """(T, C, H, W) radiance to the faces of a cube, (T, C, 6 (side + 2), side + 2): +X, -X, +Y, -Y, +Z, -Z one below
    the other, each looked up at its texel centres and framed by the texels across its edges. Across a corner there is
    none: the mean of the three texels that meet there stands for it."""
    directions = torch.cat([_face_directions(axis, sign, side) for axis in range(3) for sign in (1.0, -1.0)])
    faces = sample_wrapped(radiance, directions.to(radiance)).unflatten(2, (6, side + 2))
    far = side + 1
    for row, column in ((0, 0), (0, far), (far, 0), (far, far)):
        inner_row, inner_column = min(max(row, 1), side), min(max(column, 1), side)
        meeting = faces[..., row, inner_column] + faces[..., inner_row, column] + faces[..., inner_row, inner_column]
        faces = _with_texel(faces, row, column, meeting / 3)
    return faces.flatten(2, 3)


def sample_cube(faces: Tensor, directions: Tensor) -> Tensor:
    """Bilinear look-up of `cube_of` (T, C, 6 (N + 2), N + 2) in directions (H, W, 3): (T, C, H, W)."""
    side = faces.shape[3] - 2
    axis = directions.abs().argmax(-1, keepdim=True)
    order = torch.tensor(_AXES, device=directions.device)[axis[..., 0]]
    across, along, down = directions.gather(-1, order).unbind(-1)
    face = 2 * axis[..., 0] + (across < 0).long()
    column = (along / across.abs() + 1) / 2 * side + 1  # texels, the frame before the first included
    row = (down / across.abs() + 1) / 2 * side + 1 + face * (side + 2)
    grid = torch.stack((column / (side + 2) * 2 - 1, row / (6 * (side + 2)) * 2 - 1), dim=-1)
    grid = grid.to(faces)[None].expand(len(faces), -1, -1, -1)
    return functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)


def sample_wrapped(radiance: Tensor, directions: Tensor) -> Tensor:
    """Bilinear look-up of (T, C, H, W) radiance in world directions (N, M, 3), (T, C, N, M): between texel centres, and
    round the map both ways: beyond a pole comes the other pole, as official code has it."""
    height, width = radiance.shape[2:]
    u, v = direction_to_uv(directions)
    padded = functional.pad(radiance, (1, 1, 1, 1), mode="circular")
    grid = torch.stack(((u * width + 1) / (width + 2) * 2 - 1, (v * height + 1) / (height + 2) * 2 - 1), dim=-1)
    return functional.grid_sample(padded, grid[None].expand(len(radiance), -1, -1, -1), align_corners=False)


def _face_directions(axis: int, sign: float, side: int) -> Tensor:
    """(side + 2, side + 2, 3) directions of the texels of a face and of the frame around it."""
    centres = torch.arange(-1, side + 1) * 2.0 / side - 1 + 1 / side
    down, along = torch.meshgrid(centres, centres, indexing="ij")
    outside = torch.maximum(down.abs(), along.abs()) > 1
    parts = dict(zip(_AXES[axis], (_across(outside, side) * sign, along.clamp(-1, 1), down.clamp(-1, 1)), strict=True))
    return functional.normalize(torch.stack([parts[i] for i in range(3)], dim=-1), dim=-1)


def _across(outside: Tensor, side: int) -> Tensor:
    """How far from the centre of the cube a texel is: on its face; or on the next one, half a texel from the edge."""
    return torch.where(outside, 1 - 1 / side, 1.0)


def _with_texel(faces: Tensor, row: int, column: int, value: Tensor) -> Tensor:
    there = torch.zeros(faces.shape[-2:], dtype=torch.bool, device=faces.device)
    there[row, column] = True
    return torch.where(there, value[..., None, None], faces)
