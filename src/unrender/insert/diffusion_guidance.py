"""Guidance of an insertion by a diffusion model: the composite, where the object and its shadow are, as the model sees
it, and what it would change there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.score_distillation import DistillationOptions as DistillationOptions
from unrender.diffusion.score_distillation import ScoreDistillation as ScoreDistillation
from unrender.errors import UserError
from unrender.scene.color import linear_to_srgb

MARGIN = 0.25
"""How far the guided window reaches beyond object and shadow, as a part of their longer side. DiPIR does not state it;
the model has to see the scene that they are to belong to."""
LEAST_WINDOW = 0.25
"""The least side of the window, as a part of the picture's shorter one: a tiny object alone is no scene."""

PAPER_PIXELS = 512 * 512
"""What the guidance is counted against, ours: score distillation is a sum over latents, which grows with the picture
that a model sees, and DiPIR's weights of its other losses (0.03, 0.01) stand beside that of Stable Diffusion at 512
pixels. A model that sees less is weighted up to that sum, so that the weights mean the same with every model."""

Window = tuple[int, int, int, int]
"""(top, left, height, width) in pixels."""


class Judged(Protocol):
    """What is guided: a composite at a step of an optimisation."""

    @property
    def composite(self) -> Tensor:
        """(1, 3, H, W) scene-linear, in the photo's units, differentiable."""
        ...

    @property
    def step(self) -> int:
        """From 0 on."""
        ...

    @property
    def steps(self) -> int:
        """Of the whole optimisation."""
        ...


@dataclass(frozen=True)
class DiffusionGuidance:
    """A text-to-image model as the judge of a composite.

    Attributes:
        distillation: the model, what it is told, and how it guides.
        window: what part of the picture it sees.
        exposure: gain that brings the picture to a display; 1 where it is one's already.
    """

    distillation: ScoreDistillation
    window: Window
    exposure: float = 1.0

    @classmethod
    def around(cls, distillation: ScoreDistillation, region: Tensor, margin: float = MARGIN) -> DiffusionGuidance:
        """Guidance round the pixels that insertion changes.

        Args:
            region: (1, 1, H, W), above 0 where the object or its shadow is.

        Raises:
            UserError: the region is empty.
        """
        return cls(distillation, guided_window(region, margin))

    def __call__(self, judged: Judged) -> Tensor:
        """A scalar whose gradient is that of the guidance; see `loss`."""
        return self.loss(judged.composite, judged.step, judged.steps)

    def loss(self, composite: Tensor, step: int, steps: int) -> Tensor:
        """A scalar whose gradient with respect to `composite`, (1, 3, H, W) linear, is that of the guidance, as strong
        as it would be in a picture of `PAPER_PIXELS`."""
        top, left, height, width = self.window
        seen = display_codes(self.exposure * composite[:, :, top : top + height, left : left + width])
        seen = functional.interpolate(seen, self.seen_size, mode="bilinear", antialias=True)
        return PAPER_PIXELS / (seen.shape[-2] * seen.shape[-1]) * self.distillation.loss(seen * 2 - 1, step, steps)

    @property
    def seen_size(self) -> tuple[int, int]:
        """(height, width) of the window as the model sees it: its long side is the model's own."""
        rule = self.distillation.engine.card.maps.size
        longer = max(self.window[2:])

        def side(pixels: int) -> int:
            return max(rule.multiple, round(pixels * rule.long_side / longer / rule.multiple) * rule.multiple)

        return side(self.window[2]), side(self.window[3])


def guided_window(region: Tensor, margin: float = MARGIN) -> Window:
    """The square round what is above 0 in `region` (1, 1, H, W), with a margin of that part of its longer side, inside
    the picture; where the picture has no room for a square, as much of it as there is.

    Raises:
        UserError: nothing is above 0.
    """
    there = region[0, 0] > 0
    if not bool(there.any()):
        raise UserError("nothing of the object or its shadow is in the picture; expected some of it to be guided")
    picture = tuple(there.shape)
    spans = []
    for dim in (1, 0):  # rows, then columns
        inside = torch.where(there.any(dim))[0]
        spans.append((int(inside[0]), int(inside[-1]) + 1))
    longer = max(end - start for start, end in spans)
    side = max(round(longer * (1 + 2 * margin)), round(LEAST_WINDOW * min(picture)))
    places = []
    for (start, end), whole in zip(spans, picture, strict=True):
        length = min(side, whole)
        first = round((start + end - length) / 2)
        places.append((min(max(first, 0), whole - length), length))
    (top, height), (left, width) = places
    return top, left, height, width


def display_codes(linear: Tensor) -> Tensor:
    """sRGB codes in [0, 1] of linear values. What is brighter than white is shown white, but its gradient passes as at
    white: where a model wants it darker, the light that made it gets to know."""
    clipped = linear + (linear.clamp(0, 1) - linear).detach()
    return linear_to_srgb(clipped)
