"""What a rendered picture shall be like, besides its maps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForwardOptions:
    """What a rendered picture shall be like, besides its maps.

    Attributes:
        caption: words for the picture; "" needs no text encoder.
        guidance: how much words count, 0 for no guidance; the card's when None.
        image_guidance: how much maps count, 1 for words alone; the card's when None.
        steps: denoising steps; the card's when None.
        seed: of the noise, and of directions that are drawn.
        shadows: a light's shadows are traced in screen space, where the G-buffer has depth.
    """

    caption: str = ""
    guidance: float | None = None
    image_guidance: float | None = None
    steps: int | None = None
    seed: int = 0
    shadows: bool = False
