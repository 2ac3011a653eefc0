"""Where the points of a rendered clip are in the next frame, as its truth knows."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.evaluate.metrics.temporal import OpticalFlow, flow_of_geometry
from unrender.scene.color import linear_to_srgb
from unrender.scene.gbuffer import GBuffer
from unrender.scene.motion import warp

SAME_COLOUR = 0.05
"""Encoded base colours that differ by more are of two surfaces."""

SAME_NORMAL = 0.98
"""So are unit normals whose cosine is less."""


def known_motion(truth: GBuffer) -> OpticalFlow:
    """The motion of a clip with ground truth: that of a world that stands still before its camera, where the truth says
    that it stands still. A point counts as visible where, besides its depth, its base colour and its normal in world
    axes are those that the next frame has there; so things that move by themselves are left out.

    Args:
        truth: T >= 2 frames with depth (metric), base_color, normal and a camera.

    Raises:
        UserError: a map is missing, or there is one frame only.
    """
    truth.require("depth", "base_color", "normal", by="known motion")
    maps = truth.maps
    motion = flow_of_geometry(maps["depth"], truth.camera_or_default())
    colour, normal = linear_to_srgb(maps["base_color"].clamp(0, 1)), world_normals(truth, maps["normal"])
    there = [warp(values[1:], motion.flow) for values in (colour, normal)]
    same = (there[0] - colour[:-1]).abs().amax(1, keepdim=True) < SAME_COLOUR
    same &= (there[1] * normal[:-1]).sum(1, keepdim=True) > SAME_NORMAL
    return OpticalFlow(motion.flow, motion.visible & same)


def world_normals(truth: GBuffer, normal: Tensor) -> Tensor:
    """Normals (T, 3, H, W) in camera axes, brought to the world of the camera of `truth`."""
    rotation = truth.camera_or_default().pose.expand(len(normal), 4, 4)[:, :3, :3]
    return torch.einsum("tij,tjhw->tihw", rotation.to(normal), normal)
