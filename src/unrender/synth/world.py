"""A random scene before rendering: things, a light, a camera, a caption."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from unrender.raytrace.atlas import PlacedMesh
from unrender.raytrace.mesh import Array
from unrender.raytrace.principled import Shading
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap


@dataclass(frozen=True)
class Thing(PlacedMesh):
    """A mesh with its material, where it stands at the first frame; `emission` is before exposure.

    Attributes:
        name: for captions, "" for scenery that needs no word.
        group: 0 is scenery, as ground, walls and lamps, which never moves; things of one other number move as one
            body: what stands on a table goes with it.
    """

    name: str = ""
    group: int = 0


@dataclass(frozen=True)
class Composition:
    """A world before it is lit; attributes as in `World`."""

    things: tuple[Thing, ...]
    camera: Camera
    caption: str
    openings: Array = field(default_factory=lambda: np.zeros((0, 3)))
    under_sky: bool = False


@dataclass(frozen=True)
class World:
    """A whole scene at its first frame.

    Attributes:
        things: everything that has a surface, scenery too.
        light: (1, 3, 128, 256) environment radiance, mean about 1.
        camera: one frame.
        caption: a text description.
        openings: (N, 3) outward normal times area of each window of a room, the only way in for the light; none
            outdoors.
        under_sky: whether the sky is behind everything, and no other background.
        shading: how its surfaces scatter light; None for the principled BSDF.
    """

    things: tuple[Thing, ...]
    light: EnvironmentMap
    camera: Camera
    caption: str
    openings: Array = field(default_factory=lambda: np.zeros((0, 3)))
    under_sky: bool = False
    shading: Shading | None = None

    @property
    def enclosed(self) -> bool:
        """Whether it is a room, with the camera inside."""
        return len(self.openings) > 0

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The indices of the things that move as one body, for each body; scenery is in none."""
        numbers = dict.fromkeys(thing.group for thing in self.things if thing.group)
        return tuple(tuple(i for i, thing in enumerate(self.things) if thing.group == n) for n in numbers)
