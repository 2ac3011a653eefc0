"""Where objects stand: planes found and given, poses, scales, and what is refused."""

import math

import numpy as np
import pytest
import torch

from unrender.errors import UserError

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")
pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")

import trimesh

from unrender.insert.builtin import BUILTIN
from unrender.insert.look import QUICK_SIDE
from unrender.insert.objects import Standing, load_object
from unrender.insert.placement import ANYWHERE, Placement, build_scene, place_objects
from unrender.insert.plane import SupportPlane, choose_spot, find_plane
from unrender.insert.scene import photo_camera
from unrender.scene.camera import Camera, pixel_rays, project
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.trajectory import look_at

SIZE = (60, 80)
PHOTO = Frames(torch.full((1, 3, *SIZE), 0.4), name="photo")
LEVEL = SupportPlane(torch.tensor([0.0, 1.0, 0.0]), -1.0)


def no_look():
    raise AssertionError("nothing had to be found")


def tilted_ground(tilt=25.0, noise=0.05, kind="relative", height=2.0):
    """The G-buffer of a camera that looks down by `tilt` degrees on a ground `height` below it, a wall at its end."""
    camera = photo_camera(PHOTO)
    angle = math.radians(tilt)
    normal = torch.tensor([0.0, math.cos(angle), math.sin(angle)])
    rays = pixel_rays(camera)[0]
    falling = torch.einsum("chw,c->hw", rays, normal)
    depth = torch.where(falling < -0.05, -height / falling, torch.full_like(falling, torch.inf))
    ground = depth < 12
    normals = torch.where(ground, normal[:, None, None], torch.tensor([0.0, 0.0, 1.0])[:, None, None])
    jitter = noise * torch.randn(3, *SIZE, generator=torch.Generator().manual_seed(0))
    normals = torch.nn.functional.normalize(normals + jitter, dim=0)
    return GBuffer(normal=normals[None], depth=depth.clamp(max=12)[None, None], depth_kind=kind, camera=camera), normal


def test_the_plane_of_a_tilted_camera_is_found():
    gbuffer, normal = tilted_ground()
    found, point = find_plane(gbuffer, (40.5, 50.5))
    assert float(found @ normal) > math.cos(math.radians(1))
    x, y = choose_spot(gbuffer)
    assert 20 < x < 60
    assert y > 30
    assert float(-(point @ found)) == pytest.approx(2.0, rel=0.1)


def test_a_smaller_look_finds_the_same_plane_at_the_same_place():
    gbuffer, _ = tilted_ground(noise=0.0)
    x, y = choose_spot(gbuffer)
    assert choose_spot(gbuffer, (240, 320)) == (4 * x, 4 * y)
    for found, expected in zip(
        find_plane(gbuffer, (4 * x, 4 * y), (240, 320)), find_plane(gbuffer, (x, y)), strict=True
    ):
        torch.testing.assert_close(found, expected)
    with pytest.raises(UserError, match="--at 330,10 is outside the picture, which is 320 x 240"):
        find_plane(gbuffer, (330.0, 10.0), (240, 320))
    with pytest.raises(UserError, match="no support plane found at 160,20"):
        find_plane(gbuffer, (160.0, 20.0), (240, 320))


