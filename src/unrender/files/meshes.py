"""Meshes with metallic-roughness materials: glTF and GLB by `gltf`, OBJ and PLY by `trimesh_reading`.

+Y up, metres, as glTF has it; a file's own axes are not guessed.
"""

from __future__ import annotations

from pathlib import Path

from unrender.errors import UserError
from unrender.files import gltf
from unrender.files.materials import GltfMaterial as GltfMaterial
from unrender.files.materials import MeshPrimitive as MeshPrimitive
from unrender.files.paths import existing_file
from unrender.files.reading import reading

MESH_SUFFIXES = frozenset({".glb", ".gltf", ".obj", ".ply"})

_PLY_MAGIC = b"ply"


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
            from unrender.files.trimesh_reading import read_ply

            meshes = read_ply(path)
        else:
            from unrender.files.trimesh_reading import read_obj

            meshes = read_obj(path)
        if not meshes:
            raise UserError(f"{path} has no triangles in it")
        for mesh in meshes:
            _check(path, mesh)
    return meshes


def _check(path: Path, mesh: MeshPrimitive) -> None:
    """Raises UserError for values that are not finite, and faces of vertices that are not there."""
    if not mesh.vertices.isfinite().all():
        raise UserError(f"{path} has vertices that are not finite; expected numbers")
    if int(mesh.faces.min()) < 0 or int(mesh.faces.max()) >= len(mesh.vertices):
        raise UserError(f"{path} has faces of vertices that are not there; expected 0 to {len(mesh.vertices) - 1}")
    for name, values in (("normals", mesh.normals), ("texture coordinates", mesh.uv), ("colours", mesh.color)):
        if values is not None and (len(values) != len(mesh.vertices) or not values.isfinite().all()):
            raise UserError(f"{path} has {name} that are not finite, or not one a vertex; expected numbers")
