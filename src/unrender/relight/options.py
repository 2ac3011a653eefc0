"""How to relight, and what a relight is made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from unrender.diffusion.windows import Temporal
from unrender.errors import UserError
from unrender.forward import RenderPasses
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

TURN_FRAMES = 48
"""Pictures of a still whose light turns, where nobody says how many: two seconds of film."""

MOST_STOPS = 100
"""More would leave the range of single precision."""

Background = Literal["light", "photo", "none"]
Exposure = float | Literal["auto"]
Inverse = Callable[[Frames, Sequence[str] | None], GBuffer]
"""How an inverse renderer is called: frames, and the maps wanted; None for all that it gives."""

Forward = Callable[[GBuffer, EnvironmentMap, float | Tensor], RenderPasses]
"""How a forward renderer is called: G-buffer, light, and the degrees that the light is turned by, (T,) or one number.
"""


@dataclass(frozen=True)
class RelightOptions:
    """How to relight.

    Attributes:
        yaw: degrees that the light is turned about +Y (see `conventions`: Yaw).
        turn: degrees that the light turns by in all, beyond `yaw`: while a clip plays, or in a clip that is made of a
            still. Frame i of N has turned by `turn * i / N`, so a full turn that is played in a loop repeats no frame.
        frames: of a clip, its first so many frames; of a still whose light turns, how many pictures are made of it.
            None is all of a clip, and `TURN_FRAMES` of a still.
        detail: keep the photo's own detail by ratio transfer (see `detail_gain`).
        background: what shows where there is no surface (no normal, or an alpha of the source below 1): the "photo" as
            it was (and as transparent, where it has an alpha), the new "light" itself, or "none" (transparent).
        exposure: "auto" shows what is relit as bright as the photo, by one gain for a whole clip or turn, found from
            its first window; rendered passes stay in the units of the light. A number makes the light so many stops
            (EV) brighter, and the picture is shown in its units, gain 1.
        refine: let the photo, under its estimated light, correct the base colour where an inverse renderer says how far
            off that is (see `refine_base_color`); part of keeping the detail.
        walls: let a light into a picture that side walls close as ambient light, and dimmed (see `enclosure`); what is
            done is said (`files.notes`). False takes every picture for an open place.
        window: frames of a clip that the renderers are given together; None for what suits the inverse renderer: one,
            where that is no model of ours.
        overlap: frames that a window has in common with the one before; None for what suits the window.
        temporal: `attention`: the frames of a window see one another, and maps are held steady; `none`: every frame is
            by itself (see `diffusion.windows.ClipOptions`).

    Raises:
        UserError: no frames at all, an exposure that is neither "auto" nor a finite number, or an overlap that is not
            in [0, window).
    """

    yaw: float = 0.0
    turn: float = 0.0
    frames: int | None = None
    detail: bool = True
    background: Background = "photo"
    window: int | None = None
    overlap: int | None = None
    exposure: Exposure = "auto"
    temporal: Temporal = "attention"
    walls: bool = True
    refine: bool = True

    def __post_init__(self) -> None:
        if self.frames is not None and self.frames < 1:
            raise UserError(f"RelightOptions.frames is {self.frames}; expected at least 1, or None for all")
        if self.exposure != "auto" and not (
            isinstance(self.exposure, int | float) and abs(self.exposure) <= MOST_STOPS
        ):
            stops = f"stops from -{MOST_STOPS} to {MOST_STOPS}"
            raise UserError(f"RelightOptions.exposure is {self.exposure!r}; expected 'auto', or {stops}")
        least = (self.overlap or 0) + 1
        if (self.overlap or 0) < 0 or (self.window is not None and self.window < least):
            raise UserError(
                f"windows of {self.window} frames that overlap by {self.overlap}; expected fewer, 0 or more"
            )


DEFAULTS = RelightOptions()
