"""Meshes with metallic-roughness materials: glTF and GLB by `gltf`, OBJ and PLY through trimesh.

+Y up, metres, as glTF has it; a file's own axes are not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor
from trimesh.resolvers import Resolver
from trimesh.visual import ColorVisuals

from unrender.errors import UserError
from unrender.files import gltf
from unrender.files.materials import GltfMaterial as GltfMaterial
from unrender.files.materials import MeshPrimitive as MeshPrimitive
from unrender.files.mtl import read_mtl
from unrender.files.notes import note
from unrender.files.paths import existing_file
from unrender.files.quiet import silenced
from unrender.files.reading import reading
from unrender.files.textures import beside, read_texture
from unrender.scene.color import srgb_to_linear

MESH_SUFFIXES = frozenset({".glb", ".gltf", ".obj", ".ply"})

_PLY_MAGIC = b"ply"
_PLY_HEADER_BYTES = 1 << 20


def read_meshes(path: str | Path) -> list[MeshPrimitive]:
    """Reads every mesh of a file, the scene graph's transforms baked in; one `MeshPrimitive` for each
    geometry and place.

    Raises:
        UserError: a missing, damaged or foreign file, one without triangles, with vertices that are not finite or faces
            of vertices that are not there, or a glTF that requires an extension which is not known.
    """
    path = existing_file(path)
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise UserError(f"{path} is not a mesh; expected {', '.join(sorted(MESH_SUFFIXES))}")
    with path.open("rb") as file:
        magic = file.read(4)
    with reading(path, "a mesh"):
        if magic == gltf.MAGIC or path.suffix.lower() in (".glb", ".gltf"):
            meshes = gltf.read_gltf(path)
        elif magic.startswith(_PLY_MAGIC) or path.suffix.lower() == ".ply":
            _check_ply(path)
            meshes = _through_trimesh(path, "ply", _TexturesBeside(path.parent), {})
        else:
            materials = _obj_materials(path)
            meshes = _through_trimesh(path, "obj", _NamesOnly(materials), materials)
        if not meshes:
            raise UserError(f"{path} has no triangles in it")
        for mesh in meshes:
            _check(path, mesh)
    return meshes


class _TexturesBeside(Resolver):
    """Reads the textures in a folder that trimesh asks for, as those of every mesh are read.

    Attributes:
        texture: (3, h, w) code values of the last one; None where there was none.
        refused: why one could not be read: trimesh goes on without.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texture: Tensor | None = None
        self.refused: UserError | None = None

    def get(self, key: str) -> bytes:
        try:
            path = existing_file(beside(self.folder, key))
            self.texture = read_texture(path)
        except UserError as error:
            self.refused = error
            raise
        return path.read_bytes()

    def write(self, name: str, data: Any) -> None:
        raise NotImplementedError

    def namespaced(self, namespace: str) -> Resolver:
        raise NotImplementedError

    def keys(self) -> list[str]:
        return []


class _NamesOnly(_TexturesBeside):
    """Gives trimesh, as any MTL, the names of materials alone: it opens no texture, and we know the rest."""

    def __init__(self, materials: Mapping[str, GltfMaterial]) -> None:
        super().__init__(Path())
        self.materials = materials

    def get(self, key: str) -> bytes:
        return "".join(f"newmtl {name}\nillum 2\n" for name in self.materials).encode()


def _obj_materials(path: Path) -> dict[str, GltfMaterial]:
    """The materials of all libraries that an OBJ names; a library that is not there is said, and left out."""
    materials: dict[str, GltfMaterial] = {}
    named = re.findall(r"^[ \t]*mtllib[ \t]+(.+?)[ \t\r]*$", path.read_text("utf-8", "replace"), re.MULTILINE)
    for name in dict.fromkeys(named):
        # Several libraries may stand in one statement, and a name may have blanks in it.
        for each in (name,) if (path.parent / name).is_file() else name.split():
            try:
                library = existing_file(beside(path.parent, each))
            except UserError as error:
                note(path, f"its materials are left out: {error}")
                continue
            materials |= {key: value for key, value in read_mtl(library).items() if key not in materials}
    return materials


