"""How clips move: from the world as drawn, smoothly, and into nothing."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from small_worlds import at, ball, square, wall, world

pytest.importorskip("scipy", reason="scipy is not installed; the extra [raytrace] brings it")
pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.scene.camera import project
from unrender.synth.clearance import pivot, reaches, stands_clear
from unrender.synth.motion import CHANCES, other_cameras, random_motion

TABLE = world(square(3.0), wall(-1.5), ball(-1.0, 0.0), ball(1.0, 0.3), ball(0.2, 1.4, 0.3))


def generator(*key):
    return np.random.default_rng(key)


def motions(count, frames=24, scene=TABLE):
    return [random_motion(generator(seed), scene, frames) for seed in range(count)]


def placed(scene, motion, frame, index):
    pose = motion.poses[frame, index]
    return scene.things[index].mesh.vertices @ pose[:3, :3].T + pose[:3, 3]


def test_the_reach_is_half_the_gap_to_a_thing_and_the_gap_to_a_wall_or_the_edge():
    assert reaches(world(square(9.0), ball(-1.0, 0.0), ball(1.0, 0.0))) == pytest.approx([0.5, 0.5], abs=0.01)
    assert reaches(world(square(9.0), wall(-1.2), ball(0.0, 0.0)))[0] == pytest.approx(0.7, abs=0.01)
    assert reaches(world(square(3.0), ball(1.8, 0.0)))[0] == pytest.approx(0.7, abs=0.01)
    assert reaches(world(ball(0.0, 0.0))) == [math.inf]


def test_what_is_leant_on_or_stands_on_uneven_ground_stays():
    stacked = reaches(world(square(9.0), ball(0.0, 0.0), ball(0.1, 0.0, 0.3, y=1.3)))
    assert max(stacked) < 0
    slope = np.eye(4)
    slope[:3, :3] = [[1, 0, 0], [0, math.cos(0.3), -math.sin(0.3)], [0, math.sin(0.3), math.cos(0.3)]]
    assert max(reaches(world(square(9.0, slope), ball(0.0, 0.0)))) < 0
    assert max(reaches(world(square(0.3), ball(0.0, 0.0)))) < 0  # wider than what it stands on


def test_what_stands_on_a_thing_goes_with_it():
    scene = world(square(9.0), ball(0.0, 0.0, group=1), ball(0.1, 0.0, 0.3, y=1.3, group=1), ball(2.0, 0.0))
    assert reaches(scene) == pytest.approx([0.5, 0.5], abs=0.02)
    moved = 0
    for motion in motions(12, 3, scene):
        carrier, carried = (motion.poses[:, i] for i in (1, 2))
        between = np.linalg.inv(carrier) @ carried
        np.testing.assert_allclose(between, np.broadcast_to(between[0], between.shape), atol=1e-12)
        moved += bool(np.ptp(carried, axis=0).any())
    assert moved > 1


def test_clips_begin_at_the_world_and_stills_are_it():
    for frames in (1, 5):
        for motion in motions(5, frames):
            assert motion.poses.shape == (frames, len(TABLE.things), 4, 4)
            np.testing.assert_allclose(motion.poses[0], [thing.pose for thing in TABLE.things], atol=1e-9)
            torch.testing.assert_close(motion.camera.pose[0], TABLE.camera.pose[0])
            assert len(motion.camera) == len(motion.yaw) == frames
            assert motion.yaw[0] == 0
            assert frames > 1 or motion.kinds == ()


def test_few_clips_stand_still_and_some_move_in_several_ways():
    kinds = [motion.kinds for motion in motions(60, 3)]
    assert 1 <= sum(not found for found in kinds) < 15
    assert sum(len(found) >= 3 for found in kinds) > 6
    for kind, chance in CHANCES.items():
        assert 0.4 * chance < sum(kind in found for found in kinds) / len(kinds) < 1.5 * chance, kind


def test_motion_is_smooth_and_longer_clips_go_further_at_the_same_pace():
    for motion in motions(16):
        eye, axes = motion.camera.pose[:, :3, 3], motion.camera.pose[:, :3, :3]
        for path, step, bend in ((eye, 0.35, 0.08), (axes, 0.1, 0.03)):
            assert float(path.diff(dim=0).abs().max()) < step
            assert float(path.diff(n=2, dim=0).abs().max()) < bend
        things = torch.from_numpy(motion.poses)
        assert float(things.diff(dim=0).abs().max()) < 0.15
        assert float(things.diff(n=2, dim=0).abs().max()) < 0.03
        assert max(abs(b - a) for a, b in zip(motion.yaw, motion.yaw[1:], strict=False)) < 12
        torch.testing.assert_close(axes.mT @ axes, torch.eye(3).expand(24, 3, 3), atol=1e-5, rtol=0)
    short, long = (max(abs(m.yaw[-1]) for m in motions(8, frames)) for frames in (12, 48))
    assert long > 3 * short


def test_things_touch_nothing_and_stay_on_their_ground():
    moved = 0
    for motion in motions(16):
        for frame in range(0, 24, 3):
            spots = {i: placed(TABLE, motion, frame, i) for i in (2, 3, 4)}
            for vertices in spots.values():
                assert vertices[:, 1].min() == pytest.approx(0, abs=0.01)
                assert np.abs(vertices[:, 0]).max() < 3
                assert vertices[:, 2].min() > -1.5
                assert vertices[:, 2].max() < 3
            for a, b in combinations(spots.values(), 2):
                # Balls: apart by more than both radii.
                gap = np.linalg.norm(a.mean(0) - b.mean(0)) - np.ptp(a, axis=0).max() / 2 - np.ptp(b, axis=0).max() / 2
                assert gap > -0.01
        moved += bool(np.ptp(motion.poses[:, :, :3, 3], axis=0).max() > 0.05)
    assert moved > 2


def test_cameras_stay_before_the_wall_and_above_the_ground():
    near = world(square(4.0), wall(-0.8), ball(0.0, 0.0), eye=(0.0, 0.35, 2.5))
    for motion in motions(20, scene=near):
        eye = motion.camera.pose[:, :3, 3]
        assert float(eye[:, 1].min()) > 0
        assert float(eye[:, 2].min()) > -0.8
    eyes = np.array([[0.0, 0.5, 2.0], [0.0, -0.2, 2.0], [0.0, 1.0, -2.0], [0.0, 0.5, 0.52]])
    assert [stands_clear(near, eye[None], reaches(near)) for eye in eyes] == [True, False, False, False]


def test_other_cameras_see_the_things_from_elsewhere():
    target = torch.from_numpy(pivot(TABLE)).float()[None]
    cameras = other_cameras(generator(1), TABLE, 12)
    assert len(cameras) == 12
    for camera in cameras:
        pixel, depth = project(target, camera)
        assert float(depth) > 0
        assert float((pixel - 12).abs().max()) < 6
        eye = camera.pose[0, :3, 3]
        assert eye[1] > 0
        assert eye[2] > -1.5
        torch.testing.assert_close(camera.intrinsics, TABLE.camera.intrinsics)
    eyes = torch.stack([camera.pose[0, :3, 3] for camera in cameras])
    assert float((eyes[0] - eyes[1:]).norm(dim=1).min()) > 0.05


def test_cameras_stay_in_the_room():
    walls = [wall(-4.0), square(4.0), square(4.0, at(0, 3, 0))]  # open towards +X, -X and +Z, as by large windows
    room = replace(world(*walls, ball(0.0, 0.0), eye=(0.0, 1.0, 3.0)), openings=np.array([[1.0, 0.0, 0.0]]))
    eyes = np.stack([camera.pose[0, :3, 3].numpy() for camera in other_cameras(generator(2), room, 30)])
    assert np.abs(eyes[:, [0, 2]]).max() < 4 * (1 - 0.1)
    assert (eyes[:, 1] < 3).all()
    assert not stands_clear(room, np.array([[0.0, 1.0, 5.0]]), reaches(room))
    assert stands_clear(replace(room, openings=np.zeros((0, 3))), np.array([[0.0, 1.0, 5.0]]), reaches(room))
