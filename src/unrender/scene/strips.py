"""Large pictures a few rows at a time: what is worked out pixel by pixel needs no memory as large as the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

PIXELS = 1 << 19
"""Of a strip. Pictures that are no larger are worked on whole. Half as many save little more memory, and cost a busy
machine more time: the threads of every operation wait for one another."""


def strips(size: tuple[int, int], pixels: int = PIXELS) -> Iterator[slice]:
    """The rows of a picture of (height, width) `size` in parts of about `pixels` pixels, from the top."""
    height, width = size
    rows = max(1, pixels // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def in_strips(function: Callable[..., Tensor], *pictures: Tensor) -> Tensor:
    """What `function`, which looks at each pixel alone, makes of pictures (..., H, W), strip by strip: (..., H, W).
    Only that is ever as large as the picture. Differentiable."""
    size = (pictures[0].shape[-2], pictures[0].shape[-1])
    parts = strips(size)
    rows = next(parts)
    first = function(*(picture[..., rows, :] for picture in pictures))
    if rows.stop == size[0]:
        return first
    whole = torch.empty(*first.shape[:-2], *size, dtype=first.dtype, device=first.device)
    whole[..., rows, :] = first
    for rows in parts:
        whole[..., rows, :] = function(*(picture[..., rows, :] for picture in pictures))
    return whole
