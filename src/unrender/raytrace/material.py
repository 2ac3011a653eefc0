"""What a surface is made of: textures of the metallic-roughness model."""

from __future__ import annotations

from dataclasses import dataclass

from unrender.raytrace.mesh import Array


@dataclass(frozen=True)
class Material:
    """Textures of one surface, all float32.

    Attributes:
        base_color: (H, W, 3) linear, [0, 1].
        roughness: (H, W) perceptual, [0, 1].
        metallic: (H, W), [0, 1].
        name: words for captions.
        bump: (H, W) height, in multiples of the texture's side; 0 is flat.
        opacity: (H, W) [0, 1], how much of the surface is there; None is solid.
    """

    base_color: Array
    roughness: Array
    metallic: Array
    name: str
    bump: Array
    opacity: Array | None = None
