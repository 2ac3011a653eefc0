"""A random world before it is rendered: things that stand somewhere, a light, and a camera."""

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
        mesh: in its own space, +Y up.
        material: its textures.
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


@dataclass(frozen=True)
class World:
    """Everything that a clip is rendered from.

    Attributes:
        things: all surfaces, scenery too.
        light: (1, 3, 128, 256), mean radiance about 1.
        camera: one frame.
        caption: words for what is there.
        enclosed: a box room: the light comes in by windows only, and the camera is inside.
    """

    things: tuple[Thing, ...]
    light: EnvironmentMap
    camera: Camera
    caption: str
    enclosed: bool = False
