"""Camera paths, the subject's frame, and which views are generated together."""

import math
from pathlib import Path

import pytest
import torch

from unrender.diffusion.card import ViewLayers
from unrender.errors import UserError
from unrender.files.cameras import NamedCameras, write_transforms
from unrender.multiview import PathOptions, Subject, camera_path, plan_views
from unrender.multiview.paths import fitting_fov
from unrender.multiview.planner import same_views, view_distances
from unrender.scene.camera import Camera, project
from unrender.scene.trajectory import dolly
from view_scenes import moved, rigid_motion, ring, scattered

LAYERS = ViewLayers(distance=4.0)
SMALL = PathOptions((64, 64))


def path(text: str, options: PathOptions = SMALL):
    return camera_path(text, options, 4.0)


def elevation(camera: Camera) -> torch.Tensor:
    place = camera.pose[:, :3, 3]
    return torch.rad2deg(torch.asin(place[:, 1] / place.norm(dim=1)))


@pytest.mark.parametrize("text", ["orbit:24", "spiral:9", "ellipse:8", "dolly:5", "orbit:1"])
def test_paths_look_at_the_subject_upright_and_mirror_nothing(text):
    found = path(text)
    count = int(text.partition(":")[2])
    assert len(found.camera) == len(found.names) == count
    torch.testing.assert_close(torch.linalg.det(found.camera.pose[:, :3, :3]), torch.ones(count))
    middle, depth = project(torch.zeros(1, 3), found.camera)
    torch.testing.assert_close(middle, torch.full_like(middle, 32.0), atol=1e-3, rtol=0)
    assert (depth > 1).all()
    assert (found.camera.pose[:, 1, 1] > 0).all()


def test_elevation_is_elevation_and_azimuth_turns_to_the_right():
    found = path("orbit:4", PathOptions((64, 64), elevation=30.0, start=90.0)).camera
    torch.testing.assert_close(elevation(found), torch.full((4,), 30.0), atol=1e-3, rtol=0)
    flat = 4 * math.cos(math.radians(30))
    torch.testing.assert_close(found.pose[0, :3, 3], torch.tensor([flat, 2.0, 0.0]), atol=1e-5, rtol=0)


def test_a_spiral_rises_an_ellipse_swings_and_a_dolly_comes_nearer():
    assert elevation(path("spiral:9").camera).diff().min() > 0
    away = path("ellipse:8").camera.pose[:, :3, 3].norm(dim=1)
    assert away.max() / away.min() == pytest.approx(1.3 / 0.85, rel=1e-3)
    assert (path("dolly:5").camera.pose[:, :3, 3].norm(dim=1).diff() < 0).all()


def test_the_subject_fits_the_view():
    for distance in (1.5, 2.0, 4.0):
        half = math.radians(fitting_fov(distance)) / 2
        assert math.asin(min(1, 1 / distance)) <= half + 1e-6 or fitting_fov(distance) == 120 or distance < 1.6


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("orbit:0", "number of views from 1"),
        ("orbit:x", "number of views from 1"),
        ("orbit", "number of views from 1"),
        ("helix:4", "no such path or file"),
        ("missing.json", "no such path or file"),
    ],
)
def test_a_path_that_is_none_is_one_line(text, line):
    with pytest.raises(UserError, match=line):
        path(text)


def test_a_path_inside_the_subject_or_straight_above_is_one_line():
    with pytest.raises(UserError, match="inside the subject"):
        path("orbit:4", PathOptions(distance=0.9))
    with pytest.raises(UserError, match="--elevation 90"):
        path("orbit:4", PathOptions(elevation=90.0))


def test_a_transforms_file_is_a_path_with_the_subject_where_its_cameras_look(tmp_path: Path):
    rigid = rigid_motion(3)
    camera = ring(6, (48, 64), distance=8.0)
    write_transforms(tmp_path / "t.json", NamedCameras(tuple(f"{i}.png" for i in range(6)), moved(camera, rigid)))
    found = path(str(tmp_path / "t.json"))
    assert found.camera.size == (48, 64)
    torch.testing.assert_close(found.subject.pose[:3, 3], rigid[:3, 3], atol=1e-3, rtol=0)
    assert found.subject.radius == pytest.approx(2.0, rel=1e-3)


# The subject's frame.


@pytest.mark.parametrize("camera", [ring(5, distance=6.0), scattered(4)], ids=["ring", "scattered"])
def test_the_subject_moves_with_the_world(camera):
    rigid = rigid_motion(1)
    here, there = Subject.of_cameras(camera, 4.0), Subject.of_cameras(moved(camera, rigid), 4.0)
    torch.testing.assert_close(there.pose, rigid @ here.pose, atol=1e-4, rtol=0)
    assert there.radius == pytest.approx(here.radius, rel=1e-5)
    seen = [one.see(each, LAYERS).pose for one, each in ((here, camera), (there, moved(camera, rigid)))]
    torch.testing.assert_close(*seen, atol=1e-4, rtol=0)


def test_one_camera_and_a_dolly_say_where_but_not_how_far():
    camera = ring(1)
    for few in (camera, Camera.perspective((32, 32), 45.0, dolly(camera.pose[0], 1.0, 3))):
        seen = Subject.of_cameras(few, 4.0).see(few, LAYERS)
        assert seen.pose[:, :3, 3].norm(dim=1).mean() == pytest.approx(4.0, rel=0.1)
        torch.testing.assert_close(torch.linalg.det(seen.pose[:, :3, :3]), torch.ones(len(few)))


