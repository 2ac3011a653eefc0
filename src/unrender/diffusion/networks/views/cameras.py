"""Cameras as the vectors that a network of views is told, one for each item of a batch.

A vector has `WIDTH` numbers: the first three rows of the pose (camera-to-world, OpenGL axes, in the subject's frame:
the subject in the middle, inside [-1, 1]^3), fx / W, fy / H, cx / W, cy / H, the mean and the variance of the picture's
values in [-1, 1] (0 where nobody knows: ViewDiff's z3), and 1 for a view that is lifted into the voxels, 0 for one that
is rendered from them only.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unrender.scene.camera import Camera
from unrender.scene.color import linear_to_srgb

WIDTH = 19
CODE = 10
"""Numbers of the code z that attention is conditioned on."""
_POSE, _LENS, _INTENSITY, _LIFTED = slice(0, 12), slice(12, 16), slice(16, 18), 18

Up = Literal["y", "z"]

USUAL_INTENSITY = (0.1, 0.15)
"""Mean and variance of a picture of which nothing is known: of pictures of `synth`, on average."""


def camera_vectors(camera: Camera, intensity: Tensor | None = None, lifted: Tensor | None = None) -> Tensor:
    """(T, WIDTH) vectors of cameras in the subject's frame.

    Args:
        camera: T frames.
        intensity: (T, 2) mean and variance of each picture; zeros when None.
        lifted: (T,) which views are lifted; all when None.
    """
    height, width = camera.size
    lens = torch.stack([camera.intrinsics[:, i, j] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))], dim=1)
    lens = lens / lens.new_tensor([width, height, width, height])
    count = len(camera)
    intensity = lens.new_zeros(count, 2) if intensity is None else intensity.to(lens)
    lifted = lens.new_ones(count) if lifted is None else lifted.to(lens)
    return torch.cat((camera.pose[:, :3].flatten(1), lens, intensity, lifted[:, None]), dim=1)


def picture_intensity(rgb: Tensor) -> Tensor:
    """(T, 2) mean and variance of linear pictures (T, 3, H, W), sRGB-encoded in [-1, 1]: ViewDiff's z3."""
    encoded = linear_to_srgb(rgb.clamp(0, 1)) * 2 - 1
    return torch.stack((encoded.mean((1, 2, 3)), encoded.var((1, 2, 3))), dim=1)


def told_intensity(how: Literal["zero", "given"], given: Tensor | None) -> Tensor:
    """(2,) mean and variance that every view to be made is told: zeros (`zero`), or those of the given pictures
    (N, 3, H, W), linear, on average; where there are none what is usual."""
    if how == "zero":
        return torch.zeros(2)
    return torch.tensor(USUAL_INTENSITY) if given is None else picture_intensity(given).mean(0)


def poses(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation (..., 3, 3) and place (..., 3) of camera vectors (..., WIDTH)."""
    pose = vectors[..., _POSE].unflatten(-1, (3, 4))
    return pose[..., :3], pose[..., 3]


def lenses(vectors: Tensor) -> Tensor:
    """(..., 4) fx, fy, cx, cy as shares of the picture's sides."""
    return vectors[..., _LENS]


def lifted(vectors: Tensor) -> Tensor:
    """(...) 1 for views that are lifted into the voxels."""
    return vectors[..., _LIFTED]


def camera_code(vectors: Tensor, up: Up = "y") -> Tensor:
    """(..., CODE) the code z of ViewDiff, section 3.2: z1 is the camera's place on a sphere about the subject (polar
    angle from `up`, sine and cosine of the azimuth, distance), z2 its lens, z3 the picture's intensity."""
    _, place = poses(vectors)
    x, y, z = place.unbind(-1)
    # Azimuth counts from +X, right-handed about the axis that is up.
    height, first, second = (y, x, -z) if up == "y" else (z, x, y)
    flat = torch.hypot(first, second)
    azimuth = torch.atan2(second, first)
    sphere = torch.stack((torch.atan2(flat, height), azimuth.sin(), azimuth.cos(), place.norm(dim=-1)), dim=-1)
    return torch.cat((sphere, vectors[..., _LENS], vectors[..., _INTENSITY]), dim=-1)


def feature_rays(vectors: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H x W, 3) directions through the centres of a feature map of `size`, as long as one unit of planar depth:
    a point at depth d is at the camera's place + d * ray."""
    height, width = size
    rotation, _ = poses(vectors)
    y, x = torch.meshgrid(
        (torch.arange(height).to(vectors) + 0.5) / height,
        (torch.arange(width).to(vectors) + 0.5) / width,
        indexing="ij",
    )
    fx, fy, cx, cy = (value[..., None] for value in lenses(vectors).unbind(-1))
    right, above = (x.flatten() - cx) / fx, (cy - y.flatten()) / fy
    rays = torch.stack((right, above, -torch.ones_like(right)), dim=-1)
    return rays @ rotation.mT


def project_to_views(points: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """World points (P, 3) in the views of vectors (N, WIDTH): (N, P, 2) as shares of width and height from the upper
    left corner, and planar depth (N, P)."""
    rotation, place = poses(vectors)
    x, y, z = ((points - place[:, None]) @ rotation).unbind(-1)
    depth = -z
    safe = torch.where(depth.abs() < 1e-6, 1e-6, depth)
    fx, fy, cx, cy = (value[:, None] for value in lenses(vectors).unbind(-1))
    return torch.stack((cx + fx * x / safe, cy - fy * y / safe), dim=-1), depth
