"""The path of a clip's camera, followed on the plane that objects stand on: corners of the picture are tracked from
frame to frame (Lucas & Kanade 1981, in pyramids), and each frame's pose is the one that sees them on the plane (planar
PnP in RANSAC). Nothing else of the scene needs to be known, and what does not lie on the plane is voted out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.insert.plane import SupportPlane
from unrender.raytrace.mesh import Array
from unrender.scene.camera import Camera
from unrender.scene.color import linear_to_srgb, luminance
from unrender.scene.frames import Frames, single_frames

FEWEST = 12
"""Corners on the plane that a frame's pose needs."""

_CORNERS = 400
_ENOUGH = 200  # corners left, or new ones are looked for
_APART = 0.01  # of the picture's longer side, between corners
_SIGHT = 40.0  # heights of the camera: what of the plane is farther off hardly moves
_THERE_AND_BACK = 0.5  # pixels between a corner and where it is found again backwards in time
_OFF = 1.5  # pixels between a corner and where its pose sees it
_STILL = 0.35  # pixels that the corners of a camera that stands still move, in the median
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's camera looks along +z with y down, ours along -z with y up


@dataclass(frozen=True, eq=False)
class _Corners:
    """Attributes:
    seen: (N, 2) float32, pixels as OpenCV counts them: the first one's centre is (0, 0).
    points: (N, 3) where on the plane they are, in the world.
    """

    seen: Array
    points: Array

    def __len__(self) -> int:
        return len(self.seen)

    def kept(self, which: Array) -> _Corners:
        return _Corners(self.seen[which], self.points[which])


def follow_plane(clip: Iterable[Frames], camera: Camera, plane: SupportPlane, where: Tensor | None = None) -> Camera:
    """The camera of every frame of a clip.

    Args:
        clip: from its first frame on.
        camera: of the first frame, T = 1; its lens is that of all.
        plane: in the world of `camera`.
        where: (H, W) bool, which pixels of the first frame show the plane; all below its horizon by default.

    Returns:
        A camera of as many frames.

    Raises:
        UserError: OpenCV is not installed, frames change size, or too little of the plane stays in sight.
    """
    cv = _opencv()
    pictures = enumerate(_pictures(clip), 1)
    _, before = next(pictures)
    corners = _on_plane(_corners(cv, before, where), camera, plane)
    path = [camera.pose[0]]
    for number, picture in pictures:
        seen, kept = _followed(cv, before, picture, corners.seen)
        pose, corners = _pose_that_sees(cv, _Corners(seen, corners.points[kept]), camera, path[-1])
        if pose is None:
            raise UserError(
                f"frame {number}: {len(corners)} corners of the plane are still in sight, and the camera is followed "
                f"by {FEWEST} or more; expected --camera FILE, or --camera still"
            )
        path.append(pose)
        if len(corners) < _ENOUGH:
            fresh = _corners(cv, picture, _away_from(corners.seen, camera.size))
            fresh = _on_plane(fresh, Camera(camera.intrinsics, pose[None], camera.size), plane)
            corners = _Corners(*(np.concatenate(both) for both in zip(_parts(corners), _parts(fresh), strict=True)))
        before = picture
    return Camera(camera.intrinsics.expand(len(path), 3, 3), torch.stack(path), camera.size)


def stands_still(clip: Iterable[Frames]) -> bool:
    """Whether most corners of the first frame stay where they are. A picture without corners tells of no motion."""
    cv = _opencv()
    pictures = _pictures(clip)
    before = next(pictures)
    first = seen = _corners(cv, before, None)
    for picture in pictures:
        seen, kept = _followed(cv, before, picture, seen)
        first, before = first[kept], picture
        if len(first) < FEWEST:
            return len(_corners(cv, picture, None)) < FEWEST
        if float(np.median(np.linalg.norm(seen - first, axis=1))) > _STILL:
            return False
    return True


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise UserError("following a camera needs OpenCV; expected `pip install 'unrender[raytrace]'`") from error
    return cv2


