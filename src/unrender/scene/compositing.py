"""One G-buffer over another: an object into a scene, by depth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.scene.alignment import fit_scale, fit_scale_shift
from unrender.scene.camera import pixel_rays

if TYPE_CHECKING:
    from unrender.scene.gbuffer import GBuffer

CONTACT = 0.05
"""Of an object's height, above its lowest point: what lies there is taken to stand on something."""

REACH = 0.02
"""Of the picture's height: how far around an object's foot the ground is looked at."""

MOST_POINTS = 300
"""Pixels between which slopes are taken."""

FEWEST = 8
"""Pixels of contact below which nothing can be fitted."""

FLAT = 0.01
"""Spread of the ground's depth around the foot, as a share of its mean, below which it says nothing of a shift."""

SLACK = 0.02
"""Share of its depth by which the ground may hide an object before it does: an aligned depth is no exact one."""


def over(front: GBuffer, back: GBuffer) -> tuple[GBuffer, Tensor]:
    """The G-buffer of `front` before that of `back`, and hidden by it where it is farther away.

    Where both depths are metric they are compared as they are, in the camera that both share. Else the depth of `back`
    is brought to that of `front` first: by the scale and shift (a scale alone where `back` is metric, in another unit)
    that bring the ground around the foot of the object to the level plane on which the object stands, least squares,
    once for all frames. The foot is what lies within `CONTACT` of the object's height above its lowest point, up in the
    world of its camera.

    Args:
        front: an object's G-buffer, of one frame or as many as `back`, with a mask and of the same size; the mask is
            how much of each pixel it covers. With a depth it can be hidden.
        back: the scene's.

    Returns:
        The joined G-buffer with the maps that both have (`instance`: those of `front` are numbered on from those of
        `back`, or 1 where only one has them), the depth of `front`'s kind, and the camera, picture and rate of `back`;
        and (T, 1, H, W), how much of each pixel shows `front`.

    Raises:
        UserError: no mask, other sizes or numbers of frames, or a foot of which too little is seen.
    """
    front.require("mask", by="the object that is to be laid over a scene")
    if front.size != back.size or len(front) not in (1, len(back)):
        raise UserError(
            f"an object of {len(front)} frames of {front.size}, a scene of {len(back)} of {back.size} (height, width); "
            "expected one size, and one frame or as many"
        )
    maps = {name: value.expand(len(back), -1, -1, -1) for name, value in front.maps.items()}
    visible = maps["mask"]
    if front.depth is not None and back.depth is not None:
        aligned = _aligned(front, back)
        hidden = maps["depth"] * (1 - SLACK) > aligned
        visible = visible * (~hidden)
        back = back.with_maps(depth=aligned)
    joined = {}
    for name, value in back.maps.items():
        if name == "rgb":
            joined[name] = value
        elif name in maps or name == "instance":
            joined[name] = _join(name, maps, value, visible)
    if "mask" not in joined:
        joined["mask"] = torch.ones_like(visible)
    kind = front.depth_kind if "depth" in joined else back.depth_kind
    others = dict.fromkeys(back.maps)
    return replace(back, **(others | joined), depth_kind=kind), visible


def _join(name: str, front: dict[str, Tensor], back: Tensor, visible: Tensor) -> Tensor:
    if name == "mask":
        return visible + back * (1 - visible)
    shown = visible > 0.5
    if name == "instance":
        last = back.max()
        own = front.get("instance", torch.ones_like(visible))
        return torch.where(shown, own + last, back)
    if name in ("depth", "disparity"):  # a mean of two depths is neither's
        return torch.where(shown, front[name], back)
    mixed = front[name] * visible + back * (1 - visible)
    if name == "normal":
        length = mixed.norm(dim=1, keepdim=True)
        return torch.where(length > 1e-6, mixed / length.clamp(min=1e-6), torch.zeros_like(mixed))
    return mixed


def _aligned(front: GBuffer, back: GBuffer) -> Tensor:
    """The depth of `back` in the unit of `front`'s."""
    assert back.depth is not None
    if front.depth_kind == back.depth_kind == "metric":
        return back.depth
    plane, around = _contact_plane(front)
    plane, around = plane.expand_as(back.depth), (around > 0).expand_as(back.depth) & back.depth.isfinite()
    if int(around.sum()) < FEWEST:
        raise UserError(
            f"the object stands on {int(around.sum())} pixels whose depth is known; expected {FEWEST} or more to bring "
            "the scene's depth to its own, or metric depths of both"
        )
    values, target = (depth[around].reshape(1, 1, 1, -1) for depth in (back.depth, plane))
    # What stands on the ground around the foot is no ground: the fit is of those that agree with the median of slopes.
    slope, middle = _median_line(values.flatten(), target.flatten())
    error = (values * slope + middle - target).abs() / target
    agrees = (error <= 3 * error.median().clamp(min=1e-3)).float()
    scale, shift = _fit(values, target, agrees, metric=back.depth_kind == "metric")
    return (back.depth * scale + shift).clamp(min=1e-6)


def _median_line(values: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The line through points that a quarter of outliers does not move: the median of the slopes between them (Theil
    and Sen), and of what is left."""
    few = slice(None, None, max(1, len(values) // MOST_POINTS))
    x, y = values[few], target[few]
    rise, run = y[:, None] - y, x[:, None] - x
    apart = run.abs() > 1e-6 * x.abs().mean()
    slope = (rise[apart] / run[apart]).median() if bool(apart.any()) else torch.ones_like(x[0])
    return slope, (target - slope * values).median()


def _fit(values: Tensor, target: Tensor, weight: Tensor, *, metric: bool) -> tuple[Tensor, Tensor]:
    """Scale and shift; a scale alone of a depth in another unit, or where so little depth is seen that none is sure."""
    scale, shift = fit_scale_shift(values, target, weight)
    flat = target.std() < FLAT * target.mean()
    if metric or bool(flat) or float(scale) <= 0:
        scale, shift = fit_scale(values, target, weight), torch.zeros_like(shift)
    return scale, shift


def _contact_plane(front: GBuffer) -> tuple[Tensor, Tensor]:
    """The planar depth of the level plane through the object's lowest point, and where it is seen around the foot: both
    (T, 1, H, W)."""
    assert front.depth is not None
    assert front.mask is not None
    there = (front.mask > 0.5) & front.depth.isfinite()
    camera = front.camera_or_default()
    upward = torch.einsum("tj,tjhw->thw", camera.pose[:, 1, :3], pixel_rays(camera))[:, None]
    upward = upward.expand(len(front), -1, -1, -1)
    height = upward * torch.where(there, front.depth, 0.0)
    foot, lowest = torch.zeros_like(front.depth), torch.zeros(len(front), 1, 1, 1).to(height)
    for index in range(len(front)):
        own = height[index][there[index]]
        if own.numel():
            low, high = own.min(), own.max()
            lowest[index] = low
            foot[index] = (there[index] & (height[index] <= low + CONTACT * (high - low))).float()
    reach = max(1, round(REACH * front.size[0]))
    around = functional.max_pool2d(foot, 2 * reach + 1, stride=1, padding=reach)
    plane = lowest / torch.where(upward == 0, 1.0, upward)
    return plane, around * ((upward != 0) & (plane > 0)).float()