def test_a_quick_look_is_at_a_small_copy_and_the_scene_is_of_the_photo():
    seen = []

    def inverse(photo, maps):
        seen.append(photo.size)
        found, _ = tilted_ground(noise=0.0)
        return found

    photo = Frames(torch.full((1, 3, 480, 640), 0.4))
    quick, whole = (place_objects(photo, "ball", ANYWHERE, inverse, quick=quick) for quick in (True, False))
    assert seen == [(QUICK_SIDE * 3 // 4, QUICK_SIDE), (480, 640)]
    assert quick.camera.size == whole.camera.size == (480, 640)
    np.testing.assert_allclose(quick.objects[0].pose, whole.objects[0].pose)
    pixels, _ = project(torch.from_numpy(quick.objects[0].points).float(), quick.camera)
    x, _ = choose_spot(tilted_ground(noise=0.0)[0], (480, 640))
    assert float(pixels[0, :, 0].mean()) == pytest.approx(x, abs=10)


def test_a_spot_is_not_at_the_side_though_there_be_more_room():
    gbuffer, normal = tilted_ground(noise=0.0)
    behind = gbuffer.maps["normal"].clone()
    behind[0, :, :, 12:68] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    behind[0, :, 40:, 36:43] = normal[:, None, None]
    x, _ = choose_spot(gbuffer.with_maps(normal=behind))
    assert 0.15 * 80 <= x <= 0.85 * 80


@pytest.mark.parametrize(
    ("kind", "given", "expected"), [("relative", None, 1.6), ("relative", 0.4, 0.4), ("metric", None, 2.0)]
)
def test_the_world_has_the_plane_at_its_foot_and_the_camera_at_its_height(kind, given, expected):
    gbuffer, normal = tilted_ground(kind=kind, noise=0.0)
    standing = (Standing((40.0, 50.0), "0.5"),)
    scene = build_scene(PHOTO, [load_object("crate")], Placement(standing, camera_height=given), lambda: gbuffer)
    assert float(scene.camera.pose[0, 1, 3]) == pytest.approx(expected, rel=0.02)
    up = scene.camera.pose[0, :3, :3].T @ torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(up, normal, atol=1e-3, rtol=0)
    points = scene.objects[0].points
    assert points[:, 1].min() == pytest.approx(0, abs=1e-6)
    assert np.ptp(points[:, 1]) == pytest.approx(0.5, rel=1e-6)
    middle = torch.from_numpy((points.min(0) + points.max(0)) / 2 * [1, 0, 1]).float()
    pixel, _ = project(middle[None], scene.camera)
    torch.testing.assert_close(pixel[0, 0], torch.tensor([40.0, 50.0]), atol=0.6, rtol=0)


@pytest.mark.parametrize("name", BUILTIN)
def test_what_ships_stands_upright_at_the_height_asked_for(name):
    camera = Camera.perspective(SIZE, 50.0)
    placement = Placement((Standing((40.0, 45.0), "30%"),), plane=LEVEL, camera=camera)
    thing = build_scene(PHOTO, [load_object(name)], placement, no_look).objects[0]
    points = thing.points
    assert points[:, 1].min() == pytest.approx(-1.0, abs=1e-6)
    pixels, _ = project(torch.from_numpy(points).float(), camera)
    assert 0.2 < np.ptp(pixels[0, :, 1].numpy()) / SIZE[0] < 0.5


def test_turn_and_up_turn_the_object():
    camera = Camera.perspective(SIZE, 50.0)
    spot = (40.0, 45.0)

    def placed(**settings):
        placement = Placement((Standing(spot, "1.0", **settings),), plane=LEVEL, camera=camera)
        return build_scene(PHOTO, [load_object("cone")], placement, no_look).objects[0]

    straight, turned, toppled = placed(), placed(turn=90.0), placed(up="-y")
    between = turned.pose[:3, :3] @ np.linalg.inv(straight.pose[:3, :3])
    np.testing.assert_allclose(between, [[0, 0, 1], [0, 1, 0], [-1, 0, 0]], atol=1e-6)
    top = straight.points[straight.points[:, 1].argmax()]
    assert np.linalg.norm(top[[0, 2]] - straight.points.mean(0)[[0, 2]]) < 0.1
    # The foot is wide and the tip narrow: upside down the widest place is on top.
    upside = toppled.points
    wide = np.linalg.norm(upside[:, [0, 2]] - upside[:, [0, 2]].mean(0), axis=1).argmax()
    assert upside[wide, 1] > upside[:, 1].mean()
    assert np.linalg.det(toppled.pose[:3, :3]) > 0


def test_several_objects_stand_where_they_are_told_and_where_there_is_room():
    gbuffer, _ = tilted_ground(noise=0.0)
    things = [load_object("ball"), load_object("vase"), load_object("cone")]
    standing = (Standing((20.0, 45.0), "0.3"), Standing(None, "0.3"), Standing(None, "0.2"))
    scene = build_scene(PHOTO, things, Placement(standing), lambda: gbuffer)
    feet = torch.stack([torch.from_numpy(thing.points.mean(0) * [1, 0, 1]).float() for thing in scene.objects])
    pixels, _ = project(feet, scene.camera)
    assert float(pixels[0, 0, 0]) == pytest.approx(20, abs=2)
    assert float(pixels[0, 2, 0] - pixels[0, 1, 0]) == pytest.approx(0.12 * 80, abs=2)


def test_poses_are_from_the_coordinates_of_the_file(tmp_path):
    path = tmp_path / "brick.ply"
    trimesh.creation.box((200.0, 100.0, 50.0)).apply_translation((1000, 50, 0)).export(path)  # millimetres, off centre
    thing = load_object(path)
    pose = np.diag([0.001, 0.001, 0.001, 1.0])
    pose[:3, 3] = -1.0, -1.0, -3.0
    camera = Camera.perspective(SIZE, 50.0)
    scene = build_scene(PHOTO, [thing], Placement(poses=(pose,), camera=camera), no_look)
    points = scene.objects[0].points
    np.testing.assert_allclose(points.min(0), [-0.1, -1.0, -3.025], atol=1e-5)
    np.testing.assert_allclose(points.max(0), [0.1, -0.9, -2.975], atol=1e-5)
    assert scene.plane.offset == pytest.approx(-1.0, abs=1e-5)


def test_a_field_of_view_is_that_of_exif():
    photo = Frames(PHOTO.rgb, metadata={"focal_length_35mm": "43.2666"})
    diagonal = math.hypot(*SIZE)
    assert float(photo_camera(photo).intrinsics[0, 0, 0]) == pytest.approx(diagonal, rel=1e-4)
    assert float(photo_camera(photo, 90.0).intrinsics[0, 0, 0]) == pytest.approx(30.0, rel=1e-4)
    strange = Frames(PHOTO.rgb, metadata={"focal_length_35mm": "nan"})
    assert photo_camera(strange) == photo_camera(PHOTO)


def shear():
    pose = np.eye(4)
    pose[0, 1] = 0.5
    return pose


@pytest.mark.parametrize(
    ("placement", "says"),
    [
        (Placement(poses=(np.diag([-1.0, 1, 1, 1]),)), "mirrors"),
        (Placement(poses=(shear(),)), "stretches or shears"),
        (Placement(poses=(np.full((4, 4), np.nan),)), "finite"),
        (Placement(poses=(np.eye(4), np.eye(4))), "2 poses"),
        (Placement((Standing((40.0, 5.0)),), plane=LEVEL), "not seen at 40,5"),
        (Placement((Standing((40.0, 45.0), "-1"),), plane=LEVEL), "--height -1"),
        (Placement((Standing((40.0, 45.0), "tall"),), plane=LEVEL), "--height tall"),
        (Placement((Standing((40.0, 45.0)),), plane=SupportPlane(torch.tensor([0.0, 1, 0]), 1.0)), "below the plane"),
        (Placement((Standing((40.0, 45.0)),), plane=LEVEL, camera=Camera.perspective((40, 40))), "same shape"),
        (Placement((Standing((40.0, 45.0)),), plane=LEVEL, fov_degrees=200.0), "--fov 200"),
    ],
)
def test_what_cannot_be_placed_is_refused(placement, says):
    with pytest.raises(UserError, match=says):
        build_scene(PHOTO, [load_object("ball")], placement, no_look)


def test_an_object_outside_the_picture_and_a_picture_without_a_plane_are_refused():
    pose = np.eye(4)
    pose[:3, 3] = 50, 0, -3
    with pytest.raises(UserError, match="outside the picture"):
        build_scene(PHOTO, [load_object("ball")], Placement(poses=(pose,), plane=LEVEL), no_look)
    pose[:3, 3] = 0, 0, 3
    with pytest.raises(UserError, match="behind the camera"):
        build_scene(PHOTO, [load_object("ball")], Placement(poses=(pose,), plane=LEVEL), no_look)
    wall = GBuffer(normal=torch.tensor([0.0, 0, 1]).reshape(1, 3, 1, 1).expand(1, 3, *SIZE).clone())
    with pytest.raises(UserError, match="no support plane"):
        build_scene(PHOTO, [load_object("ball")], Placement(), lambda: wall)
    with pytest.raises(UserError, match="no support plane found at 40,45"):
        build_scene(PHOTO, [load_object("ball")], Placement((Standing((40.0, 45.0)),)), lambda: wall)


def test_a_camera_that_looks_straight_down_has_a_world_too():
    pose = look_at(torch.tensor([0.0, 2.0, 0.0]), torch.zeros(3), up=torch.tensor([0.0, 0.0, -1.0]))
    placement = Placement((Standing((40.0, 30.0), "0.4"),), camera=Camera.perspective(SIZE, 50.0, pose))
    thing = build_scene(PHOTO, [load_object("crate")], placement, no_look).objects[0]
    np.testing.assert_allclose(thing.points.min(0)[1], 0, atol=1e-6)
    np.testing.assert_allclose(thing.points.mean(0)[[0, 2]], 0, atol=0.02)
