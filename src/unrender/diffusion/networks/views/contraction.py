"""The space of the voxels: the subject's cube as it is, and all that is around it contracted (MERF, Reiser et al. 2023,
eq. 5 and 6).

`share` is the part of the grid's side that the subject's cube [-1, 1]^3 takes; 1 for no background. In contracted
coordinates the grid reaches from -1 / share to 1 / share, where infinity is.
"""

from __future__ import annotations

import torch
from torch import Tensor


def contract(points: Tensor, share: float) -> Tensor:
    """World points (..., 3) to grid coordinates (..., 3) in [-1, 1]."""
    if share >= 1:
        return points
    end = 1 / share
    largest = points.abs().amax(-1, keepdim=True).clamp(min=1.0)
    outside = largest > 1
    at_face = (points.abs() - largest).abs() <= 1e-7 * largest
    shrunk = torch.where(at_face, (end - (end - 1) / largest) * points.sign(), points / largest)
    return torch.where(outside, shrunk, points) * share


def expand(coordinates: Tensor, share: float) -> Tensor:
    """Grid coordinates (..., 3) in (-1, 1) to world points: the inverse of `contract`."""
    if share >= 1:
        return coordinates
    end = 1 / share
    inner = coordinates * end
    largest = inner.abs().amax(-1, keepdim=True)
    distance = (end - 1) / (end - largest).clamp(min=1e-9)
    at_face = (inner.abs() - largest).abs() <= 1e-7 * largest
    grown = torch.where(at_face, distance * inner.sign(), distance * inner)
    return torch.where(largest > 1, grown, inner)


def ill_defined(coordinates: Tensor, share: float) -> Tensor:
    """(...) grid coordinates that no point of the world has: those beyond the cube along more than one axis."""
    return ((coordinates / share).abs() > 1 + 1e-6).sum(-1) > 1


def cell_centres(side: int, like: Tensor) -> Tensor:
    """(side^3, 3) grid coordinates (x, y, z) of all cells; x runs fastest, then y, then z."""
    ticks = (torch.arange(side).to(like) + 0.5) / side * 2 - 1
    z, y, x = torch.meshgrid(ticks, ticks, ticks, indexing="ij")
    return torch.stack((x, y, z), dim=-1).reshape(-1, 3)


def grid_points(side: int, share: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """(side^3, 3) the world points of all cells, and (side^3,) which of them hold features at all."""
    coordinates = cell_centres(side, like)
    return expand(coordinates, share), ~ill_defined(coordinates, share)


def released_grid_points(side: int, share: float, like: Tensor) -> tuple[Tensor, Tensor]:
    """The same as the code that ViewDiff's released layout comes from builds them, which its weights are used to: a
    cell that the renderer reads at (x, y, z) is filled with what lies at (y, z, x); the face coordinate is expanded on
    the positive sides only; cells are ill-defined on the positive sides only. (Read in its source, not run.)"""
    coordinates = cell_centres(side, like).roll(-1, dims=-1)
    if share >= 1:
        return coordinates, torch.ones_like(coordinates[:, 0], dtype=torch.bool)
    end = 1 / share
    inner = coordinates * end
    index = inner.abs().argmax(-1, keepdim=True)
    signed = inner.gather(-1, index)
    distance = (end - 1) / (end - signed.abs()).clamp(min=1e-9)
    at_face = (inner.abs() - signed).abs() <= 1e-7
    grown = torch.where(at_face, torch.where(signed > 0, distance, -distance), distance * inner)
    points = torch.where(signed.abs() <= 1, inner, grown)
    return points, (inner > 1).sum(-1) <= 1
