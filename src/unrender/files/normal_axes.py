"""In which axes the normals of a foreign G-buffer are: held against its own depth, and turned into camera axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.normals import normal_from_depth, unit_normals

NormalAxes = Literal["auto", "camera", "world"]
"""What a caller says of a file's normals; "auto" finds out."""

BETTER = 8.0
"""Degrees (of the median pixel) by which a turn has to bring normals nearer to those of their depth, to be believed."""

FIELDS_OF_VIEW = (20.0, 30.0, 40.0, 50.0, 60.0, 75.0, 90.0)
"""Degrees from top to bottom that are tried, for most files do not say theirs."""

_AWAY, _SHARE = 0.35, 0.05  # more than 5 % of surface that is well turned away from who sees it: no camera axes
_FEWEST = 16  # normals that prove something
_LEVEL = 0.02  # directions that differ by less, relative to the most, do not tell where up is
_BINS = 4  # normals whose components agree to about a quarter count as one direction
_SLACK = 3.0  # degrees by which a turn that a pose says may be worse than a fitted one, which follows noise
_Z_UP_TO_Y_UP = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64)
_SIDE = 256  # pixels of the longer side of what is compared


@dataclass(frozen=True)
class AxesFinding:
    """What was found of some normals.

    Attributes:
        axes: "camera", "world", or "unknown" where they are not in camera axes and nothing says how they are turned.
        turn: (3, 3) from the axes of the file to those of the camera.
        why: for people.
    """

    axes: Literal["camera", "world", "unknown"]
    turn: Tensor
    why: str


