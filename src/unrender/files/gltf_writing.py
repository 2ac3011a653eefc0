"""Meshes to GLB, through trimesh."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.materials import MeshPrimitive
from unrender.scene.color import linear_to_srgb

if TYPE_CHECKING:
    import trimesh


def write_glb(path: str | Path, meshes: Sequence[MeshPrimitive]) -> None:
    """Writes meshes as one GLB (glTF 2.0): positions, normals, texture coordinates, and metallic-roughness materials
    with 8-bit textures. Normal maps and colours of vertices are left out.

    Raises:
        UserError: no meshes, or another suffix than .glb.
    """
    path = Path(path)
    if path.suffix.lower() != ".glb" or not meshes:
        raise UserError(f"cannot write {path} of {len(meshes)} meshes; expected a name ending in .glb, and some mesh")
    import trimesh  # takes longer to import than all that is read and placed before

    scene = trimesh.Scene()
    for index, mesh in enumerate(meshes):
        scene.add_geometry(_geometry(mesh), geom_name=f"mesh{index}")
    with atomic_write(path) as partial:
        partial.write_bytes(scene.export(file_type="glb", include_normals=True))


def _geometry(mesh: MeshPrimitive) -> trimesh.Trimesh:
    import trimesh
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    material = mesh.material
    rough = _texture(material.roughness_texture, 1)
    metal = _texture(material.metallic_texture, 1)
    both = None
    known = rough if rough is not None else metal
    if known is not None:
        shape = known.shape[:2]
        green = np.full(shape, 255, np.uint8) if rough is None else rough[..., 0]
        blue = np.full(shape, 255, np.uint8) if metal is None else metal[..., 0]
        both = Image.fromarray(np.stack((np.full(shape, 255, np.uint8), green, blue), -1))
    base = material.base_color_texture
    colour = None if base is None else Image.fromarray(_bytes(linear_to_srgb(base.clamp(0, 1))))
    pbr = PBRMaterial(
        baseColorFactor=[*material.base_color, 1.0],
        roughnessFactor=material.roughness,
        metallicFactor=material.metallic,
        baseColorTexture=colour,
        metallicRoughnessTexture=both,
    )
    return trimesh.Trimesh(
        vertices=mesh.vertices.double().numpy(),
        faces=mesh.faces.numpy(),
        vertex_normals=None if mesh.normals is None else mesh.normals.double().numpy(),
        visual=TextureVisuals(uv=None if mesh.uv is None else mesh.uv.double().numpy(), material=pbr),
        process=False,
    )


def _texture(values: Tensor | None, channels: int) -> np.ndarray | None:
    return None if values is None else _bytes(values.clamp(0, 1)[:channels])


def _bytes(values: Tensor) -> np.ndarray:
    return (values.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
