"""What a random scene is, before anyone renders it: things, a light, a camera, words."""

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
        name: for captions, "" for scenery that needs no word.
        pose: (4, 4) float64 object-to-world at the first frame: rotation, uniform scale, translation.
        movable: whether motion may move it: assets yes; ground, walls and lamps no.
        emission: linear radiance of a lamp's surface, before exposure.
    """

    mesh: Mesh
    material: Material
    name: str
    pose: Array = field(default_factory=lambda: np.eye(4))
    movable: bool = False
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
        light: (1, 3, 128, 256) radiance from all around, mean about 1.
        camera: one frame.
        caption: what is in it, in words.
        enclosed: a box room: the light comes in by windows only; the camera is inside.
    """

    things: tuple[Thing, ...]
    light: EnvironmentMap
    camera: Camera
    caption: str
    enclosed: bool = False
