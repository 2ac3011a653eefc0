"""Detail kept by ratio transfer, and how far a change of light is believed.

    relit = rendered * photo / re-rendered * exp((belief - 1) * (change - mean change))

where change is log(rendered / re-rendered): the photo keeps all that it shows, and is multiplied by the change of light
that the G-buffer calls for, its mean whole, and what varies over the picture as far as it is believed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.color import luminance
from unrender.scene.resize import resize_picture
from unrender.scene.strips import in_strips

DARK = 0.02
"""Linear luminance under which a re-rendering says too little to be divided by; an 8-bit picture holds 39/255 there."""

SMALLEST_RATIO, LARGEST_RATIO = 1 / 16, 4.0
"""Beyond these a ratio is a fault of the re-rendering, not detail of the photo."""

NEIGHBOURHOOD = 24
"""Of a soft edge: the longer side of the picture divided by this."""

PATCH = 8
"""Of what light explains, the longer side divided by this. Texture is finer."""

HALF_BELIEVED = 0.2
"""Deviation of the smooth part of log(photo / re-rendered) at which half of a change of light is believed. Chosen by
measurement on another renderer's pictures: docs/relight.md."""

LARGEST_CHANGE = 3.0
"""Of a change of light from its mean, natural logarithm: 4.3 stops."""

FAINT = 0.004
"""Linear, half a step of an 8-bit picture at black: no photo is divided by less."""


def detail_gain(photo: Tensor, rerendered: Tensor, trust: Tensor | None = None) -> Tensor:
    """What the photo has and its re-rendering under its own light has not, as a factor for what is relit.

    The quotient of both, within `SMALLEST_RATIO` and `LARGEST_RATIO`: what the G-buffer missed (texture finer than the
    network sees, errors of base colour) comes back. Where the luminance of `rerendered` falls under `DARK` the quotient
    would be noise, so the gain fades to 1. At a soft edge of the surface, where a pixel is in part of something else,
    the gain fades to that of the surface around it: no more than the neighbourhood supports.

    Args:
        photo: (T, 3, H, W) scene-linear.
        rerendered: (T, 3, H, W) scene-linear, the photo's G-buffer under the photo's own light.
        trust: (T, 1, H, W) in [0, 1], how much of each pixel is surface; None for all of it.

    Returns:
        (T, 3, H, W) in [`SMALLEST_RATIO`, `LARGEST_RATIO`].

    Source: the quotient image (Riklin-Raviv and Shashua, PAMI 2001, eq. 3) between two renderings of one G-buffer.
    """
    return faded(in_strips(quotient, photo, rerendered), trust)


def faded(gain: Tensor, trust: Tensor | None) -> Tensor:
    """A `quotient` (T, 3, H, W) as `detail_gain` has it at soft edges; it is used up."""
    if trust is None or not bool(((trust > 0) & (trust < 1)).any()):
        return gain
    around = _around(gain, trust)
    size = (gain.shape[2], gain.shape[3])
    for index in range(gain.shape[1]):  # one channel at a time: of a large picture all at once would be another copy
        wide, own = resize_picture(around[:, index : index + 1], size), gain[:, index : index + 1]
        gain[:, index : index + 1] = in_strips(
            lambda *all: torch.lerp(all[0], all[1].to(all[0]), all[2]), wide, own, trust
        )
    return gain


def _faded(wide: Tensor, own: Tensor, trust: Tensor) -> Tensor:
    return torch.lerp(wide, own.to(wide), trust.to(wide))


def belief(photo: Tensor, rerendered: Tensor, weights: Tensor) -> Tensor:
    """How far a change of light is believed, (T, 1, 1, 1) in (0, 1]: by how well the G-buffer under the estimated light
    explains how bright the photo is from place to place.

    1 / (1 + (s / `HALF_BELIEVED`)^2) of the deviation s of log(photo / rerendered), both their means over patches
    of a `PATCH`-th of the picture: texture that the G-buffer lacks says nothing of its light.

    Args:
        photo: (T, 3, H, W) scene-linear, as is `rerendered`.
        rerendered: as above.
        weights: (T, 1, H, W) in [0, 1], how much each pixel counts.
    """
    return belief_of(in_strips(luminance, photo), in_strips(luminance, rerendered), weights)


