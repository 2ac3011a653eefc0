"""The plane that an inserted object stands on: found in a picture's normals and depth, or given."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.gbuffer import GBuffer

ASSUMED_CAMERA_HEIGHT = 1.6
"""Metres above the plane, eye level, where depth has no scale and nobody says how high the camera is."""

_UPWARD = 0.35  # least cosine between a support's normal and the camera's up: the camera is tilted by less than 70 deg
_SAME = math.cos(math.radians(15))  # between the normals of one plane
_NEIGHBOURHOOD = 0.06  # of the picture's longer side: what is looked at about the point asked for
_LEAST_SHARE = 0.3  # of the neighbourhood, and _LEAST_AREA of the picture, that has to face up
_LEAST_AREA = 0.005
_SIDE = 0.15  # of the picture's width, at either side: half of what stands there would be cut off


@dataclass(frozen=True)
class SupportPlane:
    """A plane in the world, normal . x = offset.

    Attributes:
        normal: (3,) unit, away from what is below.
        offset: in world units.
    """

    normal: Tensor
    offset: float

    def __post_init__(self) -> None:
        length = float(self.normal.norm())
        if self.normal.shape != (3,) or not math.isfinite(length + self.offset) or length < 1e-6:
            raise UserError(
                f"a plane of normal {self.normal.tolist()} and offset {self.offset}; expected three finite numbers "
                "that are not all 0, and one"
            )
        if abs(length - 1) > 1e-6:
            object.__setattr__(self, "normal", self.normal / length)
            object.__setattr__(self, "offset", self.offset / length)


def support_mask(gbuffer: GBuffer) -> Tensor:
    """Which pixels of the first frame may carry something, (H, W) bool: surface that faces up, as the camera has it."""
    gbuffer.require("normal", by="the search for a support plane")
    assert gbuffer.normal is not None
    facing = gbuffer.normal[0, 1] > _UPWARD
    return facing if gbuffer.mask is None else facing & (gbuffer.mask[0, 0] > 0.5)


def choose_spot(gbuffer: GBuffer, size: tuple[int, int] | None = None) -> tuple[float, float]:
    """Where there is most room to stand: the pixel (x, y) that is farthest from the edge of what faces up, in a picture
    of `size` (height, width); the G-buffer's own by default.

    Raises:
        UserError: next to nothing faces up.
    """
    mask = support_mask(gbuffer)
    share = float(mask.float().mean())
    if share < _LEAST_AREA:
        raise UserError(f"no support plane found: {share:.1%} of the picture faces up; give --plane")
    import cv2  # a tenth of the time that scipy.ndimage takes to import

    # The border of the picture is an edge, too, and at the sides even a roomy spot is one where things are cut off.
    padded = np.pad(mask.numpy().astype(np.uint8), 1)
    room = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    inner = room.copy()
    side = round(_SIDE * room.shape[1])
    inner[:, :side] = inner[:, room.shape[1] - side :] = 0
    room = inner if inner.any() else room
    y, x = np.unravel_index(int(room.argmax()), room.shape)
    down, across = _scale(size, gbuffer.size)
    return (float(x) + 0.5) / across, (float(y) + 0.5) / down


def find_plane(gbuffer: GBuffer, at: tuple[float, float], size: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
    """Normal (3,) and a point (3,) of the plane seen at pixel `at` (x, y), both in camera space, of the first frame.
    The pixel is one of a picture of `size` (height, width), the G-buffer's own by default.

    The normal is the robust mean of those of what faces up round the pixel, and then of all that is connected to it and
    agrees; the point lies on the pixel's ray, at the median depth round it (1 where there is no depth).

    Raises:
        UserError: `at` is outside the picture, little faces up there, or the plane is seen from below.
    """
    import cv2

    height, width = size or gbuffer.size
    if not (0 <= at[0] < width and 0 <= at[1] < height):
        raise UserError(
            f"--at {at[0]:g},{at[1]:g} is outside the picture, which is {width} x {height}; expected a pixel of it"
        )
    down, across = _scale(size, gbuffer.size)
    (x, y), (height, width) = (at[0] * across, at[1] * down), gbuffer.size
    mask = support_mask(gbuffer)
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    near = (rows - y).square() + (columns - x).square() <= (_NEIGHBOURHOOD * max(height, width)) ** 2
    share = float(mask[near].float().mean())
    if share < _LEAST_SHARE:
        raise UserError(
            f"no support plane found at {at[0]:g},{at[1]:g}: {share:.0%} of what is there faces up; expected another "
            "--at, or --plane"
        )
    assert gbuffer.normal is not None
    normals = gbuffer.normal[0]
    seed = _robust_mean(normals[:, near & mask])
    agreeing = mask & (torch.einsum("chw,c->hw", normals, seed) > _SAME)
    _, labels = cv2.connectedComponents(agreeing.numpy().astype(np.uint8), connectivity=4)
    names = np.unique(labels[(near & agreeing).numpy()])
    normal = _robust_mean(normals[:, torch.from_numpy(np.isin(labels, names[names > 0]))])
    ray = pixel_rays(gbuffer.camera_or_default().frame(0))[0, :, min(int(y), height - 1), min(int(x), width - 1)]
    if float(ray @ normal) > -1e-3:
        raise UserError(
            f"the plane at {at[0]:g},{at[1]:g} is seen from below or edge on; expected another --at, or --plane"
        )
    depth = torch.ones(1) if gbuffer.depth is None else gbuffer.depth[0, 0][near & mask]
    depth = depth[depth.isfinite()]
    return normal, ray * (depth.median() if len(depth) else 1.0)


def upright_camera(camera: Camera, normal: Tensor, point: Tensor, camera_height: float | None) -> Camera:
    """The camera in a world whose y = 0 is the plane of `normal` (3,) through `point` (3,), given in the axes of the
    camera of the first frame; it stands over the origin and looks to -Z, as far as it does not look down.

    With `camera_height` the world is scaled so that the first camera is so high above the plane.
    """
    normal = functional.normalize(normal, dim=0)
    back = torch.tensor([0.0, 0.0, 1.0])
    level = back - (back @ normal) * normal
    if float(level.norm()) < 1e-3:
        level = torch.tensor([0.0, -1.0, 0.0]) - (-normal[1]) * normal  # straight down: the picture's foot is near
    z = functional.normalize(level, dim=0)
    rotation = torch.stack((torch.linalg.cross(normal, z), normal, z))
    distance = float(-(normal @ point))
    place = torch.eye(4)
    place[:3, :3], place[1, 3] = rotation, distance
    first = torch.linalg.inv(camera.pose[0].double())
    pose = place.double() @ first @ camera.pose.double()
    if camera_height is not None:
        pose[:, :3, 3] *= camera_height / distance
    return replace(camera, pose=pose.float())


def intersect_plane(plane: SupportPlane, camera: Camera, at: tuple[float, float]) -> Tensor:
    """Where the ray of pixel `at` (x, y) of the first frame meets the plane, (3,) in the world.

    Raises:
        UserError: it does not, before the camera.
    """
    k, pose = camera.intrinsics[0], camera.pose[0]
    local = torch.stack(((at[0] - k[0, 2]) / k[0, 0], (k[1, 2] - at[1]) / k[1, 1], k.new_tensor(-1.0)))
    ray, origin = pose[:3, :3] @ local, pose[:3, 3]
    normal = plane.normal.to(ray)
    falling = float(normal @ ray)
    distance = (plane.offset - float(normal @ origin)) / falling if abs(falling) > 1e-9 else -1.0
    if not 0 < distance < 1e6:
        raise UserError(f"the support plane is not seen at {at[0]:g},{at[1]:g}; expected --at below its horizon")
    return origin + distance * ray


def _scale(size: tuple[int, int] | None, seen: tuple[int, int]) -> tuple[float, float]:
    """How many pixels of `seen` (height, width) one of `size` has, down and across."""
    height, width = size or seen
    return seen[0] / height, seen[1] / width


def _robust_mean(normals: Tensor) -> Tensor:
    """The mean direction (3,) of unit vectors (3, N), with Cauchy weights of their angles to it."""
    mean = functional.normalize(normals.mean(1), dim=0)
    for _ in range(10):
        distance = 2 * (1 - (normals * mean[:, None]).sum(0)).clamp(min=0)
        weight = 1 / (1 + distance / (0.1**2))
        mean = functional.normalize((normals * weight).sum(1), dim=0)
    return mean
