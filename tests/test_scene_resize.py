"""Pictures and G-buffers at other sizes."""

import pytest
import torch

from unrender.errors import UserError
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_depth, resize_frames, resize_gbuffer, resize_normal, resize_picture


def test_halving_a_picture_averages_light_and_keeps_its_place():
    edge = torch.zeros(1, 3, 16, 16)
    edge[..., 8:] = 1.0
    half = resize_picture(edge, (8, 8))
    assert half[..., :3].max() == 0
    assert half[..., 5:].min() == pytest.approx(1.0)
    torch.testing.assert_close(half + half.flip(3), torch.ones_like(half))


def test_a_fine_checkerboard_becomes_grey_not_noise():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((x + y) % 2).float().expand(1, 1, 64, 64)
    torch.testing.assert_close(resize_picture(board, (13, 11)), torch.full((1, 1, 13, 11), 0.5), atol=0.02, rtol=0)


def test_the_same_size_is_the_same_picture():
    picture = torch.rand(2, 3, 5, 7)
    assert resize_picture(picture, (5, 7)) is picture


def test_nothing_has_no_size():
    with pytest.raises(UserError, match="0 x 4"):
        resize_picture(torch.rand(1, 3, 4, 4), (0, 4))


@pytest.mark.parametrize("size", [(5, 9), (40, 32)])
def test_normals_stay_unit_and_none_stays_none(size):
    normal = torch.nn.functional.normalize(torch.randn(1, 3, 20, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    normal[..., :8] = torch.tensor([0.6, 0.0, 0.8])[None, :, None, None]
    normal[..., :10, :] = 0.0
    resized = resize_normal(normal, size)
    lengths = resized.norm(dim=1)
    assert ((lengths < 1e-6) | ((lengths - 1).abs() < 1e-5)).all()
    rows, columns = size
    assert lengths[:, : rows // 2 - 1].max() == 0
    assert lengths[:, rows // 2 + 1 :, : columns // 2].min() > 0.99
    torch.testing.assert_close(resized[0, :, -1, 0], torch.tensor([0.6, 0.0, 0.8]))


def test_depth_is_not_pulled_by_the_background():
    depth = torch.full((1, 1, 12, 12), torch.inf)
    depth[..., 4:] = 3.0
    for size in ((6, 5), (24, 30), (12, 12)):
        resized = resize_depth(depth, size)
        assert not resized.isnan().any()
        assert (resized[resized.isfinite()] - 3.0).abs().max() < 1e-5
        assert resized[..., 0].isinf().all()
        assert resized[..., -1].isfinite().all()
        covered = resized.isfinite().float().mean()
        assert float(covered) == pytest.approx(8 / 12, abs=0.5 / size[1])


def test_depth_has_a_finite_gradient_beside_the_background():
    depth = torch.full((1, 1, 8, 8), torch.inf)
    depth[..., 3:] = 2.0
    depth.requires_grad_()
    resized = resize_depth(depth, (4, 4))
    resized[resized.isfinite()].sum().backward()
    assert depth.grad.isfinite().all()


def test_a_gbuffer_takes_its_camera_along():
    camera = Camera.perspective((12, 16), 40.0)
    gbuffer = GBuffer(
        base_color=torch.rand(1, 3, 12, 16),
        normal=-pixel_rays(camera) / pixel_rays(camera).norm(dim=1, keepdim=True),
        depth=torch.full((1, 1, 12, 16), 2.0),
        mask=torch.ones(1, 1, 12, 16),
        camera=camera,
    )
    small = resize_gbuffer(gbuffer, (6, 8))
    assert small.size == (6, 8) == small.camera.size
    expected = -pixel_rays(small.camera) / pixel_rays(small.camera).norm(dim=1, keepdim=True)
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(small.normal[inside], expected[inside], atol=1e-3, rtol=0)
    assert set(small.maps) == set(gbuffer.maps)


def test_frames_keep_their_mask():
    resized = resize_frames(Frames(torch.rand(2, 3, 8, 8), torch.ones(2, 1, 8, 8), fps=24.0), (3, 5))
    assert resized.size == (3, 5)
    assert resized.fps == 24.0
    torch.testing.assert_close(resized.mask, torch.ones(2, 1, 3, 5))