def _through_trimesh(
    path: Path, kind: str, resolver: _TexturesBeside, materials: Mapping[str, GltfMaterial]
) -> list[MeshPrimitive]:
    with silenced():
        # Unprocessed: merging vertices would lose seams of uv and hard edges.
        scene = trimesh.load_scene(BytesIO(path.read_bytes()), file_type=kind, resolver=resolver, process=False)
    if resolver.refused is not None:
        note(path, f"its texture is left out: {resolver.refused}")
    return [
        _mesh(geometry, materials, resolver.texture)
        for geometry in scene.geometry.values()
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces)
    ]


def _mesh(geometry: trimesh.Trimesh, materials: Mapping[str, GltfMaterial], texture: Tensor | None) -> MeshPrimitive:
    faces = np.asarray(geometry.faces, np.int64)
    vertices = np.asarray(geometry.vertices, np.float64)
    normals = None
    # Only the cache tells the file's normals from those that trimesh computes on access.
    if "vertex_normals" in geometry._cache:
        stored = torch.from_numpy(np.array(geometry.vertex_normals, np.float32))
        normals = torch.nn.functional.normalize(stored, dim=1)
    visual = geometry.visual
    uv = getattr(visual, "uv", None)
    source = getattr(visual, "material", None)
    material = materials.get(str(getattr(source, "name", None)), GltfMaterial())
    if texture is not None:
        material = GltfMaterial((1.0, 1.0, 1.0), base_color_texture=srgb_to_linear(texture))
    return MeshPrimitive(
        vertices=torch.from_numpy(vertices).float(),
        faces=torch.from_numpy(faces),
        normals=normals,
        uv=None if uv is None else torch.from_numpy(np.array(uv, np.float32)),
        color=_vertex_color(geometry),
        material=material,
    )


def _vertex_color(geometry: trimesh.Trimesh) -> Tensor | None:
    visual = geometry.visual
    if isinstance(visual, ColorVisuals):
        coded = np.asarray(visual.vertex_colors) if visual.kind == "vertex" else None
    else:
        coded = getattr(visual, "vertex_attributes", {}).get("color")
    if coded is None or len(coded) != len(geometry.vertices):
        return None
    scale = 255 if np.issubdtype(np.asarray(coded).dtype, np.integer) else 1
    return srgb_to_linear(torch.from_numpy(np.asarray(coded)[:, :3].astype(np.float32) / scale))


def _check(path: Path, mesh: MeshPrimitive) -> None:
    """Raises UserError for values that are not finite, and faces of vertices that are not there."""
    if not mesh.vertices.isfinite().all():
        raise UserError(f"{path} has vertices that are not finite; expected numbers")
    if int(mesh.faces.min()) < 0 or int(mesh.faces.max()) >= len(mesh.vertices):
        raise UserError(f"{path} has faces of vertices that are not there; expected 0 to {len(mesh.vertices) - 1}")
    for name, values in (("normals", mesh.normals), ("texture coordinates", mesh.uv), ("colours", mesh.color)):
        if values is not None and (len(values) != len(mesh.vertices) or not values.isfinite().all()):
            raise UserError(f"{path} has {name} that are not finite, or not one a vertex; expected numbers")


def _check_ply(path: Path) -> None:
    """Raises UserError where the header promises more elements than the file has bytes."""
    with path.open("rb") as file:
        header = file.read(_PLY_HEADER_BYTES).partition(b"end_header")[0]
    size = path.stat().st_size
    for name, count in re.findall(rb"^[ \t]*element[ \t]+(\S+)[ \t]+(\d+)", header, re.MULTILINE):
        if len(count) > 12 or int(count) > size:
            shown = name.decode("ascii", "replace")[:20]
            raise UserError(f"{path} promises more elements called {shown} than it has bytes; it is truncated")
