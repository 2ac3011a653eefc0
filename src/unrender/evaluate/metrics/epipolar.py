"""Epipolar agreement of two posed pictures (TSED, Yu et al. 2023): corners matched between them should lie on one
another's epipolar lines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.camera import Camera

CORNERS, PATCH = 200, 9
MOST_ALIKE = 0.85
"""Ratio of the best to the second best distance above which a match is no match (Lowe 2004)."""
FEWEST = 10
"""Matches without which a pair says nothing, and does not pass."""
THRESHOLD = 2.0
"""Pixels at a picture of 256: half of the matches have to be nearer to their lines."""


def median_epipolar_distance(first: Tensor, second: Tensor, cameras: tuple[Camera, Camera]) -> tuple[float, int]:
    """The median symmetric epipolar distance of the matches of two pictures (3, H, W), sRGB-encoded, in pixels; and how
    many matches there are. NaN where there is none.

    Args:
        cameras: of both, one frame each.
    """
    matched = match(first, second)
    if not len(matched[0]):
        return float("nan"), 0
    matrix = fundamental_matrix(*cameras)
    ones = torch.ones(len(matched[0]), 1, dtype=torch.float64)
    a, b = (torch.cat((points.double(), ones), dim=1) for points in matched)
    lines_b, lines_a = a @ matrix.T, b @ matrix
    off = (b * lines_b).sum(1).abs()
    distance = 0.5 * (off / lines_b[:, :2].norm(dim=1) + off / lines_a[:, :2].norm(dim=1))
    return float(distance.median()), len(a)


def fundamental_matrix(first: Camera, second: Camera) -> Tensor:
    """(3, 3) F with x2^T F x1 = 0 for the pixels (x, y, 1) of one point in both pictures (Hartley and Zisserman 2004,
    eq. 9.1)."""
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))  # OpenGL to OpenCV

    def to_camera(camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
        pose = camera.pose[0].double()
        turn = flip @ pose[:3, :3].T
        return camera.intrinsics[0].double(), turn, -turn @ pose[:3, 3]

    (k1, r1, t1), (k2, r2, t2) = to_camera(first), to_camera(second)
    turn = r2 @ r1.T
    x, y, z = t2 - turn @ t1
    zero = torch.zeros((), dtype=torch.float64)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero)).view(3, 3)
    return torch.linalg.inv(k2).T @ cross @ turn @ torch.linalg.inv(k1)


def match(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels (M, 2) as (x, y) of corners that are one another's nearest by their normalised patches."""
    (at_a, patch_a), (at_b, patch_b) = (_corners(picture) for picture in (first, second))
    if len(at_a) < 2 or len(at_b) < 2:
        return at_a[:0], at_b[:0]
    distance = torch.cdist(patch_a, patch_b)
    best, to_b = distance.topk(2, dim=1, largest=False)
    back = distance.argmin(0)
    index = torch.arange(len(at_a))
    kept = (back[to_b[:, 0]] == index) & (best[:, 0] < MOST_ALIKE * best[:, 1])
    return at_a[kept], at_b[to_b[kept, 0]]


def _corners(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (N, 2) and normalised patches (N, D) of the strongest corners (Harris and Stephens 1988)."""
    grey = picture.mean(0)[None, None]
    dx = functional.conv2d(grey, grey.new_tensor([[[[-0.5, 0, 0.5]]]]), padding=(0, 1))
    dy = functional.conv2d(grey, grey.new_tensor([[[[-0.5], [0], [0.5]]]]), padding=(1, 0))
    xx, yy, xy = (functional.avg_pool2d(each, 5, 1, 2) for each in (dx * dx, dy * dy, dx * dy))
    strength = xx * yy - xy * xy - 0.05 * (xx + yy) ** 2
    peak = (
        (strength == functional.max_pool2d(strength, 5, 1, 2)) & (strength > 1e-3 * strength.max()) & (strength > 1e-9)
    )
    margin = PATCH // 2 + 1
    inner = torch.zeros_like(peak)
    inner[..., margin:-margin, margin:-margin] = True
    found = (peak & inner)[0, 0].nonzero()
    order = strength[0, 0][found[:, 0], found[:, 1]].argsort(descending=True)[:CORNERS]
    rows, columns = found[order].unbind(1)
    patches = functional.unfold(picture[None], PATCH, padding=PATCH // 2)[0].T
    chosen = patches[rows * picture.shape[2] + columns]
    chosen = functional.normalize(chosen - chosen.mean(1, keepdim=True), dim=1)
    return torch.stack((columns, rows), dim=1) + 0.5, chosen
