"""How a picture moves from one frame to the next: dense optical flow, and what is seen in both frames."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WINDOW_RADIUS = 3
"""Pixels around each one that have to move with it."""

ROUNDS = 4
"""Refinements at every size of the picture."""

SMALLEST_SIDE = 16
"""Pixels of the shorter side of the coarsest picture that motion is looked for in."""

STIFFNESS = 4e-2
"""Squared gradient of the encoded picture below which a pixel rather moves as its neighbours do."""

RETURNS_WITHIN = 1.0
"""Pixels by which a point may miss itself on the way there and back (Sundaram et al. 2010, eq. 5), plus a twentieth of
the way."""

LOOKS_ALIKE = 0.06
"""Difference of encoded colours, averaged around a point, that speaks for another surface."""


def optical_flow(here: Tensor, there: Tensor) -> Tensor:
    """How far right and down the content of each pixel of `here` is in `there`, in pixels: (B, 2, H, W).

    Iterative Lucas-Kanade from coarse to fine (Bouguet 2001) over windows of 7 pixels, in which pixels without texture
    take the motion of their neighbours.

    Args:
        here, there: (B, C, H, W) display-encoded, in about [0, 1].
    """
    pyramid = [(here, there)]
    while min(pyramid[-1][0].shape[2:]) >= 2 * SMALLEST_SIDE:
        pyramid.append((_halved(pyramid[-1][0]), _halved(pyramid[-1][1])))
    flow = here.new_zeros(len(here), 2, *pyramid[-1][0].shape[2:])
    for first, second in reversed(pyramid):
        flow = _enlarged(flow, (first.shape[2], first.shape[3]))
        for _ in range(ROUNDS):
            flow = _refined(flow, first, second)
    return flow


def visibility(here: Tensor, there: Tensor, flow: Tensor, back: Tensor) -> Tensor:
    """How sure it is, in [0, 1], that what is seen at each pixel of `here` is what `flow` leads to in `there`:
    (B, 1, H, W).

    0 outside the picture, where the way back misses the pixel, and where the two look different.

    Args:
        here, there: (B, C, H, W) display-encoded.
        flow, back: (B, 2, H, W) from `here` to `there`, and from there to here.
    """
    height, width = flow.shape[2:]
    at = pixel_centres(flow) + flow.movedim(1, -1)
    x, y = at.movedim(-1, 1).split(1, dim=1)
    inside = (x > 0) & (x < width) & (y > 0) & (y < height)
    missed = (flow + warp(back, flow)).norm(dim=1, keepdim=True)
    returns = missed < RETURNS_WITHIN + 0.05 * flow.norm(dim=1, keepdim=True)
    # Averaged before it is squared: grain is no other surface.
    difference = _blurred(warp(there, flow) - here, 2).square().mean(1, keepdim=True).sqrt()
    return (inside & returns) * torch.exp(-((difference / LOOKS_ALIKE) ** 2))


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """(B, C, H, W) sampled bilinearly where `flow` (B, 2, H, W) leads to; edges repeat beyond the picture."""
    height, width = frames.shape[2:]
    at = pixel_centres(flow) + flow.movedim(1, -1)
    grid = 2 * at / at.new_tensor([width, height]) - 1
    return functional.grid_sample(frames, grid.to(frames), "bilinear", "border", align_corners=False)


def pixel_centres(like: Tensor) -> Tensor:
    """(H, W, 2) the pixel centres of pictures (..., H, W), as (x, y)."""
    height, width = like.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).to(like) + 0.5, torch.arange(width).to(like) + 0.5, indexing="ij")
    return torch.stack((x, y), dim=-1)


def _refined(flow: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """One step of Lucas-Kanade: per pixel (J + a I) d = -J_t + a (mean flow around - flow)."""
    warped = warp(there, flow)
    dx, dy = _gradients((warped + here) / 2)
    change = warped - here
    xx, xy, yy, xt, yt = (
        _blurred((a * b).sum(1, keepdim=True), WINDOW_RADIUS)
        for a, b in ((dx, dx), (dx, dy), (dy, dy), (dx, change), (dy, change))
    )
    pull = STIFFNESS * (_blurred(flow, WINDOW_RADIUS) - flow)
    right_x, right_y = pull[:, :1] - xt, pull[:, 1:] - yt
    xx, yy = xx + STIFFNESS, yy + STIFFNESS
    determinant = xx * yy - xy * xy
    step = torch.cat((yy * right_x - xy * right_y, xx * right_y - xy * right_x), dim=1) / determinant
    return flow + step.clamp(-1, 1)


def _gradients(picture: Tensor) -> tuple[Tensor, Tensor]:
    padded = functional.pad(picture, (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    return across, (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2


def _blurred(values: Tensor, radius: int) -> Tensor:
    return functional.avg_pool2d(values, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)


def _halved(picture: Tensor) -> Tensor:
    size = [max(1, side // 2) for side in picture.shape[2:]]
    return functional.interpolate(picture, size=size, mode="bilinear", antialias=True)


def _enlarged(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow at another size, in its pixels."""
    factor = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]])[:, None, None]
    return functional.interpolate(flow, size=size, mode="bilinear", align_corners=False) * factor
