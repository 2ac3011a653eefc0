"""Cameras, and the paths that they take."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrender.errors import UserError
from unrender.scene.camera import (
    Camera,
    depth_to_ray_distance,
    pixel_rays,
    project,
    ray_distance_to_depth,
    unproject,
    world_rays,
)
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer, concatenate
from unrender.scene.trajectory import dolly, interpolate, look_at, orbit, shake

ORIGIN = torch.zeros(3)


def some_camera(size=(6, 8)):
    poses = orbit(torch.tensor([0.3, -0.2, 0.1]), 3.0, 4, elevation=25.0)
    return Camera.perspective(size, 45.0, poses)


def assert_rigid(poses):
    rotation = poses[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(poses)))


def test_the_field_of_view_is_the_vertical_one():
    camera = Camera.perspective((100, 300), 60.0)
    top = camera.intrinsics.new_tensor([[0.0, math.tan(math.radians(30)), -1.0]])
    pixel, depth = project(top, camera)
    torch.testing.assert_close(pixel[0, 0], torch.tensor([150.0, 0.0]), atol=1e-3, rtol=0)
    assert float(depth) == 1.0


def test_points_projected_come_back_unprojected():
    camera = some_camera()
    depth = 1 + torch.rand(4, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    points = unproject(depth, camera).flatten(2).mT
    world = points @ camera.pose[:, :3, :3].mT + camera.pose[:, None, :3, 3]
    pixel, found = project(world, camera)
    y, x = torch.meshgrid(torch.arange(6) + 0.5, torch.arange(8) + 0.5, indexing="ij")
    centers = torch.stack((x, y), dim=-1).reshape(1, -1, 2).expand(4, -1, -1)
    torch.testing.assert_close(pixel, centers, atol=1e-4, rtol=0)
    torch.testing.assert_close(found, depth.flatten(1))


def test_planar_depth_is_ray_distance_only_in_the_middle():
    camera = Camera.perspective((5, 5), 90.0)
    distance = depth_to_ray_distance(torch.ones(1, 1, 5, 5), camera)
    assert float(distance[0, 0, 2, 2]) == 1.0
    assert float(distance[0, 0, 0, 0]) == pytest.approx(math.sqrt(1 + 2 * 0.8**2))
    torch.testing.assert_close(ray_distance_to_depth(distance, camera), torch.ones(1, 1, 5, 5))


def test_nothing_is_infinitely_far_and_never_nan():
    points = unproject(torch.full((1, 1, 5, 5), torch.inf), Camera.perspective((5, 5)))
    assert not points.isnan().any()
    assert (points[:, 2] == -torch.inf).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 50), st.integers(1, 50))
def test_a_resized_camera_sees_the_same_at_the_same_place(height, width):
    camera = some_camera((6, 8))
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    before, _ = project(points, camera)
    after, _ = project(points, camera.resized((height, width)))
    torch.testing.assert_close(after, before * torch.tensor([width / 8, height / 6]), atol=1e-3, rtol=1e-5)


def test_the_rays_of_a_halved_camera_lie_between_those_of_the_whole():
    camera = Camera.perspective((4, 6), 50.0)
    quads = torch.nn.functional.avg_pool2d(pixel_rays(camera), 2)
    torch.testing.assert_close(pixel_rays(camera.resized((2, 3))), quads)


def test_a_cropped_camera_has_the_rays_of_its_window():
    camera = some_camera((9, 8))
    torch.testing.assert_close(pixel_rays(camera.cropped(2, 3, (4, 5))), pixel_rays(camera)[..., 2:6, 3:8])


def test_world_rays_of_the_first_orbit_pose_look_at_the_target():
    poses = orbit(ORIGIN, 2.0, 4, elevation=0.0)
    middle = world_rays(Camera.perspective((3, 3), 40.0, poses))[:, :, 1, 1]
    expected = torch.tensor([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(middle, expected, atol=1e-6, rtol=0)


def test_cameras_of_different_sizes_do_not_join():
    with pytest.raises(UserError, match="sizes"):
        Camera.concatenate([some_camera((4, 4)), some_camera((4, 5))])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=6, max_size=6))
def test_look_at_is_upright_and_puts_the_target_in_the_middle(numbers):
    eye, target = torch.tensor(numbers[:3]), torch.tensor(numbers[3:])
    if torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), eye - target).norm() < 0.05:
        return
    pose = look_at(eye, target)
    assert_rigid(pose)
    assert float(pose[0, 1, 0]) == pytest.approx(0, abs=1e-6)
    assert float(pose[0, 1, 1]) > 0
    pixel, depth = project(target[None], Camera.perspective((10, 10), pose=pose))
    torch.testing.assert_close(pixel[0, 0], torch.tensor([5.0, 5.0]), atol=1e-2, rtol=0)
    assert float(depth) == pytest.approx(float((eye - target).norm()), rel=1e-4)


def test_look_at_refuses_what_has_no_upright():
    with pytest.raises(UserError, match="up vector"):
        look_at(torch.tensor([0.0, 1.0, 0.0]), ORIGIN)


def test_an_orbit_stands_at_its_radius_and_elevation():
    target = torch.tensor([1.0, 2.0, 3.0])
    poses = orbit(target, 2.0, 8, elevation=30.0, start=90.0)
    assert_rigid(poses)
    offset = poses[:, :3, 3] - target
    torch.testing.assert_close(offset.norm(dim=-1), torch.full((8,), 2.0))
    torch.testing.assert_close(offset[:, 1], torch.full((8,), 1.0))
    torch.testing.assert_close(offset[0], torch.tensor([math.sqrt(3), 1.0, 0.0]))
    torch.testing.assert_close(offset[2], torch.tensor([0.0, 1.0, -math.sqrt(3)]), atol=1e-6, rtol=1e-6)


def test_a_dolly_goes_where_the_camera_looks():
    pose = look_at(torch.tensor([0.0, 1.0, 4.0]), ORIGIN)[0]
    path = dolly(pose, 2.0, 5)
    _, depth = project(ORIGIN[None], Camera.perspective((4, 4), pose=path))
    torch.testing.assert_close(depth[:, 0], math.sqrt(17) - torch.linspace(0, 2, 5))


def test_shake_is_seeded_smooth_and_of_the_size_asked_for():
    still = look_at(torch.tensor([0.0, 0.0, 3.0]), ORIGIN).expand(4000, 4, 4)
    shaken = shake(still, seed=1, shift=0.02, degrees=0.5, period=12.0)
    assert_rigid(shaken[::200])
    torch.testing.assert_close(shaken, shake(still, seed=1, shift=0.02, degrees=0.5, period=12.0))
    assert not torch.allclose(shaken, shake(still, seed=2, shift=0.02, degrees=0.5, period=12.0))
    offset = shaken[:, :3, 3] - still[:, :3, 3]
    assert float(offset.std()) == pytest.approx(0.02, rel=0.15)
    assert float((offset[1:] - offset[:-1]).abs().max()) < 0.02
    tilt = torch.rad2deg(torch.asin(shaken[:, 1, 2]))
    assert float(tilt.std()) == pytest.approx(0.5, rel=0.2)


def test_keyframes_are_met_and_turned_between_evenly():
    keys = orbit(ORIGIN, 2.0, 4, elevation=0.0)[:3]
    path = interpolate(keys, [0.0, 1.0, 3.0], torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 9.0]))
    assert_rigid(path)
    for i, key in ((0, 0), (1, 0), (3, 1), (5, 2), (6, 2)):
        torch.testing.assert_close(path[i], keys[key], atol=1e-5, rtol=0)
    torch.testing.assert_close(path[2, :3, 2], torch.tensor([0.5**0.5, 0.0, 0.5**0.5]), atol=1e-5, rtol=0)
    torch.testing.assert_close(path[2, :3, 3], torch.tensor([1.0, 0.0, 1.0]), atol=1e-5, rtol=0)


def test_a_half_turn_between_keyframes_still_arrives():
    keys = orbit(ORIGIN, 1.0, 2, elevation=0.0)
    path = interpolate(keys, [0.0, 1.0], torch.tensor([0.25, 1.0]))
    assert_rigid(path)
    torch.testing.assert_close(path[1], keys[1], atol=1e-5, rtol=0)
    angle = math.degrees(math.acos(float((path[0, :3, :3] * keys[0, :3, :3]).sum() - 1) / 2))
    assert angle == pytest.approx(45, abs=0.1)


def test_keyframes_out_of_order_are_refused():
    with pytest.raises(UserError, match="increasing"):
        interpolate(orbit(ORIGIN, 1.0, 2), [1.0, 0.0], torch.tensor([0.5]))


def test_gbuffers_join_with_the_cameras_that_stand_for_all_their_frames():
    still = Camera.perspective((4, 4))
    moving = Camera.perspective((4, 4), pose=orbit(ORIGIN, 1.0, 2))
    one = GBuffer(depth=torch.ones(3, 1, 4, 4), camera=still)
    two = GBuffer(depth=torch.ones(2, 1, 4, 4), camera=moving)
    joined = concatenate([one, two])
    assert len(joined) == len(joined.camera) == 5
    torch.testing.assert_close(joined.frame(-1).camera.pose, moving.pose[1:])
    with pytest.raises(IndexError):
        joined.frame(5)


def test_a_gbuffer_refuses_the_camera_of_another_picture():
    with pytest.raises(UserError, match="camera"):
        GBuffer(depth=torch.ones(1, 1, 4, 4), camera=Camera.perspective((4, 5)))
    with pytest.raises(UserError, match="size or depth kind"):
        concatenate([GBuffer(depth=torch.ones(1, 1, 4, 4), depth_kind=k) for k in ("metric", "relative")])


def test_a_frame_of_a_clip_is_a_still_with_its_mask():
    clip = Frames(torch.rand(3, 3, 2, 2), torch.rand(3, 1, 2, 2))
    torch.testing.assert_close(clip.frame(-1).rgb, clip.rgb[2:])
    torch.testing.assert_close(clip.frame(1).mask, clip.mask[1:2])
