"""A random scene before rendering: things, a light, a camera, a caption."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap
from unrender.synth.materials import Material
from unrender.synth.shapes import Array, Mesh


@dataclass(frozen=True)
class Thing:
    """A mesh with its material, where it stands.

    Attributes:
        mesh: +Y up, in its own space.
        material: textures over the mesh's texture coordinates.
        name: for captions, "" for unnamed scenery.
        pose: (4, 4) float64 object-to-world at the first frame: rotation, uniform scale, translation.
        group: 0 is static scenery (ground, walls, lamps); things of one other number move as one rigid body: a
            table and what stands on it.
        emission: linear radiance of an area emitter, before exposure.
    """

    mesh: Mesh
    material: Material
    name: str
    pose: Array = field(default_factory=lambda: np.eye(4))
    group: int = 0
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def placed(self) -> Array:
        """The mesh's vertices (V, 3) in the world at the first frame."""
        return self.mesh.vertices @ self.pose[:3, :3].T + self.pose[:3, 3]


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
    """

    things: tuple[Thing, ...]
    light: EnvironmentMap
    camera: Camera
    caption: str
    openings: Array = field(default_factory=lambda: np.zeros((0, 3)))

    @property
    def enclosed(self) -> bool:
        """Whether it is a room, with the camera inside."""
        return len(self.openings) > 0

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The indices of the things that move as one body, for each body; scenery is in none."""
        numbers = dict.fromkeys(thing.group for thing in self.things if thing.group)
        return tuple(tuple(i for i, thing in enumerate(self.things) if thing.group == n) for n in numbers)
