"""A world as one surface with one material: Dr.Jit compiles its kernels once for all scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unrender.raytrace.scene import Surface
from unrender.synth.materials import Material
from unrender.synth.shapes import Array, vertex_normals
from unrender.synth.world import Thing

# Few sizes, so that few kernels are compiled; the first serves most worlds.
SIZES = ((768, 1024), (1536, 1024), (1536, 2048), (3072, 2048))

Tile = tuple[int, int]


def merged(things: Sequence[Thing]) -> tuple[Surface, Array]:
    """All `things` at their first frame as one surface, and the thing that each vertex belongs to, (V,) int.

    Each material has its tile of the atlas, at its own resolution where there is room, and texture coordinates stay
    half a texel inside it.
    """
    materials = _unique([thing.material for thing in things])
    materials, size, tiles = _packed(materials)
    base = np.zeros((*size, 3), np.float32)
    rough, metal = np.full(size, 0.5, np.float32), np.zeros(size, np.float32)
    for key, (row, column) in tiles.items():
        material = materials[key]
        height, width = material.roughness.shape
        window = (slice(row, row + height), slice(column, column + width))
        base[window], rough[window], metal[window] = material.base_color, material.roughness, material.metallic
    vertices, normals, uvs, faces, owners, start = [], [], [], [], [], 0
    for index, thing in enumerate(things):
        row, column = tiles[id(thing.material)]
        height, width = materials[id(thing.material)].roughness.shape
        inside = thing.mesh.uv * [width - 1, height - 1] + 0.5
        uvs.append((inside + [column, row]) / [size[1], size[0]])
        vertices.append(thing.placed)
        normals.append(vertex_normals(thing.placed, thing.mesh.faces))
        faces.append(thing.mesh.faces + start)
        owners.append(np.full(len(thing.placed), index))
        start += len(thing.placed)
    surface = Surface(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        np.concatenate(uvs).astype(np.float32),
        np.concatenate(faces).astype(np.uint32),
        base,
        rough,
        metal,
    )
    return surface, np.concatenate(owners)


def moved(surface: Surface, owners: Array, motion: Array) -> tuple[Array, Array]:
    """Vertices and normals (V, 3) float32 of `surface` after each thing went by its `motion` (N, 4, 4), world to
    world."""
    turn, shift = motion[:, :3, :3], motion[:, :3, 3]
    vertices = np.einsum("vij,vj->vi", turn[owners], surface.vertices.astype(np.float64)) + shift[owners]
    normals = np.einsum("vij,vj->vi", turn[owners], surface.normals.astype(np.float64))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return vertices.astype(np.float32), normals.astype(np.float32)


def _unique(materials: list[Material]) -> dict[int, Material]:
    return {id(material): material for material in materials}


def _packed(materials: dict[int, Material]) -> tuple[dict[int, Material], tuple[int, int], dict[int, Tile]]:
    """The materials, the atlas' size (height, width) and each one's corner (row, column) in it; where the largest
    atlas cannot hold them, the largest materials at half their resolution."""
    while True:
        for size in SIZES:
            tiles = _shelved({key: material.roughness.shape for key, material in materials.items()}, size)
            if tiles is not None:
                return materials, size, tiles
        largest = max(max(material.roughness.shape) for material in materials.values())
        materials = {
            key: _halved(material) if max(material.roughness.shape) == largest else material
            for key, material in materials.items()
        }


def _shelved(shapes: dict[int, tuple[int, ...]], size: tuple[int, int]) -> dict[int, Tile] | None:
    """Corners of tiles put on shelves, highest first; None where they do not fit."""
    tiles: dict[int, Tile] = {}
    top, column, tallest = 0, 0, 0
    for key, (height, width) in sorted(shapes.items(), key=lambda item: (-item[1][0], -item[1][1])):
        if column + width > size[1]:
            top, column, tallest = top + tallest, 0, 0
        if top + height > size[0] or width > size[1]:
            return None
        tiles[key] = (top, column)
        column, tallest = column + width, max(tallest, height)
    return tiles


def _halved(material: Material) -> Material:
    def half(values: Array) -> Array:
        height, width = (values.shape[0] + 1) // 2, (values.shape[1] + 1) // 2
        padded = np.pad(
            values,
            ((0, 2 * height - values.shape[0]), (0, 2 * width - values.shape[1])) + ((0, 0),) * (values.ndim - 2),
            mode="edge",
        )
        return padded.reshape(height, 2, width, 2, *values.shape[2:]).mean((1, 3)).astype(np.float32)

    return replace(
        material,
        base_color=half(material.base_color),
        roughness=half(material.roughness),
        metallic=half(material.metallic),
    )
