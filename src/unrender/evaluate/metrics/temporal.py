"""Temporal stability of clips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.evaluate.metrics.errors import mean_squared_error
from unrender.scene.camera import Camera, project, unproject
from unrender.scene.motion import pixel_centres, warp

TOLERANCE = 0.01  # relative, of the depth: beyond it another surface is seen there


@dataclass(frozen=True)
class OpticalFlow:
    """Where the pixels of each frame are seen in the next one.

    Attributes:
        flow: (T - 1, 2, H, W) how far right and down the pixel's point is in frame t + 1, in pixels.
        visible: (T - 1, 1, H, W) boolean, whether it is seen there at all.
    """

    flow: Tensor
    visible: Tensor

    def __post_init__(self) -> None:
        count, _, *size = self.flow.shape if self.flow.ndim == 4 else (0, 0, 0, 0)
        if self.flow.shape != (count, 2, *size) or self.visible.shape != (count, 1, *size):
            raise UserError(
                f"OpticalFlow of the shapes {tuple(self.flow.shape)} and {tuple(self.visible.shape)}; expected "
                "(T - 1, 2, H, W) and (T - 1, 1, H, W)"
            )


def flow_of_geometry(depth: Tensor, camera: Camera, tolerance: float = TOLERANCE) -> OpticalFlow:
    """How a world that stands still moves in the picture of a moving camera.

    The point behind each pixel centre of frame t is projected into frame t + 1. It is visible where it has a depth,
    lands between pixel centres of the frame, in front of the camera, and the depth seen there is its own within
    `tolerance` (as a part of it). Inverse depth is what is interpolated: that of a plane is linear in the picture, so
    slanted planes are exact; across a depth edge it is neither side's, so edges are left out.

    Args:
        depth: (T, 1, H, W) planar, positive, inf where there is nothing (which is never visible here).
        camera: of one frame, or of T.
    """
    pairs = [_motion(depth[t : t + 2], camera.frame(t), camera.frame(t + 1), tolerance) for t in range(len(depth) - 1)]
    if not pairs:
        raise UserError("motion needs at least two frames; this clip has one")
    return OpticalFlow(torch.cat([flow for flow, _ in pairs]), torch.cat([visible for _, visible in pairs]))


def warp_error(frames: Tensor, motion: OpticalFlow) -> float:
    """How much the look of a point changes from frame to frame (Lai et al. 2018, eq. 10): frame t + 1 is brought to
    frame t along the motion, bilinearly; the squared difference is averaged over the visible pixels and all channels
    of a pair, then over the pairs that have any. NaN where none has.

    True change counts too: highlights and reflections move over surfaces, lights may turn. So the figure of the truth
    itself belongs beside it. Zero does not mean correct: a grey clip has it.

    Args:
        frames: (T, C, H, W), in the colour space that the figure is to be of. Vectors have to be in world axes.
        motion: of T - 1 pairs.

    Raises:
        UserError: frames and motion are not of the same clip.
    """
    if frames.shape[2:] != motion.flow.shape[2:] or len(frames) != len(motion.flow) + 1:
        raise UserError(
            f"{len(frames)} frames of {tuple(frames.shape[2:])} with the motion of {len(motion.flow)} pairs of "
            f"{tuple(motion.flow.shape[2:])}; expected one pair less than frames, of the same size"
        )
    warped = warp(frames[1:], motion.flow)
    errors = [mean_squared_error(*pair) for pair in zip(warped, frames[:-1], motion.visible, strict=True)]
    seen = [error for error in errors if not math.isnan(error)]
    return fmean(seen) if seen else math.nan


def _motion(depth: Tensor, here: Camera, there: Camera, tolerance: float) -> tuple[Tensor, Tensor]:
    """Flow (1, 2, H, W) and visibility (1, 1, H, W) from the first to the second of two frames of depth."""
    height, width = here.size
    known = depth[:1].isfinite()
    points = unproject(depth[:1].where(known, 1.0), here)[0].flatten(1).T
    points = points @ here.pose[0, :3, :3].T + here.pose[0, :3, 3]
    pixels, distance = project(points, there)
    pixels, distance = pixels.reshape(1, height, width, 2), distance.reshape(1, 1, height, width)
    flow = (pixels - pixel_centres(depth)).movedim(-1, 1)
    flow = flow.where(flow.isfinite(), 0.0)
    # Rounding may push a point off the outermost centres by a hair.
    x, y = pixels.movedim(-1, 1).split(1, dim=1)
    within = (x > 0.499) & (x < width - 0.499) & (y > 0.499) & (y < height - 0.499)
    same = (distance * warp(1 / depth[1:], flow) - 1).abs() <= tolerance
    return flow, known & (distance > 0) & within & same
