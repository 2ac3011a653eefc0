"""Many placed meshes as one mesh with one texture atlas, as the path tracer reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array, Mesh, vertex_normals
from unrender.raytrace.textured_mesh import TexturedMesh, height_slopes

WIDTH = 1024  # texels; the height follows


@dataclass(frozen=True)
class PlacedMesh:
    """A mesh with its material, where it stands.

    Attributes:
        mesh: +Y up, in its own space.
        material: textures over the mesh's texture coordinates.
        pose: (4, 4) float64 object-to-world: rotation, uniform scale, translation.
        emission: linear radiance of a lamp's surface.
    """

    mesh: Mesh
    material: Material
    pose: Array = field(default_factory=lambda: np.eye(4))
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def placed(self) -> Array:
        """The mesh's vertices (V, 3) in the world."""
        return self.mesh.vertices @ self.pose[:3, :3].T + self.pose[:3, 3]


def pack_atlas(things: Sequence[PlacedMesh]) -> tuple[TexturedMesh, Array]:
    """All `things` as one mesh in the world, and the index of the thing that each vertex belongs to, (V,) int.

    Each material has its tile of the atlas, and texture coordinates stay half a texel inside it.
    """
    materials = {id(thing.material): thing.material for thing in things}
    tiles, size = _shelved({key: material.roughness.shape for key, material in materials.items()})
    vertices, normals, uvs, faces, owners, start = [], [], [], [], [], 0
    for index, thing in enumerate(things):
        height, width = thing.material.roughness.shape
        row, column = tiles[id(thing.material)]
        inside = thing.mesh.uv * [width - 1, height - 1] + 0.5
        placed = thing.placed
        uvs.append((inside + [column, row]) / [size[1], size[0]])
        vertices.append(placed)
        normals.append(vertex_normals(placed, thing.mesh.faces))
        faces.append(thing.mesh.faces + start)
        owners.append(np.full(len(placed), index))
        start += len(placed)
    owner, corners = np.concatenate(owners), np.concatenate(faces)
    emission = np.array([thing.emission for thing in things], np.float32)
    textures = _textures([(material, tiles[key]) for key, material in materials.items()], size)
    surface = TexturedMesh(
        vertices=np.concatenate(vertices).astype(np.float32),
        normals=np.concatenate(normals).astype(np.float32),
        uv=np.concatenate(uvs).astype(np.float32),
        faces=corners.astype(np.uint32),
        base_color=textures[..., :3],
        roughness=textures[..., 3],
        metallic=textures[..., 4],
        slope=textures[..., 5:7],
        emission=emission[owner[corners[:, 0]]] if emission.any() else None,
        opacity=None if all(material.opacity is None for material in materials.values()) else textures[..., 7],
    )
    return surface, owner


def move_vertices(surface: TexturedMesh, owners: Array, motion: Array) -> tuple[Array, Array]:
    """Vertices and normals (V, 3) float32 of `surface` after each thing went by its `motion` (N, 4, 4), world to
    world."""
    turn, shift = motion[:, :3, :3], motion[:, :3, 3]
    vertices = np.einsum("vij,vj->vi", turn[owners], surface.vertices.astype(np.float64)) + shift[owners]
    normals = np.einsum("vij,vj->vi", turn[owners], surface.normals.astype(np.float64))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return vertices.astype(np.float32), normals.astype(np.float32)


def _textures(tiled: Sequence[tuple[Material, tuple[int, int]]], size: tuple[int, int]) -> Array:
    """The atlas (H, W, 8) float32: base colour, roughness, metallic, slopes, opacity."""
    atlas = np.zeros((*size, 8), np.float32)
    for material, (row, column) in tiled:
        height, width = material.roughness.shape
        tile = atlas[row : row + height, column : column + width]
        tile[..., :3], tile[..., 3], tile[..., 4] = material.base_color, material.roughness, material.metallic
        tile[..., 5:7] = height_slopes(material.bump)
        tile[..., 7] = 1.0 if material.opacity is None else material.opacity
    return atlas


def _shelved(shapes: dict[int, tuple[int, ...]]) -> tuple[dict[int, tuple[int, int]], tuple[int, int]]:
    """Corners (row, column) of tiles packed on shelves, highest first, and the (height, width) of the atlas."""
    tiles: dict[int, tuple[int, int]] = {}
    limit = max(WIDTH, *(width for _, width in shapes.values()))
    top, column, tallest = 0, 0, 0
    for key, (height, width) in sorted(shapes.items(), key=lambda item: (-item[1][0], -item[1][1])):
        if column + width > limit:
            top, column, tallest = top + tallest, 0, 0
        tiles[key] = (top, column)
        column, tallest = column + width, max(tallest, height)
    return tiles, (top + tallest, limit)
