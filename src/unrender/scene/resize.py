"""Resizing of pictures and G-buffers: every map is averaged according to its meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.strips import in_strips

Filter = Literal[
    "bilinear", "bilinear_sharp", "bilinear_bytes", "bicubic", "nearest", "nearest_exact", "nearest_double"
]
"""How values are found between pixels. `bilinear` and `bicubic` are widened to an area where a picture shrinks;
`bilinear_sharp` is not, and aliases there; `bilinear_bytes` is `bilinear`, but of a picture of 8 bits it is Pillow's.
`nearest` takes the pixel at floor(i scale), `nearest_exact` the one whose
centre is nearest; `nearest_double` is `nearest` with a scale of double precision, as in OpenCV, not torch: where
i scale is a whole number, the two may take neighbours."""

_MODES: dict[Filter, dict[str, str | bool]] = {
    "bilinear": {"mode": "bilinear", "antialias": True},
    "bilinear_sharp": {"mode": "bilinear"},
    "bilinear_bytes": {"mode": "bilinear", "antialias": True},
    "bicubic": {"mode": "bicubic", "antialias": True},
    "nearest": {"mode": "nearest"},
    "nearest_exact": {"mode": "nearest-exact"},
}


def resize_picture(rgb: Tensor, size: tuple[int, int], filter: Filter = "bilinear") -> Tensor:
    """(T, C, H, W) linear values at (height, width) `size`: linear interpolation, widened to an area where it shrinks,
    or what another `filter` says.

    Values stay within the range they had (but for `bicubic`). Light may only be averaged in linear values:
    decode before. Pixel centres are kept at half: the corners of the picture stay its corners.
    """
    if min(size) < 1:
        raise UserError(f"a picture of size {size[0]} x {size[1]}; expected at least 1 x 1")
    if tuple(rgb.shape[2:]) == tuple(size):
        return rgb
    if filter == "nearest_double":
        rows, columns = (_whole_index(old, new) for old, new in zip(rgb.shape[2:], size, strict=True))
        return rgb[:, :, rows][..., columns]
    return functional.interpolate(rgb, size=tuple(size), **_MODES[filter])  # ty: ignore[invalid-argument-type]


def resize_normal(normal: Tensor, size: tuple[int, int]) -> Tensor:
    """Unit normals (T, 3, H, W), zero where there is none, at `size`: averaged and made unit again.

    A pixel with less than half of its area covered by normals, or whose normals cancel, becomes "none".
    """
    if tuple(normal.shape[2:]) == tuple(size):
        return normal
    present = in_strips(lambda part: (part.square().sum(1, keepdim=True) > 0.25).to(part), normal)

    def unit(mean: Tensor, covered: Tensor) -> Tensor:
        kept = (covered >= 0.5) & (mean.norm(dim=1, keepdim=True) > 1e-3)
        return torch.where(kept, functional.normalize(mean, dim=1), torch.zeros_like(mean))

    return in_strips(unit, resize_picture(normal, size), resize_picture(present, size))


def resize_depth(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Planar depth (T, 1, H, W), +inf where there is nothing, at `size`: the mean of what is there.

    A pixel with less than half of its area covered becomes +inf; background never pulls on the foreground.
    """
    if tuple(depth.shape[2:]) == tuple(size):
        return depth
    present = depth.isfinite()
    weight = resize_picture(present.to(depth), size)
    total = resize_picture(torch.where(present, depth, torch.zeros_like(depth)), size)

    def mean(total: Tensor, weight: Tensor) -> Tensor:
        return torch.where(weight >= 0.5, total / weight.clamp(min=0.5), torch.full_like(total, torch.inf))

    return in_strips(mean, total, weight)


def resize_instance(instance: Tensor, size: tuple[int, int]) -> Tensor:
    """Instances (T, 1, H, W) at `size`: labels are not interpolated: the nearest pixel's number."""
    return resize_picture(instance, size, "nearest_exact")


def resize_gbuffer(gbuffer: GBuffer, size: tuple[int, int]) -> GBuffer:
    """The G-buffer at (height, width) `size`, its camera with it: normals unit, depth free of background, instances
    those of the nearest pixel, the rest averaged."""
    rules = {"normal": resize_normal, "depth": resize_depth, "instance": resize_instance}
    maps = {name: rules.get(name, resize_picture)(value, size) for name, value in gbuffer.maps.items()}
    camera = gbuffer.camera.resized(size) if gbuffer.camera is not None else None
    return replace(gbuffer, camera=camera, **maps)


def resize_frames(frames: Frames, size: tuple[int, int]) -> Frames:
    """The frames at (height, width) `size`, their mask with them."""
    mask = resize_picture(frames.mask, size) if frames.mask is not None else None
    return replace(frames, rgb=resize_picture(frames.rgb, size), mask=mask)


def _whole_index(old: int, new: int) -> Tensor:
    """(new,) the pixel of `old` that each of `new` takes: floor(i / (new / old))."""
    return (torch.arange(new, dtype=torch.float64) * (1 / (new / old))).long().clamp(max=old - 1)