def test_up_may_be_z():
    y, z = (Subject.at_origin().see(ring(3), ViewLayers(up=up)).pose[:, :3, 3] for up in ("y", "z"))
    torch.testing.assert_close(z, torch.stack((y[:, 0], -y[:, 2], y[:, 1]), 1))


def test_a_camera_inside_a_mirrored_pose_and_no_upright_are_one_line():
    with pytest.raises(UserError, match="camera 1 stands inside the subject"):
        Subject(torch.eye(4), 1.0).see(
            Camera(ring(2).intrinsics, torch.stack((ring(1).pose[0], torch.eye(4))), (32, 32)), LAYERS
        )
    mirrored = ring(2).pose.clone()
    mirrored[1, :3, 0] *= -1
    with pytest.raises(UserError, match=r"camera 1: the rotation of its pose has determinant -1.00"):
        Subject.at_origin().see(Camera(ring(2).intrinsics, mirrored, (32, 32)), LAYERS)
    turned = ring(2, elevation=0.0).pose.clone()
    turned[1, :3, :2] *= -1
    with pytest.raises(UserError, match="no upright in common"):
        Subject.of_cameras(Camera(ring(2).intrinsics, turned, (32, 32)), 4.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_plane_of_a_capture_is_level_and_never_mirrored(seed):
    """ViewDiff's own normalisation takes the axes of a decomposition as they come: half of all are mirrored."""
    rigid, camera = rigid_motion(seed), ring(12, distance=6.0, elevation=20.0)
    points = (torch.rand(200, 3, generator=torch.Generator().manual_seed(seed)) - 0.5) * torch.tensor([2.0, 1.0, 1.5])
    world = points @ rigid[:3, :3].T + rigid[:3, 3]
    subject = Subject.of_plane(moved(camera, rigid), world)
    torch.testing.assert_close(torch.linalg.det(subject.pose[:3, :3]), torch.tensor(1.0))
    torch.testing.assert_close(subject.pose[:3, 1], rigid[:3, 1], atol=1e-3, rtol=0)
    assert subject.radius == pytest.approx(1.0, rel=0.15)
    seen = subject.see(moved(camera, rigid), LAYERS)
    assert (seen.pose[:, 1, 3] > 0).all()


def test_cameras_in_no_plane_are_one_line():
    line = Camera.perspective((32, 32), 45.0, dolly(ring(1).pose[0], 1.0, 4))
    with pytest.raises(UserError, match="lie in no plane"):
        Subject.of_plane(line)


# The plan.


@pytest.mark.parametrize("strategy", ["anchored", "nearest", "interpolating"])
@pytest.mark.parametrize(
    ("count", "given", "batch", "together"),
    [(100, [], 10, 30), (37, [5, 6], 8, 12), (7, [0], 3, 4), (4, [], 10, 10), (1, [], 1, 2)],
)
def test_every_view_is_made_once_and_sees_only_what_is_known(strategy, count, given, batch, together):
    plan = plan_views(ring(count), given, batch=batch, together=together, strategy=strategy)
    done = set(given)
    for one in plan:
        assert one.new
        assert len(one.new) <= batch
        assert len(one.new) + len(one.known) <= together
        assert set(one.known) <= done
        assert not set(one.new) & done
        done |= set(one.new)
    assert done == set(range(count))
    assert all(one.known for one in plan[1:])


def test_anchors_go_all_the_way_round_and_are_seen_by_all_later_batches():
    plan = plan_views(ring(80), batch=10, together=30)
    assert plan[0].known == ()
    gaps = torch.tensor(sorted(plan[0].new)).diff()
    assert gaps.max() <= 12
    assert all(set(plan[0].new) <= set(one.known) for one in plan[1:])
    assert len(plan[3].known) == 20  # the anchors, and half of each of the two batches before it


def test_what_was_given_is_seen_before_anything_else():
    for strategy in ("anchored", "nearest", "interpolating"):
        plan = plan_views(ring(60), [7], batch=10, together=15, strategy=strategy)
        assert all(7 in one.known for one in plan)


def test_interpolating_goes_from_coarse_to_fine():
    camera = ring(64)
    plan = plan_views(camera, batch=8, together=24, strategy="interpolating")
    apart, done = view_distances(camera), list(plan[0].new)
    reach = []
    for one in plan[1:]:
        reach.append(float(apart[list(one.new)][:, done].amin(1).max()))
        done += one.new
    assert reach == sorted(reach, reverse=True)


def test_a_plan_without_room_or_of_no_view_on_the_path_is_one_line():
    with pytest.raises(UserError, match="room for known ones"):
        plan_views(ring(20), batch=10, together=10)
    with pytest.raises(UserError, match="expected numbers on the path"):
        plan_views(ring(4), [4])
    assert plan_views(ring(2), [0, 1]) == []


def test_views_that_coincide_are_one():
    camera = ring(3)
    closed = Camera(camera.intrinsics[[0, 1, 2, 0]], camera.pose[[0, 1, 2, 0]], camera.size)
    assert same_views(closed) == [0, 1, 2, 0]
