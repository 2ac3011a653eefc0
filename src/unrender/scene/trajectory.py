"""Camera paths: poses (T, 4, 4), camera-to-world, for `Camera`. World +Y is up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError


def look_at(eye: Tensor, target: Tensor, up: Tensor | None = None) -> Tensor:
    """Poses at `eye` (T, 3) or (3,), looking at `target` (same shapes), upright by `up` (+Y): (T, 4, 4).

    Differentiable. UserError where the eye is in the target, or looks along `up` and has no upright.
    """
    eye, target = torch.broadcast_tensors(torch.atleast_2d(eye), torch.atleast_2d(target))
    up = eye.new_tensor([0.0, 1.0, 0.0]) if up is None else up
    back = functional.normalize(eye - target, dim=-1)
    right = torch.linalg.cross(up.expand_as(back), back)
    if (right.norm(dim=-1) < 1e-6).any():
        raise UserError("a camera that stands in its target or looks along its up vector; move one of the three")
    right = functional.normalize(right, dim=-1)
    return _pose(torch.stack((right, torch.linalg.cross(back, right), back), dim=-1), eye)


def orbit(
    target: Tensor, radius: float, frames: int, *, elevation: float = 20.0, start: float = 0.0, degrees: float = 360.0
) -> Tensor:
    """Poses (frames, 4, 4) on a circle about `target` (3,), all looking at it.

    From azimuth `start` on (0 stands on the +Z side, 90 on the +X side), right-handed about +Y, frame i has gone
    `degrees * i / frames`: a full circle played in a loop repeats no frame. `elevation` in degrees above the horizon.
    """
    azimuth = torch.deg2rad(start + degrees * torch.arange(frames) / frames)
    height = math.radians(elevation)
    offset = torch.stack(
        (
            torch.sin(azimuth) * math.cos(height),
            torch.full_like(azimuth, math.sin(height)),
            torch.cos(azimuth) * math.cos(height),
        ),
        dim=-1,
    )
    return look_at(target + radius * offset, target)


def dolly(pose: Tensor, distance: float, frames: int) -> Tensor:
    """Poses (frames, 4, 4) that move from `pose` (4, 4) forward along its view by `distance`, ends included."""
    steps = torch.linspace(0, 1, frames).to(pose)[:, None] * distance
    return _pose(pose[:3, :3].expand(frames, 3, 3), pose[:3, 3] - steps * pose[:3, 2])


def shake(poses: Tensor, seed: int, *, shift: float = 0.01, degrees: float = 0.5, period: float = 12.0) -> Tensor:
    """The path (T, 4, 4) as if hand-held: smooth seeded jitter of position and aim.

    `shift` (world units) and `degrees` are standard deviations for each axis of the camera, `period` the number of
    frames over which the jitter decorrelates.
    """
    frames = len(poses)
    reach = math.ceil(3 * period)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(6, 1, frames + 2 * reach, generator=generator)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / period * 2) ** 2)
    smooth = functional.conv1d(noise, (kernel / kernel.norm())[None, None])[:, 0].T.to(poses)
    moved = poses[:, :3, 3] + torch.einsum("tij,tj->ti", poses[:, :3, :3], smooth[:, :3] * shift)
    return _pose(poses[:, :3, :3] @ _rotation(smooth[:, 3:] * math.radians(degrees)), moved)


def interpolate(keys: Tensor, times: Sequence[float], at: Tensor) -> Tensor:
    """Poses (T, 4, 4) at the times `at` (T,) between key poses (K, 4, 4) at increasing `times`.

    Positions go straight, rotations along the shortest arc at an even rate (slerp, Shoemake 1985); before the first
    key and after the last the pose is constant.
    """
    knots = torch.tensor(times, dtype=keys.dtype)
    if len(knots) != len(keys) or len(keys) < 2 or not (knots[1:] > knots[:-1]).all():
        raise UserError(
            f"{len(keys)} key poses at the times {list(times)}; expected two or more, at as many increasing times"
        )
    after = torch.searchsorted(knots, at.to(knots)).clamp(1, len(keys) - 1)
    before = after - 1
    part = ((at - knots[before]) / (knots[after] - knots[before])).clamp(0, 1).to(keys)[:, None]
    start, end = keys[before], keys[after]
    turn = _rotation_vector(start[:, :3, :3].mT @ end[:, :3, :3])
    return _pose(start[:, :3, :3] @ _rotation(part * turn), torch.lerp(start[:, :3, 3], end[:, :3, 3], part))


def _pose(rotation: Tensor, position: Tensor) -> Tensor:
    """(T, 3, 3) and (T, 3) to camera-to-world (T, 4, 4)."""
    bottom = rotation.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(rotation), 1, 4)
    return torch.cat((torch.cat((rotation, position[..., None]), dim=-1), bottom), dim=1)


def _cross_matrix(vector: Tensor) -> Tensor:
    """The matrices (T, 3, 3) of the cross products with vectors (T, 3)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).reshape(-1, 3, 3)


def _rotation(vector: Tensor) -> Tensor:
    """Rotation vectors (T, 3), axis times radians, to matrices (T, 3, 3)."""
    return torch.linalg.matrix_exp(_cross_matrix(vector))


def _rotation_vector(rotation: Tensor) -> Tensor:
    """Rotation matrices (T, 3, 3) to axis times radians (T, 3), at most pi long; by way of the unit quaternion.

    The quaternion is the eigenvector for the largest eigenvalue of Bar-Itzhack's symmetric matrix (2000), which is
    sound for every angle, half turns too.
    """
    r = rotation.double()
    skew = torch.stack((r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]), dim=-1)
    trace = r.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
    upper = r + r.mT - trace * torch.eye(3, dtype=r.dtype)
    matrix = torch.cat((torch.cat((upper, skew[..., None]), 2), torch.cat((skew[:, None], trace), 2)), 1)
    quaternion = torch.linalg.eigh(matrix).eigenvectors[..., -1]
    quaternion = torch.where(quaternion[:, 3:] < 0, -quaternion, quaternion)
    sine = quaternion[:, :3].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[:, 3:])
    return (functional.normalize(quaternion[:, :3], dim=-1) * angle).to(rotation)
