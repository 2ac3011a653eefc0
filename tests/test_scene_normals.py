"""Normals: made unit, turned to the viewer, found from depth."""

import torch

from planes import NORMAL, everywhere, plane_depth
from unrender.scene.camera import Camera
from unrender.scene.normals import facing_viewer, normal_from_depth, unit_normals

CAMERA = Camera.perspective((12, 16), 60)


def test_a_planes_normal_follows_exactly_from_its_depth() -> None:
    normal = normal_from_depth(plane_depth(CAMERA), CAMERA)
    torch.testing.assert_close(normal, everywhere(NORMAL, (12, 16)), atol=1e-5, rtol=0)


def test_an_edge_of_depth_does_not_tilt_what_is_beside_it() -> None:
    depth = plane_depth(CAMERA)
    depth[..., 8:] *= 5
    normal = normal_from_depth(depth, CAMERA)
    torch.testing.assert_close(normal, everywhere(NORMAL, (12, 16)), atol=0.02, rtol=0)


def test_no_depth_gives_no_normal() -> None:
    depth = plane_depth(CAMERA)
    depth[..., :4, :] = torch.inf
    depth[..., 8, 8] = torch.inf
    normal = normal_from_depth(depth, CAMERA)
    assert not normal[..., :4, :].any()
    assert not normal[..., 8, 8].any()
    expected = torch.where(depth.isfinite(), everywhere(NORMAL, (12, 16)), 0.0)
    torch.testing.assert_close(normal, expected, atol=1e-5, rtol=0)


def test_a_flat_wall_faces_the_viewer() -> None:
    normal = normal_from_depth(torch.full((1, 1, 3, 3), 2.0), Camera.perspective((3, 3), 60))
    torch.testing.assert_close(normal, everywhere(torch.tensor([0.0, 0.0, 1.0]), (3, 3)))


def test_vectors_become_unit_or_nothing() -> None:
    stored = everywhere(0.4 * NORMAL, (2, 2))
    stored[..., 0, 0], stored[..., 0, 1] = 0.01, torch.nan
    unit = unit_normals(stored)
    torch.testing.assert_close(unit[..., 1, 1], NORMAL[None])
    assert not unit[..., 0, :].any()


def test_normals_are_turned_to_the_viewer_along_each_ray() -> None:
    # Its z points away, yet at the right edge the surface still faces the pinhole.
    slanted = everywhere(torch.nn.functional.normalize(torch.tensor([-1.0, 0.0, -0.2]), dim=0), (12, 16))
    turned = facing_viewer(slanted, CAMERA)
    assert (turned[0, 0, :, 0] > 0).all()
    assert (turned[0, 0, :, -1] < 0).all()
