"""What is set on the page: a light of a map and lamps, and how the picture under it is shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unrender.serve.requests import Background, Degrees, Name, Request, Stops


class Lamp(Request):
    """A lamp far away.

    Attributes:
        azimuth: degrees to the right of where the camera looks.
        elevation: degrees above the horizon.
        width: degrees from its middle to where it has lost 40 % of its radiance.
        color: #rrggbb, sRGB.
        power: 1 lights a surface that faces it as a white sky of radiance 1 does.
        on: whether it is lit.
    """

    azimuth: Annotated[float, Field(ge=-360, le=360)] = 40.0
    elevation: Annotated[float, Field(ge=-90, le=90)] = 35.0
    width: Annotated[float, Field(ge=3, le=60)] = 12.0
    color: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#fff1e0"
    power: Annotated[float, Field(ge=0, le=100)] = 1.0
    on: bool = True


class Rig(Request):
    """A light: a map, turned and dimmed, and lamps that stay where they are.

    Attributes:
        base: a shipped light, "own" (the photo's), "none", or the id of one that was opened.
        yaw: degrees that the map is turned by.
        strength: stops that it is made brighter by.
        lamps: beside it.
    """

    base: Name = "sunset"
    yaw: Degrees = 0.0
    strength: Stops = 0.0
    lamps: list[Lamp] = Field(default_factory=list, max_length=16)

    @property
    def lit(self) -> list[Lamp]:
        """The lamps that are on."""
        return [lamp for lamp in self.lamps if lamp.on and lamp.power > 0]

    @property
    def plain(self) -> bool:
        """Whether it is nothing but a map that has a name, perhaps turned."""
        return not self.lit and self.strength == 0 and self.base not in ("own", "none")


class Look(Request):
    """How a photo is shown.

    Attributes:
        rig: under which light.
        exposure: "auto", as bright as the photo; or stops of the light's own strength.
        background: what shows where there is no surface.
        walls: whether side walls let the light in dimmed.
        fine: with shadows, by the renderer that results are made with; else at once.
    """

    rig: Rig = Rig()
    exposure: Literal["auto"] | Stops = "auto"
    background: Background = "photo"
    walls: bool = True
    fine: bool = False