def belief_of(photo: Tensor, rerendered: Tensor, weights: Tensor) -> Tensor:
    """`belief` by the luminances, (T, 1, H, W) each."""
    levels = torch.cat((photo, rerendered), dim=1)
    means, weight = _pooled(levels, weights, PATCH)
    small = ((means[:, :1] + FAINT) / (means[:, 1:] + FAINT)).log()
    total = weight.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
    mean = (small * weight).sum((1, 2, 3), keepdim=True) / total
    deviation = ((small - mean).square() * weight).sum((1, 2, 3), keepdim=True).div(total).sqrt()
    return 1 / (1 + (deviation / HALF_BELIEVED).square())


def believed(
    rendered: Tensor, photo: Tensor, gain: Tensor, weights: Tensor, belief: Tensor, mean: Tensor | None = None
) -> Tensor:
    """The factor (T, 3, H, W) for what is rendered under a new light, with the photo's detail, and with as much of the
    change of light as is believed.

    Args:
        rendered: (T, 3, H, W) scene-linear, whole surfaces, however much of a pixel they cover.
        photo: (T, 3, H, W) scene-linear.
        gain: of `detail_gain`.
        weights: (T, 1, H, W) in [0, 1], how much each pixel is surface.
        belief: (T, 1, 1, 1) in [0, 1]; 1 leaves the gain as it is.
        mean: (T, 3, 1, 1), the change of light of the whole picture, where this is a part of one.
    """
    changes = in_strips(change_of_light, rendered, photo, gain)
    mean = mean_change(changes, photo, weights) if mean is None else mean
    offset = changes.sub_(mean).clamp_(-LARGEST_CHANGE, LARGEST_CHANGE)
    return offset.mul_(belief - 1).exp_().mul_(gain)


def change_of_light(rendered: Tensor, photo: Tensor, gain: Tensor) -> Tensor:
    """The change of light of each pixel, natural logarithm, all (T, 3, H, W)."""
    return ((rendered * gain).clamp(min=1e-12) / (photo + FAINT)).log()


def mean_change(changes: Tensor, photo: Tensor, weights: Tensor) -> Tensor:
    """The mean of changes of light (T, 3, H, W) over what is surface and not dark, (T, 3, 1, 1)."""
    clear = weights * (luminance(photo) > DARK) + 1e-6
    total = clear.sum((1, 2, 3), keepdim=True)
    return torch.cat([(changes[:, i : i + 1] * clear).sum((1, 2, 3), keepdim=True) / total for i in range(3)], dim=1)


def quotient(photo: Tensor, rerendered: Tensor) -> Tensor:
    """The gain of each pixel by itself; see `detail_gain`."""
    ratio = (photo / rerendered.clamp(min=DARK / 10)).clamp(SMALLEST_RATIO, LARGEST_RATIO).log()
    # One trust for all three channels: a shadow that kept its red but not its faint blue would turn blue.
    trust = (luminance(rerendered) / DARK).clamp(0, 1)
    return (trust * ratio).exp()


def _around(gain: Tensor, trust: Tensor) -> Tensor:
    """The mean gain of the surface around each pixel, (T, 3, h, w) of a small size: weighted by trust, 1 where there is
    none at all."""
    small, weight = _pooled(gain, trust, NEIGHBOURHOOD)
    sums = functional.avg_pool2d(
        torch.cat([small * weight, weight], dim=1), 3, stride=1, padding=1, count_include_pad=False
    )
    return (sums[:, :-1] + 1e-3) / (sums[:, -1:] + 1e-3)


def _pooled(values: Tensor, weights: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """Means of (T, C, H, W) over patches of a `parts`-th of the longer side, weighted, and the weights' own means.

    One channel at a time: of a large picture all at once would be another copy."""
    height, width = values.shape[2:]
    side = max(1, max(height, width) // parts)
    small = (max(1, height // side), max(1, width // side))
    share = functional.adaptive_avg_pool2d(weights, small)
    sums = [functional.adaptive_avg_pool2d(part.to(weights) * weights, small) for part in values.split(1, dim=1)]
    return torch.cat(sums, dim=1) / share.clamp(min=1e-6), share
