"""What meshes are made of, and their triangles, as files tell them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GltfMaterial:
    """Metallic-roughness (glTF 2.0, section 3.9.2); every texture is multiplied by its factor.

    Attributes:
        base_color: (3,) linear factor.
        roughness: factor, perceptual.
        metallic: factor.
        base_color_texture: (3, h, w) linear, or None.
        roughness_texture: (1, h, w), or None; glTF's G channel.
        metallic_texture: (1, h, w), or None; glTF's B channel.
        normal_texture: (3, h, w) tangent space in [-1, 1], +Y up (OpenGL), or None.
        opacity: factor; how much of the surface is there: 1 is solid, glass and cut-outs are less.
        opacity_texture: (1, h, w) in [0, 1], or None.
    """

    base_color: tuple[float, float, float] = (0.8, 0.8, 0.8)
    roughness: float = 0.5
    metallic: float = 0.0
    base_color_texture: Tensor | None = None
    roughness_texture: Tensor | None = None
    metallic_texture: Tensor | None = None
    normal_texture: Tensor | None = None
    opacity: float = 1.0
    opacity_texture: Tensor | None = None


@dataclass(frozen=True)
class MeshPrimitive:
    """Triangles of one material, in world space.

    Attributes:
        vertices: (V, 3) float32.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        normals: (V, 3) unit, or None where the file has none (shade flat then).
        uv: (V, 2), v up: (0, 0) is the texture's lower left; or None.
        color: (V, 3) linear colour of vertices, multiplied with the material's, or None.
        material: what it is made of.
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor | None
    uv: Tensor | None
    color: Tensor | None
    material: GltfMaterial
