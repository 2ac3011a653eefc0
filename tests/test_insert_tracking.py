"""The path of a camera, followed on a plane whose pictures are made here by looking its rays up in a texture."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from unrender.errors import UserError
from unrender.insert.plane import SupportPlane
from unrender.insert.tracking import follow_plane, stands_still
from unrender.scene.camera import Camera, project, world_rays
from unrender.scene.frames import Frames
from unrender.scene.trajectory import look_at

SIZE = (120, 160)
PLANE = SupportPlane(torch.tensor([0.0, 1.0, 0.0]), 0.0)


def path(count: int, step: float = 0.03) -> Camera:
    places = torch.stack([torch.tensor([step * i, 1.5 + 0.3 * step * i, 3.0 - step * i]) for i in range(count)])
    poses = look_at(places, torch.tensor([0.1, 0.3, 0.0]))
    return Camera.perspective(SIZE, 50.0, poses)


def texture(cells: int, smooth: float) -> torch.Tensor:
    noise = np.random.default_rng(3).random((cells, cells)).astype(np.float32)
    noise = gaussian_filter(noise, smooth, mode="wrap")
    return torch.from_numpy((noise - noise.min()) / np.ptp(noise))


def pictures(camera: Camera, gain: float = 0.0, box: bool = False) -> Frames:
    """The plane's texture; a `box` of other corners runs through the picture on its own."""
    grain = texture(512, 1.2)
    rays, places = world_rays(camera), camera.pose[:, :3, 3]
    frames = []
    for index in range(len(camera)):
        distance = -places[index, 1] / rays[index, 1].clamp(max=-1e-3)
        x, z = (places[index, axis] + distance * rays[index, axis] for axis in (0, 2))
        codes = grain[(x * 48).long() % 512, (z * 48).long() % 512] * (rays[index, 1] < -1e-3)
        if box:
            left = 20 + 3 * index
            codes[40:75, left : left + 35] = texture(35, 1.0)[:35, :35]
        frames.append((codes * (1 + gain * index)).clamp(0, 1).expand(3, *SIZE))
    return Frames(torch.stack(frames))


def drift(found: Camera, true: Camera) -> float:
    """Pixels by which an object's foot slides on the ground, at most."""
    foot = torch.tensor([[0.1, 0.0, 0.2], [0.3, 0.0, -0.2], [-0.2, 0.0, 0.5]])
    return float((project(foot, found)[0] - project(foot, true)[0]).norm(dim=-1).max())


def test_an_object_stays_where_it_stands():
    true = path(12, 0.06)
    found = follow_plane([pictures(true)], true.frame(0), PLANE)
    still = Camera(true.intrinsics[:1], true.pose[:1], true.size)
    assert len(found) == 12
    assert drift(found, true) < 0.7
    assert drift(Camera(true.intrinsics, still.pose.expand(12, 4, 4), true.size), true) > 8


def test_what_moves_by_itself_and_light_that_grows_are_voted_out():
    true = path(10)
    found = follow_plane([pictures(true, gain=0.02, box=True)], true.frame(0), PLANE)
    assert drift(found, true) < 1.0


def test_a_long_path_finds_new_corners():
    true = path(40, 0.06)
    assert drift(follow_plane([pictures(true)], true.frame(0), PLANE), true) < 2.0


def test_a_camera_that_stands_still_is_one():
    still = path(6, 0.0)
    clip = pictures(still, gain=0.03, box=True)
    assert stands_still([clip])
    assert stands_still([Frames(torch.full((3, 3, *SIZE), 0.4))])
    assert not stands_still([pictures(path(6))])


def test_a_plane_that_is_lost_is_said():
    true = path(4)
    clip = pictures(true)
    cut = Frames(torch.cat((clip.rgb[:3], torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)))))
    with pytest.raises(UserError, match=r"frame 4: .* corners of the plane .* expected --camera FILE"):
        follow_plane([cut], true.frame(0), PLANE)


def test_frames_of_another_size_are_refused():
    true = path(2)
    clip = [pictures(true).frame(0), Frames(torch.rand(1, 3, 60, 80))]
    with pytest.raises(UserError, match="frame 2 is"):
        follow_plane(clip, true.frame(0), PLANE)
