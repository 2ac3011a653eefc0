"""Hard edges and texture coordinates for meshes from booleans and files."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from unrender.synth.shapes import Array, Mesh, places


def with_creases(mesh: Mesh, degrees: float = 35.0) -> Mesh:
    """The mesh with vertices split along edges that bend by more than `degrees`.

    Faces connected by flatter edges form one smooth surface, like a smoothing group.
    """
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
