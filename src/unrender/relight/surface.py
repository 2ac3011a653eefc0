"""Where a picture shows surfaces that can be relit, softly: the source's alpha, or what a network guessed."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.upsampling import guided_upsample
from unrender.scene.color import linear_to_srgb, luminance
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_picture
from unrender.scene.strips import in_strips

UNSURE, SURE = 0.3, 0.9
"""A guessed mask at or below the first is no surface, at or above the second wholly one. `mini` says 0.9 and more of
plain surfaces, under 0.1 of sky, and what lies between where it does not know."""

WORKING_SIDE = 256
"""Pixels of the longer side at which edges are drawn along the photo's; twice what a small network sees."""

RADIUS = 6
"""Pixels of the working size around each one that its edge is fitted to."""

WIDE = 24
"""The same where the guess itself is unsure: patches of doubt in a smooth sky are evened out with what is around."""

DOUBT = 0.2
"""Mean of 4 m (1 - m) of a mask around a pixel at which it is evened out wholly."""

EPSILON = 1e-3
"""Variance of the photo, squared display values, below which it has no edge to follow."""

HELD = 0.5
"""Share of the guess of the frame before in that of a frame of a clip: a mask moves, and does not flicker."""


def soft_surface(frames: Frames, gbuffer: GBuffer, previous: Tensor | None = None) -> tuple[GBuffer, Tensor | None]:
    """`gbuffer` with a mask that says how much of each pixel is relit, and with normals wherever that is anything.

    An alpha of the source that is not 1 everywhere is obeyed as it is. Else the guessed mask of the G-buffer counts
    (where there is none, whether there is a normal): what is unsure is made soft between `UNSURE` and `SURE`, and its
    edges are drawn along those of the photo by a guided filter (He et al. 2013). Where the mask is partial the photo's
    own pixel fades in.

    Args:
        frames: the photo, (T, 3, H, W), with its alpha.
        gbuffer: what the inverse renderer gave for it.
        previous: (1, 1, H, W) the guess for the frame before, None for the first frame.

    Returns:
        The G-buffer, and the guess (1, 1, H, W) for its last frame, to be handed on; None where the alpha says it, or
        nobody that anything is no surface.
    """
    if frames.mask is not None and bool((frames.mask < 1).any()):
        return _filled(gbuffer.with_maps(mask=frames.mask)), None
    guess = _guess(gbuffer)
    if gbuffer.mask is None and previous is None and bool((guess == 1).all()):
        return gbuffer.with_maps(mask=frames.mask), None  # nobody says that anything is no surface
    steady = []
    for frame in guess.split(1):
        if previous is not None and previous.shape == frame.shape:
            frame = torch.lerp(frame, previous, HELD)
        steady.append(frame)
        previous = frame
    del guess
    mask = in_strips(_soften, steady[0] if len(steady) == 1 else torch.cat(steady))
    if bool((mask < 1).any()):
        coarse = resize_picture(mask, _working_size(frames.size))
        del mask  # of a large picture it need not be kept beside what follows
        mask = _followed(coarse, frames.rgb)
    return _filled(gbuffer.with_maps(mask=mask)), previous


def follow_photo(mask: Tensor, rgb: Tensor) -> Tensor:
    """A mask (T, 1, H, W) in [0, 1] with its edges moved to those of the photo (T, 3, H, W) linear, and still soft.

    What is the same all around, 0 or 1, stays so.
    """
    return _followed(resize_picture(mask, _working_size((rgb.shape[2], rgb.shape[3]))), rgb)


def _working_size(size: tuple[int, int]) -> tuple[int, int]:
    factor = min(1.0, WORKING_SIDE / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _followed(coarse: Tensor, rgb: Tensor) -> Tensor:
    """`follow_photo` of a mask at its working size."""
    guide = in_strips(lambda part: linear_to_srgb(luminance(part.clamp(0, 1))), rgb)
    picture = resize_picture(guide, (coarse.shape[2], coarse.shape[3]))
    # Doubt spreads as far as the wide window sees it; what is sure all around is left to the narrow one.
    doubt = (4 * _blur(coarse * (1 - coarse), WIDE) / DOUBT).clamp(0, 1)
    even = torch.lerp(coarse, _guided_filter(coarse, picture, WIDE), doubt)
    edges = _guided_filter(even, picture, RADIUS)
    return guided_upsample(edges, guide).clamp_(0, 1)


def _guess(gbuffer: GBuffer) -> Tensor:
    """(T, 1, H, W) in [0, 1]: the guessed mask; without one, 1 where there is a normal."""
    if gbuffer.mask is not None:
        return gbuffer.mask
    assert gbuffer.normal is not None
    return in_strips(lambda normal: (normal.square().sum(1, keepdim=True) > 0.25).to(normal), gbuffer.normal)


def _soften(guess: Tensor) -> Tensor:
    """A smooth step from `UNSURE` to `SURE`."""
    x = ((guess - UNSURE) / (SURE - UNSURE)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _guided_filter(values: Tensor, guide: Tensor, radius: int) -> Tensor:
    """He et al. 2013, eq. 5-8, with one guide (T, 1, h, w) for values (T, 1, h, w)."""
    mean_guide, mean = _blur(guide, radius), _blur(values, radius)
    variance = _blur(guide * guide, radius) - mean_guide.square() + EPSILON
    slope = (_blur(guide * values, radius) - mean_guide * mean) / variance
    return (_blur(slope, radius) * guide + _blur(mean - slope * mean_guide, radius)).clamp(0, 1)


def _blur(values: Tensor, radius: int) -> Tensor:
    return functional.avg_pool2d(values, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)


def _filled(gbuffer: GBuffer) -> GBuffer:
    """Normals where the mask is anything and the inverse renderer gave none: those of the nearest that have one.

    Found by halving the picture until every pixel of it has a normal, and reading that where finer ones have none.
    """
    assert gbuffer.mask is not None
    normal = gbuffer.normal
    if normal is None or not bool(_lacking(normal, gbuffer.mask).any()) or not bool((normal != 0).any()):
        return gbuffer
    levels = [normal]
    while bool(in_strips(_is_zero, levels[-1]).any()) and max(levels[-1].shape[2:]) > 1:
        height, width = levels[-1].shape[2:]
        halved = functional.adaptive_avg_pool2d(levels[-1], (max(1, height // 2), max(1, width // 2)))
        levels.append(functional.normalize(halved, dim=1))
    found = levels.pop()
    for finer in reversed(levels):
        coarse = resize_picture(found, (finer.shape[2], finer.shape[3]))
        lacks = _lacking(normal, gbuffer.mask) if finer is normal else in_strips(_is_zero, finer)
        found = in_strips(_with_other, finer, coarse, lacks)
        del coarse
    return replace(gbuffer, normal=found)


def _is_zero(normal: Tensor) -> Tensor:
    return normal.square().sum(1, keepdim=True) == 0


def _with_other(normal: Tensor, other: Tensor, lacking: Tensor) -> Tensor:
    """Normals, and where they are lacking others of any length, made unit."""
    return torch.where(lacking, functional.normalize(other, dim=1), normal)


def _lacking(normal: Tensor, mask: Tensor) -> Tensor:
    """(T, 1, H, W) where there is something to relight and no normal."""
    return in_strips(lambda n, m: (n.square().sum(1, keepdim=True) <= 0.25) & (m > 0), normal, mask)
