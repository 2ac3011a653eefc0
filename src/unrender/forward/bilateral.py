"""Noise taken out of coarse pictures, and coarse pictures brought to full size, along the edges of a surface.

Joint bilateral filters (Eisemann & Durand 2004; Kopf et al. 2007) whose guides are normals and depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FACETS = 16  # exponent of the cosine between normals
PLANE = 0.02  # of its depth, how far a neighbour may lie off a pixel's tangent plane
REACH = 2  # taps on either side
DEEPEST = 1e8  # what stands for a depth of nothing


@dataclass(frozen=True)
class Guides:
    """What a surface is like, for the edges of a filter.

    Attributes:
        points: (3, H, W) camera-space positions, 0 where there is none.
        normal: (3, H, W) unit, camera space, the zero vector where there is none.
        stride: pixels of the full picture between two of this one.
    """

    points: Tensor
    normal: Tensor
    stride: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.normal.shape[1], self.normal.shape[2]

    def flat(self) -> Tensor:
        """(6, H * W): points and normals."""
        return torch.cat((self.points, self.normal)).reshape(6, -1)


def likeness(one: Tensor, other: Tensor) -> Tensor:
    """How alike two surfaces (6, ...) of `Guides.flat` are, (...) in [0, 1]: alike in normal, and each in the other's
    plane."""
    cosine = (one[3:] * other[3:]).sum(0).clamp(0, 1)
    off = ((one[:3] - other[:3]) * one[3:]).sum(0) / (PLANE * one[2].abs() + 1e-9)
    for _ in range(4):  # to the power of FACETS
        cosine = cosine * cosine
    return cosine * torch.exp(-off.square())


def smooth(values: Tensor, guides: Guides, passes: int) -> Tensor:
    """(C, H, W) filtered across and then down, `passes` times with taps twice as far apart each (à-trous, Dammertz et
    al. 2010)."""
    surface = torch.cat((guides.points, guides.normal))
    for step in (1 << n for n in range(passes)):
        for dim in (2, 1):
            total, weights = values.clone(), torch.ones_like(values[0])
            for tap in range(1, REACH + 1):
                shift = tap * step
                length = values.shape[dim] - shift
                if length <= 0:
                    continue
                low = (slice(None),) * dim + (slice(0, length),)
                high = (slice(None),) * dim + (slice(shift, None),)
                weight = likeness(surface[low], surface[high]) * (1 - tap / (REACH + 1.5))
                total[low].addcmul_(values[high], weight)
                total[high].addcmul_(values[low], weight)
                weights[low[1:]].add_(weight)
                weights[high[1:]].add_(weight)
            values = total / weights
    return values


def enlarge(values: Tensor, guides: Guides, pixel: Tensor, surface: Tensor, width: int) -> Tensor:
    """(C, N): coarse pictures (C, h, w) at pixels of the full picture, by those of the four around that are alike.

    Args:
        values: the pictures, of `guides`' size.
        guides: the coarse surface.
        pixel: (N,) flat indices in a full picture of `width` columns.
        surface: (6, N) points and normals there, as `Guides.flat` has them.
        width: of the full picture.
    """
    if guides.stride == 1:
        return values.reshape(len(values), -1).index_select(1, pixel)
    height, columns = guides.size
    flat, coarse = values.reshape(len(values), -1), guides.flat()
    half = guides.stride // 2
    y = (torch.div(pixel, width, rounding_mode="floor").to(values) - half) / guides.stride
    x = (torch.remainder(pixel, width).to(values) - half) / guides.stride
    top, left = y.floor(), x.floor()
    total, weights = flat.new_zeros(len(flat), len(pixel)), flat.new_zeros(len(pixel))
    for dy in (0, 1):
        for dx in (0, 1):
            near = (1 - (y - top - dy).abs()) * (1 - (x - left - dx).abs()) + 1e-3
            row = (top + dy).long().clamp_(0, height - 1)
            index = (left + dx).long().clamp_(0, columns - 1).add_(row, alpha=columns)
            # What no neighbour is like still takes a little of all.
            weight = near * (likeness(surface, coarse.index_select(1, index)) + 1e-3)
            total.addcmul_(flat.index_select(1, index), weight)
            weights.add_(weight)
    return total / weights
