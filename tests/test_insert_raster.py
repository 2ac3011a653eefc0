"""Meshes through the depth buffer, against geometry that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from unrender.insert.raster import rasterise
from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera, pixel_rays

AWAY, RADIUS = 4.0, 1.0


def ball(subdivisions: int) -> TexturedMesh:
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=RADIUS)
    vertices = np.asarray(made.vertices, np.float32) - np.array([0, 0, AWAY], np.float32)
    normals = np.asarray(made.vertices, np.float32) / RADIUS
    half = np.full((1, 1), 0.5, np.float32)
    return TexturedMesh(
        vertices,
        normals,
        np.full((len(vertices), 2), 0.5, np.float32),
        np.asarray(made.faces, np.uint32),
        np.full((1, 1, 3), 0.7, np.float32),
        half,
        0 * half,
        opacity=half,
    )


@pytest.mark.parametrize("subdivisions", [3, 6])  # triangles larger and smaller than a pixel
def test_a_ball_is_where_it_should_be(subdivisions: int):
    camera = Camera.perspective((60, 80), 40)
    gbuffer = rasterise(ball(subdivisions), camera)
    rays = pixel_rays(camera)[0]
    unit = rays / rays.norm(dim=0)
    along = -unit[2] * AWAY
    off = AWAY**2 - along**2
    inside = off < (0.97 * RADIUS) ** 2
    distance = along - (RADIUS**2 - off.clamp(max=RADIUS**2)).sqrt()
    normal = (unit * distance + torch.tensor([0, 0, AWAY])[:, None, None]) / RADIUS
    assert gbuffer.mask is not None
    assert gbuffer.normal is not None
    assert gbuffer.depth is not None
    assert torch.equal(gbuffer.mask[0, 0][inside].unique(), torch.tensor([0.5]))  # no holes, and see-through
    assert not gbuffer.mask[0, 0][off > (1.03 * RADIUS) ** 2].any()
    assert float((gbuffer.depth[0, 0] - (distance * -unit[2]))[inside].abs().max()) < 0.05  # the front, not the back
    assert float((gbuffer.normal[0] - normal)[:, inside].abs().max()) < 0.1


def test_what_is_in_front_hides_what_is_behind_it_whichever_comes_first():
    near, far = ball(2), ball(2)
    far = TexturedMesh(**{**vars(far), "vertices": far.vertices * 2})
    camera = Camera.perspective((24, 24), 60)
    for one, other in ((near, far), (far, near)):
        both = TexturedMesh(
            **{
                **vars(near),
                "vertices": np.concatenate((one.vertices, other.vertices)),
                "normals": np.concatenate((one.normals, other.normals)),
                "uv": np.concatenate((one.uv, other.uv)),
                "faces": np.concatenate((one.faces, other.faces + len(one.vertices))),
            }
        )
        depth = rasterise(both, camera).depth
        assert depth is not None
        assert float(depth[0, 0, 12, 12]) == pytest.approx(AWAY - RADIUS, abs=0.02)


def test_what_is_behind_the_camera_is_not_seen():
    mesh = ball(2)
    turned = TexturedMesh(**{**vars(mesh), "vertices": -mesh.vertices})
    mask = rasterise(turned, Camera.perspective((24, 24), 60)).mask
    assert mask is not None
    assert not mask.any()
