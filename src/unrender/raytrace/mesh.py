"""Triangle meshes with texture coordinates, in numpy: normals, hard edges, and mappings for meshes that have none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Mesh:
    """A closed triangle mesh, +Y up.

    Attributes:
        vertices: (V, 3) float64 positions, in the scene's units: a thing on the table is about 1 large.
        uv: (V, 2) in [0, 1] texture coordinates; a seam has its vertices twice.
        faces: (F, 3) indices, counter-clockwise seen from outside.
    """

    vertices: Array
    uv: Array
    faces: Array


_SHARED = np.cos(np.radians(30))


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """Area-weighted unit normals (V, 3).

    Vertices at one place share theirs (texture seams), but for those that lean away from what they would share by more
    than 30 degrees: a mesh whose faces have vertices of their own along an edge is hard there.
    """
    corners = vertices[faces]
    face_normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    own = np.stack([_gather(faces.ravel(), np.repeat(face_normal[:, k], 3), len(vertices)) for k in range(3)], 1)
    place = places(vertices)
    shared = np.stack([_gather(place, own[:, k], int(place.max()) + 1) for k in range(3)], 1)[place]
    own_length, shared_length = (np.linalg.norm(rows, axis=1, keepdims=True) for rows in (own, shared))
    cosine = (own * shared).sum(1, keepdims=True) / np.maximum(own_length * shared_length, 1e-30)
    hard = (own_length > 1e-12) & (cosine < _SHARED)
    return np.where(hard, own, shared) / np.maximum(np.where(hard, own_length, shared_length), 1e-30)


def places(vertices: Array) -> Array:
    """One index for each place (V,), the same for vertices within about 1e-5 of each other."""
    cells = np.round(vertices * 1e5).astype(np.int64)
    # Mixed into one number: sorting numbers takes a tenth of the time of sorting rows.
    mixed = (cells * np.array([0x2545F4914F6CDD1D, 0x1B03738712FAD5C9, 0x632BE59BD9B4E019])).sum(1)
    return np.unique(mixed, return_inverse=True)[1].reshape(-1)


def _gather(index: Array, values: Array, count: int) -> Array:
    return np.bincount(index, values, minlength=count)


def merge(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one; they may touch or cross."""
    starts = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=True)]),
    )


def transformed(mesh: Mesh, pose: Array) -> Mesh:
    """The mesh under `pose` (4, 4)."""
    return Mesh(mesh.vertices @ pose[:3, :3].T + pose[:3, 3], mesh.uv, mesh.faces)


def unit(mesh: Mesh) -> Mesh:
    """The mesh with its bounding box about the origin and its farthest vertex at a distance of 1."""
    centred = mesh.vertices - (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh(centred / np.linalg.norm(centred, axis=1).max(), mesh.uv, mesh.faces)


def with_creases(mesh: Mesh, degrees: float = 35.0) -> Mesh:
    """The mesh with vertices split along edges that bend by more than `degrees`.

    Faces connected by flatter edges form one smooth surface, like a smoothing group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    corners = mesh.vertices[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    first, second = _neighbours(places(mesh.vertices)[mesh.faces])
    smooth = (normal[first] * normal[second]).sum(1) > np.cos(np.radians(degrees))
    first, second = first[smooth], second[smooth]
    count = len(mesh.faces)
    _, group = connected_components(coo_array((np.ones(len(first), bool), (first, second)), (count, count)), False)
    return split(mesh, group)


def box_mapped(vertices: Array, faces: Array) -> Mesh:
    """Texture coordinates from the three axes: each face is projected along its dominant axis.

    The longest side of the bounding box is one texture long. Seen from outside textures stand upright and unmirrored.
    """
    low, high = vertices.min(0), vertices.max(0)
    place = (vertices - (low + high) / 2) / max(float((high - low).max()), 1e-12)
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.abs(normal).argmax(1)
    back = normal[np.arange(len(faces)), axis] < 0
    mesh = split(Mesh(vertices, place, faces), axis * 2 + back)
    side = np.zeros(len(mesh.vertices), np.int64)
    side[mesh.faces.ravel()] = np.repeat(axis * 2 + back, 3)
    x, y, z = mesh.uv.T
    u = np.choose(side, (-z, z, x, x, x, -x))
    v = np.choose(side, (-y, -y, z, -z, -y, -y))
    return Mesh(mesh.vertices, np.stack((u, v), 1) + 0.5, mesh.faces)


def split(mesh: Mesh, group: Array) -> Mesh:
    """The mesh with a copy of each vertex for every `group` (F,) of faces that it is in."""
    key = mesh.faces.astype(np.int64) * (int(group.max()) + 1) + group[:, None]
    kept, index = np.unique(key, return_inverse=True)
    source = kept // (int(group.max()) + 1)
    return Mesh(mesh.vertices[source], mesh.uv[source], index.reshape(mesh.faces.shape))


def is_closed(mesh: Mesh) -> bool:
    """Whether every edge occurs as often in one direction as in the other."""
    place = places(mesh.vertices)[mesh.faces]
    start, end = place.ravel(), np.roll(place, -1, 1).ravel()
    count = int(place.max()) + 1
    forth, back = np.unique(start * count + end, return_counts=True), np.unique(end * count + start, return_counts=True)
    return len(forth[0]) == len(back[0]) and all(np.array_equal(a, b) for a, b in zip(forth, back, strict=True))


def _neighbours(place: Array) -> tuple[Array, Array]:
    """Pairs of faces (each (N,)) that have an edge in common, by the places (F, 3) of their corners."""
    start, end = place.ravel(), np.roll(place, -1, 1).ravel()
    key = np.minimum(start, end) * (int(place.max()) + 1) + np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    return order[same] // 3, order[same + 1] // 3
