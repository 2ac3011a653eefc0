"""An object put into a picture: shadow on what was there, the object over it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unrender.insert import tone
from unrender.insert.tone import ToneCurves
from unrender.scene.records import same, summary


@dataclass(frozen=True)
class Tones:
    """The tone curves of a composite.

    Attributes:
        foreground: one curve for the object's linear rgb, all channels alike.
        shadow: three for the shadow ratio, one a channel, so that shadows can take a colour.
    """

    foreground: ToneCurves = field(default_factory=lambda: ToneCurves.identity(1))
    shadow: ToneCurves = field(default_factory=lambda: ToneCurves.identity(3))

    @property
    def neutral(self) -> bool:
        """Whether they change nothing, and are not about to be changed."""
        every = (*self.foreground.parameters, *self.shadow.parameters)
        return not any(value.requires_grad or bool(value.any()) for value in every)


@dataclass(frozen=True, eq=False, repr=False)
class Layers:
    """What a composite is made of; pictures are (T, 3, H, W) linear.

    Attributes:
        foreground: the object, multiplied by `alpha`.
        alpha: (T, 1, H, W) in [0, 1], the share of each pixel that the object covers.
        shadow: the shadow ratio, 1 where there is no shadow, 0 in the dark; above 1, up to 2, where the ground gets
            more from the object than that takes from it.
    """

    foreground: Tensor
    alpha: Tensor
    shadow: Tensor

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)

    def __len__(self) -> int:
        return len(self.foreground)

    def toned(self, tones: Tones) -> Layers:
        """The layers under their tone curves. A curve is that of what is seen, so the object's coverage is taken out
        of it first, and the shadow's stays within [0, 1]; light above 1 stays as it is, and 1 is 1 to the last bit."""
        if tones.neutral:
            return self
        seen = self.foreground / self.alpha.clamp(min=1e-4)
        return Layers(
            tone.apply(tones.foreground, seen) * self.alpha,
            self.alpha,
            torch.where(self.shadow < 1, tone.apply(tones.shadow, self.shadow.clamp(max=1)).clamp(0, 1), self.shadow),
        )


def composite(background: Tensor, layers: Layers) -> Tensor:
    """(1 - V) beta I_bg + V I_fg (DiPIR, Liang et al. 2024): (T, 3, H, W) linear, of a background alike.

    Where alpha is 0 and the shadow ratio 1, the background comes back to the last bit.
    """
    shaded = layers.shadow * background
    return torch.where(layers.alpha > 0, (1 - layers.alpha) * shaded + layers.foreground, shaded)