def _pictures(clip: Iterable[Frames]) -> Iterator[Array]:
    """Brightness of the frames as a display shows it, (H, W) uint8."""
    size = None
    for number, frame in enumerate(single_frames(clip), 1):
        size = size or frame.size
        if frame.size != size:
            raise UserError(f"frame {number} is {frame.size}, and the first is {size}; expected one size")
        grey = linear_to_srgb(luminance(frame.rgb)[0, 0].clamp(0, 1))
        yield (grey * 255).round().byte().numpy()


def _corners(cv: ModuleType, picture: Array, where: Tensor | None) -> Array:
    """Corners (N, 2) of a picture, at those pixels (H, W) that `where` allows."""
    mask = None if where is None else where.numpy().astype(np.uint8) * 255
    found = cv.goodFeaturesToTrack(picture, _CORNERS, 0.01, max(3.0, _APART * max(picture.shape)), mask=mask)
    return np.zeros((0, 2), np.float32) if found is None else found[:, 0]


def _on_plane(seen: Array, camera: Camera, plane: SupportPlane) -> _Corners:
    """Corners with where their rays meet the plane, before the camera and not too far off; the others are left out."""
    k, pose = camera.intrinsics[0].double().numpy(), camera.pose[0].double().numpy()
    x, y = seen[:, 0] + 0.5, seen[:, 1] + 0.5
    local = np.stack(((x - k[0, 2]) / k[0, 0], (k[1, 2] - y) / k[1, 1], -np.ones_like(x)), 1)
    rays, normal = local @ pose[:3, :3].T, plane.normal.double().numpy()
    height = normal @ pose[:3, 3] - plane.offset
    falling = -(rays @ normal)
    distance = height / np.where(falling > 1e-6, falling, np.inf)
    kept = (distance > 0) & (distance < _SIGHT * height)
    return _Corners(seen, pose[:3, 3] + distance[:, None] * rays).kept(kept)


def _followed(cv: ModuleType, before: Array, picture: Array, seen: Array) -> tuple[Array, Array]:
    """Where corners are in the next picture, (M, 2), and which of them were found, there and back again, (N,) bool."""
    if not len(seen):
        return seen, np.zeros(0, bool)
    there, found, _ = cv.calcOpticalFlowPyrLK(before, picture, seen[:, None], None, winSize=(21, 21), maxLevel=4)
    back, again, _ = cv.calcOpticalFlowPyrLK(picture, before, there, None, winSize=(21, 21), maxLevel=4)
    near = np.linalg.norm(back[:, 0] - seen, axis=1) < _THERE_AND_BACK
    kept = (found[:, 0] > 0) & (again[:, 0] > 0) & near
    return there[kept, 0], kept


def _pose_that_sees(cv: ModuleType, corners: _Corners, camera: Camera, guess: Tensor) -> tuple[Tensor | None, _Corners]:
    """The pose (4, 4), camera to world, that sees most of the corners where they are, and these; None for too few."""
    if len(corners) < FEWEST:
        return None, corners
    lens = camera.intrinsics[0].double().numpy() - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    world = _FLIP @ np.linalg.inv(guess.double().numpy())
    turn, shift = cv.Rodrigues(world[:3, :3])[0], world[:3, 3:].copy()
    seen = corners.seen.astype(np.float64)
    found, turn, shift, chosen = cv.solvePnPRansac(
        corners.points, seen, lens, None, turn, shift, True, 200, _OFF, 0.999, flags=cv.SOLVEPNP_ITERATIVE
    )
    inliers = np.zeros(len(corners), bool)
    if chosen is not None:
        inliers[chosen[:, 0]] = True
    corners = corners.kept(inliers)
    if not found or len(corners) < FEWEST:
        return None, corners
    turn, shift = cv.solvePnPRefineLM(corners.points, seen[inliers], lens, None, turn, shift)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = cv.Rodrigues(turn)[0], shift[:, 0]
    return torch.from_numpy(np.linalg.inv(_FLIP @ world)).to(guess), corners


def _away_from(seen: Array, size: tuple[int, int]) -> Tensor:
    """(H, W) bool, pixels at which there is no corner yet."""
    free = torch.ones(size, dtype=torch.bool)
    reach = max(3, round(_APART * max(size)))
    for x, y in seen.round().astype(int):
        free[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = False
    return free


def _parts(corners: _Corners) -> tuple[Array, Array]:
    return corners.seen, corners.points
