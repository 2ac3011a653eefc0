"""What a rendered picture shall be like, besides its maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unrender.errors import UserError


@dataclass(frozen=True)
class ForwardOptions:
    """What a rendered picture shall be like, besides its maps.

    Attributes:
        caption: words for the picture; "" needs no text encoder.
        guidance: how much words count: 1 for no guidance, more for more, 0 for a picture without any words; the card's
            when None. Of a network that is shown a light, how much maps and light count together.
        image_guidance: how much maps count, from 1, no guidance by them, upwards; below 1 there is no guidance at all.
            The card's when None.
        guidance_rescale: share of the guided picture whose contrast is brought back, in [0, 1] (Lin et al. 2024,
            section 3.4); the card's when None.
        steps: denoising steps; the card's when None.
        seed: of the noise, and of directions that are drawn.
        shadows: a light's shadows are traced in screen space, where the G-buffer has depth.
        lora: how much of the checkpoint's adapter is added to its weights; the card's when None.
        elevation: degrees that the camera was raised by, looking down, for networks that are shown a light and a
            G-buffer whose camera says nothing of it. In a faithful reading the official `cam_elevation`, which turns
            the light the other way.

    Raises:
        UserError: a guidance below 0, a rescale that is not in [0, 1], or an adapter or an
            elevation that is no number.
    """

    caption: str = ""
    guidance: float | None = None
    image_guidance: float | None = None
    guidance_rescale: float | None = None
    steps: int | None = None
    seed: int = 0
    shadows: bool = False
    lora: float | None = None
    elevation: float = 0.0

    def __post_init__(self) -> None:
        if self.guidance is not None and not self.guidance >= 0:
            raise UserError(
                f"a guidance of {self.guidance}; expected 1 (none), more, or less down to 0 (no words at all)"
            )
        if self.guidance_rescale is not None and not 0 <= self.guidance_rescale <= 1:
            raise UserError(f"a guidance rescale of {self.guidance_rescale}; expected a share in [0, 1]")
        if not all(math.isfinite(number) for number in (self.lora or 0.0, self.elevation)):
            raise UserError(f"an adapter's scale of {self.lora}, an elevation of {self.elevation}; expected numbers")
