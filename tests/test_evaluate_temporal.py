"""Motion of known geometry, and the warp error of known changes."""

import math

import pytest
import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.evaluate.metrics.temporal import OpticalFlow, flow_of_geometry, warp_error
from unrender.scene.camera import Camera, pixel_rays

SIZE = (24, 32)


def still(count: int) -> OpticalFlow:
    return OpticalFlow(torch.zeros(count - 1, 2, *SIZE), torch.ones(count - 1, 1, *SIZE, dtype=torch.bool))


def moved(x: float, z: float = 0.0, yaw_degrees: float = 0.0) -> Camera:
    """A camera at the origin, and then one step further on."""
    pose = torch.eye(4).repeat(2, 1, 1)
    c, s = math.cos(math.radians(yaw_degrees)), math.sin(math.radians(yaw_degrees))
    pose[1, :3, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    pose[1, 0, 3], pose[1, 2, 3] = x, z
    return Camera.perspective(SIZE, pose=pose)


def plane_depth(camera: Camera, normal: Tensor, offset: float) -> Tensor:
    """Planar depth (T, 1, H, W) of the world plane normal . X = offset."""
    rays = torch.einsum("tij,tjhw->tihw", camera.pose[:, :3, :3], pixel_rays(camera))
    along = torch.einsum("tihw,i->thw", rays, normal)
    return ((offset - camera.pose[:, :3, 3] @ normal)[:, None, None] / along)[:, None]


def test_a_step_aside_before_a_wall_shifts_the_picture():
    camera = moved(0.5)
    depth = torch.full((2, 1, *SIZE), 4.0)
    motion = flow_of_geometry(depth, camera)
    shift = -float(camera.intrinsics[0, 0, 0]) * 0.5 / 4
    torch.testing.assert_close(motion.flow[0, 0], torch.full(SIZE, shift), atol=1e-4, rtol=0)
    torch.testing.assert_close(motion.flow[0, 1], torch.zeros(SIZE), atol=1e-4, rtol=0)
    x = torch.arange(SIZE[1]) + 0.5
    torch.testing.assert_close(motion.visible[0, 0], (x + shift >= 0.499).expand(SIZE))


def test_a_slanted_plane_under_any_step_is_followed_exactly():
    camera = moved(0.4, -0.3, 5.0)
    normal = torch.nn.functional.normalize(torch.tensor([0.4, 0.3, 1.0]), dim=0)
    depth = plane_depth(camera, normal, -4.0)
    motion = flow_of_geometry(depth, camera, tolerance=1e-5)
    assert float(motion.visible.double().mean()) > 0.6
    # The position itself as a picture: bilinear samples of it are wrong by its curvature only.
    points = torch.einsum("tij,tjhw->tihw", camera.pose[:, :3, :3], depth * pixel_rays(camera))
    points = points + camera.pose[:, :3, 3, None, None]
    assert warp_error(points, motion) < 1e-5
    assert warp_error(points, still(2)) > 1e-2


def test_the_error_of_a_known_change():
    ramp = (torch.arange(SIZE[1]) / 100.0).expand(1, 3, *SIZE)
    clip = torch.cat((ramp, ramp + 0.1))
    assert warp_error(clip, still(2)) == pytest.approx(0.01, rel=1e-5)
    # All moves left by one pixel: the ramp's rise is undone by the flow, but for the last column, which is not seen.
    shifted = torch.cat((ramp, ramp + 0.01))
    motion = still(2)
    motion.flow[:, 0] = -1
    motion.visible[..., 0] = False
    assert warp_error(shifted, motion) == pytest.approx(0, abs=1e-12)
    assert warp_error(shifted, still(2)) == pytest.approx(1e-4, rel=1e-4)


def test_what_is_hidden_or_nowhere_does_not_count():
    camera = moved(0.5)
    depth = torch.full((2, 1, *SIZE), 4.0)
    depth[1, :, :, 10:14] = 1.0  # something steps in front
    depth[0, :, :6] = torch.inf
    visible = flow_of_geometry(depth, camera).visible[0, 0]
    assert not visible[:6].any()
    shift = float(camera.intrinsics[0, 0, 0]) * 0.5 / 4
    hidden = [x for x in range(SIZE[1]) if 10 <= x + 0.5 - shift <= 14]
    assert len(hidden) >= 3
    assert not visible[:, hidden].any()
    assert visible[6:, -8:].all()
    clip = torch.rand(2, 3, *SIZE)
    blind = OpticalFlow(torch.zeros(1, 2, *SIZE), torch.zeros(1, 1, *SIZE, dtype=torch.bool))
    assert math.isnan(warp_error(clip, blind))
    half = still(3)
    half.visible[1] = False
    assert warp_error(torch.cat((clip, clip[:1])), half) == pytest.approx(
        float((clip[0] - clip[1]).square().mean()), rel=1e-5
    )


def test_mistakes():
    with pytest.raises(UserError, match="at least two frames"):
        flow_of_geometry(torch.ones(1, 1, *SIZE), Camera.perspective(SIZE))
    with pytest.raises(UserError, match="one pair less"):
        warp_error(torch.rand(3, 3, *SIZE), still(2))
    with pytest.raises(UserError, match="OpticalFlow of the shapes"):
        OpticalFlow(torch.zeros(1, 2, *SIZE), torch.ones(2, 1, *SIZE, dtype=torch.bool))
