"""Meshes with metallic-roughness materials, from GLB, OBJ and PLY through trimesh.

+Y up, metres, as glTF has it; a file's own axes are not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image
from torch import Tensor
from trimesh.visual import ColorVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from unrender.errors import UserError
from unrender.files.paths import existing_file
from unrender.files.quiet import silenced
from unrender.scene.color import srgb_to_linear

MESH_SUFFIXES = frozenset({".glb", ".gltf", ".obj", ".ply"})


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
    """

    base_color: tuple[float, float, float] = (0.8, 0.8, 0.8)
    roughness: float = 0.5
    metallic: float = 0.0
    base_color_texture: Tensor | None = None
    roughness_texture: Tensor | None = None
    metallic_texture: Tensor | None = None
    normal_texture: Tensor | None = None


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


def read_meshes(path: str | Path) -> list[MeshPrimitive]:
    """Reads every mesh of a file, the scene graph's transforms baked in; one `MeshPrimitive` for each
    geometry and place.

    Raises:
        UserError: a missing, damaged or foreign file, or one without triangles.
    """
    path = existing_file(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise UserError(f"{path} is not a mesh; expected {', '.join(sorted(MESH_SUFFIXES))}")
    try:
        with silenced():
            # Unprocessed: merging vertices would lose seams of uv and hard edges.
            scene = trimesh.load_scene(path, process=False)
            meshes = [
                _mesh(geometry, transform)
                for node in scene.graph.nodes_geometry
                for transform, name in (scene.graph[node],)
                if isinstance(geometry := scene.geometry[name], trimesh.Trimesh) and len(geometry.faces)
            ]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{path} cannot be read as a mesh; it is damaged, truncated or another format") from error
    if not meshes:
        raise UserError(f"{path} has no triangles in it")
    return meshes


def _mesh(geometry: trimesh.Trimesh, transform: np.ndarray) -> MeshPrimitive:
    linear = transform[:3, :3]
    faces = np.asarray(geometry.faces, np.int64)
    if np.linalg.det(linear) < 0:
        faces = faces[:, ::-1].copy()
    normals = None
    # Only the cache tells the file's normals from those that trimesh computes on access.
    if "vertex_normals" in geometry._cache:
        turned = torch.from_numpy(geometry.vertex_normals @ np.linalg.inv(linear)).float()
        normals = torch.nn.functional.normalize(turned, dim=1)
    uv = getattr(geometry.visual, "uv", None)
    return MeshPrimitive(
        vertices=torch.from_numpy(geometry.vertices @ linear.T + transform[:3, 3]).float(),
        faces=torch.from_numpy(faces),
        normals=normals,
        uv=None if uv is None else torch.from_numpy(np.array(uv, np.float32)),
        color=_vertex_color(geometry),
        material=_material(getattr(geometry.visual, "material", None)),
    )


def _vertex_color(geometry: trimesh.Trimesh) -> Tensor | None:
    visual = geometry.visual
    if not isinstance(visual, ColorVisuals) or visual.kind != "vertex":
        return None
    coded = np.asarray(visual.vertex_colors)[:, :3]
    return srgb_to_linear(torch.from_numpy(coded.astype(np.float32) / 255))


def _material(source: PBRMaterial | SimpleMaterial | None) -> GltfMaterial:
    if isinstance(source, PBRMaterial):
        return _from_gltf(source)
    if isinstance(source, SimpleMaterial):
        return _from_obj(source)
    return GltfMaterial()


def _from_gltf(source: PBRMaterial) -> GltfMaterial:
    # glTF's defaults are 1, for both factors and the colour.
    packed = source.metallicRoughnessTexture
    normal = _texture(source.normalTexture)
    colour = _texture(source.baseColorTexture)
    factor = np.full(4, 255) if source.baseColorFactor is None else np.asarray(source.baseColorFactor)
    return GltfMaterial(
        base_color=_triple(factor[:3] / 255),
        roughness=1.0 if source.roughnessFactor is None else float(source.roughnessFactor),
        metallic=1.0 if source.metallicFactor is None else float(source.metallicFactor),
        base_color_texture=None if colour is None else srgb_to_linear(colour),
        roughness_texture=None if packed is None else _texture(packed)[1:2],
        metallic_texture=None if packed is None else _texture(packed)[2:3],
        normal_texture=None if normal is None else normal * 2 - 1,
    )


def _from_obj(source: SimpleMaterial) -> GltfMaterial:
    """Kd is linear and multiplies map_Kd; roughness and metallic from Pr and Pm (the PBR extension of MTL), else
    roughness from the Phong exponent, alpha = sqrt(2 / (Ns + 2)) (Walter et al. 2007, section 5.3)."""
    said = source.kwargs
    colour = _texture(source.image)
    exponent = float(np.ravel(said.get("ns", source.glossiness))[0])
    roughness = float(np.ravel(said["pr"])[0]) if "pr" in said else (2 / (exponent + 2)) ** 0.25
    return GltfMaterial(
        base_color=_triple(np.asarray(said.get("kd", np.asarray(source.diffuse)[:3] / 255), np.float64)),
        roughness=roughness,
        metallic=float(np.ravel(said.get("pm", 0.0))[0]),
        base_color_texture=None if colour is None else srgb_to_linear(colour),
    )


def _texture(image: Image.Image | None) -> Any:
    if image is None:
        return None
    pixels = np.asarray(image.convert("RGB"), np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
