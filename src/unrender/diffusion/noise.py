"""The noise that sampling starts from."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.diffusion.card import NoiseKind

DISCOUNT = 0.9
"""Weight of each octave of multi-resolution noise against the one before (Marigold's)."""


def draw_noise(kind: NoiseKind, shape: tuple[int, ...], seed: int, *, shared: bool = False, parts: int = 1) -> Tensor:
    """Noise of `shape` (B, C, h, w), drawn on the CPU so that every device gets the same.

    Args:
        kind: `zeros` (E2E-FT), `gaussian`, or `multi_resolution` (see `multi_resolution_noise`); `none` is zeros too,
            which nobody will look at.
        shape: of the result.
        seed: same seed, same noise.
        shared: one noise for all B items, as single-step video models want for a steady clip.
        parts: groups of channels that are drawn one after the other, as by a pipeline that is called once for each.
    """
    if kind in ("zeros", "none"):
        return torch.zeros(shape)
    generator = torch.Generator().manual_seed(seed)
    items = 1 if shared else shape[0]
    draw = multi_resolution_noise if kind == "multi_resolution" else _gaussian
    drawn = [draw((items, shape[1] // parts, *shape[2:]), generator) for _ in range(parts)]
    return torch.cat(drawn, dim=1).expand(shape).contiguous()


def multi_resolution_noise(
    shape: tuple[int, ...], generator: torch.Generator, *, octaves: int = 10, discount: float = DISCOUNT
) -> Tensor:
    """Gaussian noise plus ever coarser, ever weaker octaves of it, scaled to unit deviation (Whitaker 2023, as used by
    Marigold and E2E-FT): octave i = 0, 1, ... is r^i times smaller than the one before, r ~ U(2, 4), weighs discount^i,
    and the last has one pixel."""
    batch, channels, height, width = shape
    noise = _gaussian(shape, generator)
    size_h, size_w = height, width
    for octave in range(octaves):
        ratio = float(torch.rand((), generator=generator)) * 2 + 2
        size_h, size_w = max(1, int(size_h / ratio**octave)), max(1, int(size_w / ratio**octave))
        coarse = _gaussian((batch, channels, size_h, size_w), generator)
        up = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
        noise = noise + up * discount**octave
        if size_h == 1 or size_w == 1:
            break
    return noise / noise.std()


def _gaussian(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)