def find_axes(
    normal: Tensor, depth: Tensor | None, said: NormalAxes = "auto", camera: Camera | None = None
) -> AxesFinding:
    """Finds out in which axes normals are.

    Args:
        normal: (1, 3, H, W) as stored.
        depth: (1, 1, H, W) planar, or None.
        said: what the caller knows; "world" leaves the turn to be found.
        camera: that of the picture; several fields of view are tried where nobody knows it.
    """
    if said == "camera":
        return AxesFinding("camera", torch.eye(3), "taken as they are")
    step = max(1, max(normal.shape[2:]) // _SIDE)
    stored = unit_normals(normal[..., ::step, ::step])
    if depth is None:
        return _without_depth(stored, said)
    size = (stored.shape[2], stored.shape[3])
    guessed = [Camera.perspective(size, field) for field in FIELDS_OF_VIEW]
    cameras = guessed if camera is None else [camera.resized(size)]
    tried = [_against_depth(stored, depth[..., ::step, ::step], one) for one in cameras]
    compared = [one for one in tried if one is not None]
    if not compared:
        return _without_depth(stored, said)
    before = min(as_they_are for as_they_are, _, _ in compared)
    after, turn = min(((turned, turn) for _, turned, turn in compared), key=lambda item: item[0])
    if camera is not None:
        after, turn = _by_pose(stored, depth[..., ::step, ::step], cameras[0], (after, turn))
    gained = f"{before:.0f} degrees from those of the depth as they are, {after:.0f} when turned"
    if said == "world":
        return AxesFinding("world", turn.float(), gained)
    if before <= after + BETTER:
        # No turn helps: they are the camera's, or something that depth does not explain at all.
        return AxesFinding("camera" if before < 45 or not _away(stored) else "unknown", torch.eye(3), gained)
    return AxesFinding("world" if after <= max(20.0, before / 3) else "unknown", turn.float(), gained)


def _without_depth(stored: Tensor, said: NormalAxes) -> AxesFinding:
    if said == "world":
        return AxesFinding("unknown", torch.eye(3), "nothing says how the camera is turned")
    if _away(stored):
        return AxesFinding("unknown", torch.eye(3), "some are turned away from the camera, and there is no depth")
    return AxesFinding("camera", torch.eye(3), "they face the camera, and there is no depth to hold them against")


def _away(stored: Tensor) -> bool:
    """Whether more of the surface is turned away from the camera than can be, were it in the camera's axes."""
    size = (stored.shape[2], stored.shape[3])
    rays = functional.normalize(pixel_rays(Camera.perspective(size)).to(stored), dim=1)
    there = stored.square().sum(1) > 0.25
    if int(there.sum()) < _FEWEST:
        return False
    return float(((stored * rays).sum(1)[there] > _AWAY).float().mean()) > _SHARE


def _against_depth(stored: Tensor, depth: Tensor, camera: Camera) -> tuple[float, float, Tensor] | None:
    """Degrees between normals and those of the depth, as they are and turned, and the turn; None where too few pixels
    have both."""
    pairs = _pairs(stored, depth, camera)
    if pairs is None:
        return None
    turn = _turn(pairs)
    return _degrees(pairs), _degrees(pairs, turn), turn


def _by_pose(stored: Tensor, depth: Tensor, camera: Camera, found: tuple[float, Tensor]) -> tuple[float, Tensor]:
    """The turn that the pose of a known camera says, in a world whose +Z or +Y is up, in place of one that was fitted
    and is no better; with its degrees."""
    pairs = _pairs(stored, depth, camera)
    if pairs is None or torch.equal(camera.pose[0, :3, :3], torch.eye(3)):
        return found
    to_camera = camera.pose[0, :3, :3].T.double()
    told = [(_degrees(pairs, turn), turn) for turn in (to_camera @ _Z_UP_TO_Y_UP, to_camera)]
    best = min(told, key=lambda item: item[0])
    return best if best[0] <= found[0] + _SLACK else found


@dataclass(frozen=True)
class _Pairs:
    """Directions of a file and those of its depth, both (3, N), and how much each counts, (N,): all directions alike,
    however much of a picture a floor fills."""

    stored: Tensor
    wanted: Tensor
    weight: Tensor


def _pairs(stored: Tensor, depth: Tensor, camera: Camera) -> _Pairs | None:
    of_depth = normal_from_depth(depth, camera)
    both = (stored.square().sum(1) > 0.25) & (of_depth.square().sum(1) > 0.25)
    if int(both.sum()) < _FEWEST:
        return None
    of_file, wanted = (value.movedim(1, 0)[:, both].double() for value in (stored, of_depth))
    _, place, count = torch.unique((of_file * _BINS).round().T, dim=0, return_inverse=True, return_counts=True)
    return _Pairs(of_file, wanted, 1 / count[place].double())


def _degrees(pairs: _Pairs, turn: Tensor | None = None) -> float:
    """Half of what counts is nearer than this."""
    turned = pairs.stored if turn is None else turn @ pairs.stored
    angles, order = (turned * pairs.wanted).sum(0).clamp(-1, 1).acos().rad2deg().sort()
    share = pairs.weight[order].cumsum(0)
    return float(angles[int((share < share[-1] / 2).sum())])


def _turn(pairs: _Pairs) -> Tensor:
    """The rotation (3, 3) that brings directions nearest to others: Kabsch's method, three times, at last of those that
    fit. Where all of them are one direction, the shortest turn between the two."""
    weight, turn = pairs.weight, torch.eye(3, dtype=torch.float64)
    for _ in range(3):
        u, spread, v = torch.linalg.svd((pairs.wanted * weight) @ pairs.stored.T)
        if spread[1] < _LEVEL * spread[0]:
            return _shortest(*((side * weight).sum(1) for side in (pairs.stored, pairs.wanted)))
        sign = torch.sign(torch.linalg.det(u @ v))
        turn = u @ torch.diag(torch.stack((torch.ones_like(sign), torch.ones_like(sign), sign))) @ v
        near = ((turn @ pairs.stored) * pairs.wanted).sum(0) >= math.cos(math.radians(_degrees(pairs, turn)))
        weight = pairs.weight * near
    return turn


def _shortest(start: Tensor, end: Tensor) -> Tensor:
    """The rotation (3, 3) by the smallest angle that brings one direction to another (Rodrigues)."""
    start, end = start / start.norm(), end / end.norm()
    axis, cosine = torch.linalg.cross(start, end), float(start @ end)
    if cosine < -0.999:  # half a turn about what is upright
        upright = torch.tensor([0.0, 1.0, 0.0], dtype=start.dtype)
        if abs(float(upright @ start)) > 0.9:
            upright = torch.tensor([1.0, 0.0, 0.0], dtype=start.dtype)
        upright = upright - (upright @ start) * start
        upright = upright / upright.norm()
        return 2 * torch.outer(upright, upright) - torch.eye(3, dtype=start.dtype)
    x, y, z = axis.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=start.dtype)
    return torch.eye(3, dtype=start.dtype) + cross + cross @ cross / (1 + cosine)
