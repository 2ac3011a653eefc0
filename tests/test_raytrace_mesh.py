"""Meshes whose triangles come from elsewhere get hard edges and texture coordinates."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy is not installed; the extra [raytrace] brings it")

from unrender.raytrace.mesh import Mesh, box_mapped, is_closed, vertex_normals, with_creases


def cube():
    """Eight vertices, twelve faces, no texture."""
    vertices = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return vertices, np.array([[q[0], q[i], q[i + 1]] for q in quads for i in (1, 2)])


def test_creases_are_hard_and_flat_edges_are_not():
    vertices, faces = cube()
    smooth = Mesh(vertices, np.zeros((8, 2)), faces)
    np.testing.assert_allclose(np.abs(vertex_normals(vertices, faces)), 3**-0.5, atol=0.3)
    hard = with_creases(smooth, 35)
    assert len(hard.vertices) == 24
    assert is_closed(hard)
    np.testing.assert_allclose(np.abs(vertex_normals(hard.vertices, hard.faces)).max(1), 1, atol=1e-9)
    assert len(with_creases(smooth, 95).vertices) == 8


def test_box_mapping_is_upright_and_not_mirrored():
    mesh = box_mapped(*cube())
    assert is_closed(mesh)
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    for corners, uv in zip(mesh.vertices[mesh.faces], mesh.uv[mesh.faces], strict=True):
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        u, v = uv[1] - uv[0], uv[2] - uv[0]
        # v points down, so counter-clockwise from outside is clockwise in (u, v).
        assert u[0] * v[1] - u[1] * v[0] < 0
        if abs(normal[1]) < 1e-9:
            np.testing.assert_allclose(uv[:, 1], 0.5 - corners[:, 1] / 2)
