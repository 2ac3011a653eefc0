"""The pinhole camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.conventions import DEFAULT_FOV_DEGREES
from unrender.errors import UserError
from unrender.scene.records import same, summary


@dataclass(frozen=True, eq=False, repr=False)
class Camera:
    """A pinhole camera over time, OpenGL axes (+X right, +Y up, looking along -Z), world +Y up.

    Attributes:
        intrinsics: (T, 3, 3) [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels; the first pixel's centre is at 0.5.
        pose: (T, 4, 4) camera-to-world.
        size: (height, width) in pixels.
    """

    intrinsics: Tensor
    pose: Tensor
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.intrinsics.ndim != 3 or self.intrinsics.shape[1:] != (3, 3):
            raise UserError(f"Camera.intrinsics has shape {tuple(self.intrinsics.shape)}; expected (T, 3, 3)")
        if self.pose.shape != (len(self.intrinsics), 4, 4):
            raise UserError(f"Camera.pose has shape {tuple(self.pose.shape)}; expected ({len(self.intrinsics)}, 4, 4)")

    @classmethod
    def perspective(
        cls, size: tuple[int, int], fov_degrees: float = DEFAULT_FOV_DEGREES, pose: Tensor | None = None
    ) -> Camera:
        """A centred camera with square pixels and a vertical field of view; `pose` (T, 4, 4), identity by default."""
        height, width = size
        focal = 0.5 * height / math.tan(math.radians(fov_degrees) / 2)
        pose = torch.eye(4)[None] if pose is None else pose
        k = pose.new_tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
        return cls(k.expand(len(pose), 3, 3), pose, (height, width))

    @staticmethod
    def concatenate(parts: Sequence[Camera]) -> Camera:
        """Joins cameras of the same size along time."""
        sizes = {part.size for part in parts}
        if len(sizes) != 1:
            raise UserError(f"cameras of the sizes {sorted(sizes)} cannot be joined; expected one size for every frame")
        return Camera(torch.cat([p.intrinsics for p in parts]), torch.cat([p.pose for p in parts]), parts[0].size)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)

    def __len__(self) -> int:
        return len(self.intrinsics)

    def to(self, device: torch.device | str) -> Camera:
        """The same camera on `device`."""
        return Camera(self.intrinsics.to(device), self.pose.to(device), self.size)

    def frame(self, index: int) -> Camera:
        """The camera of one frame; a camera of one frame serves every index."""
        i = 0 if len(self) == 1 else range(len(self))[index]
        return Camera(self.intrinsics[i : i + 1], self.pose[i : i + 1], self.size)

    def resized(self, size: tuple[int, int]) -> Camera:
        """The same view sampled at another size, (height, width): the corners of the picture stay its corners."""
        scale = self.intrinsics.new_tensor([size[1] / self.size[1], size[0] / self.size[0], 1.0])
        return Camera(self.intrinsics * scale[:, None], self.pose, size)

    def fitted(self, size: tuple[int, int], what: str) -> Camera:
        """The same view at another size of the same shape; `what` names the picture.

        Raises:
            UserError: a picture of another shape.
        """
        if self.size == size:
            return self
        if abs(self.size[0] * size[1] - self.size[1] * size[0]) > self.size[1] * max(size) * 0.01:
            raise UserError(
                f"the camera is of pictures {self.size[1]} x {self.size[0]}, and {what} is {size[1]} x {size[0]}; "
                "expected one of the same shape"
            )
        return self.resized(size)

    def every(self, step: int, first: int = 0) -> Camera:
        """The camera of every `step`-th pixel either way, from pixel `first` on."""
        if step == 1:
            return self
        k = self.intrinsics.clone()
        k[:, :2] /= step
        k[:, :2, 2] = (self.intrinsics[:, :2, 2] - first - 0.5) / step + 0.5
        height, width = (-(-(side - first) // step) for side in self.size)
        return Camera(k, self.pose, (height, width))

    def cropped(self, top: int, left: int, size: tuple[int, int]) -> Camera:
        """The camera of a (height, width) window of the picture; one that reaches beyond it is padding."""
        shift = torch.zeros_like(self.intrinsics)
        shift[:, 0, 2], shift[:, 1, 2] = left, top
        return Camera(self.intrinsics - shift, self.pose, size)


def pixel_rays(camera: Camera) -> Tensor:
    """Camera-space rays through the pixel centres, (T, 3, H, W), scaled so that z = -1: a point at planar depth d is
    d * ray."""
    height, width = camera.size
    k = camera.intrinsics
    y, x = torch.meshgrid(
        torch.arange(height, device=k.device) + 0.5, torch.arange(width, device=k.device) + 0.5, indexing="ij"
    )
    fx, fy, cx, cy = (k[:, i, j, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    rays_x, rays_y = (x - cx) / fx, (cy - y) / fy
    return torch.stack((rays_x, rays_y, -torch.ones_like(rays_x)), dim=1)


def world_rays(camera: Camera) -> Tensor:
    """Unit world directions seen through the pixel centres, (T, 3, H, W)."""
    rays = torch.einsum("tij,tjhw->tihw", camera.pose[:, :3, :3], pixel_rays(camera))
    return torch.nn.functional.normalize(rays, dim=1)


def project(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """World points (N, 3), or (T, N, 3) for each frame, to pixels (T, N, 2) as (x, y) and planar depth (T, N).

    The centre of the first pixel is (0.5, 0.5). Points behind the camera have depth <= 0 and meaningless pixels.
    """
    rotation, position = camera.pose[:, :3, :3], camera.pose[:, None, :3, 3]
    x, y, z = ((points - position) @ rotation).unbind(-1)
    fx, fy, cx, cy = (camera.intrinsics[:, i, j, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    return torch.stack((cx + fx * x / -z, cy - fy * y / -z), dim=-1), -z


def depth_to_ray_distance(depth: Tensor, camera: Camera) -> Tensor:
    """Planar depth (T, 1, H, W) to the distance from the pinhole, (T, 1, H, W)."""
    return depth * pixel_rays(camera).norm(dim=1, keepdim=True)


def ray_distance_to_depth(distance: Tensor, camera: Camera) -> Tensor:
    """Distance from the pinhole (T, 1, H, W) to planar depth, (T, 1, H, W)."""
    return distance / pixel_rays(camera).norm(dim=1, keepdim=True)


def unproject(depth: Tensor, camera: Camera) -> Tensor:
    """Planar depth (T, 1, H, W) to camera-space points, (T, 3, H, W): at depth +inf, as far along the ray."""
    # On an axis of the camera, infinitely far along a ray of 0 is still 0.
    return (depth * pixel_rays(camera)).nan_to_num(0.0, torch.inf, -torch.inf)
