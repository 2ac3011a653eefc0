"""The conventions, proved by an independent renderer: what Mitsuba shows is where `unrender` says it is."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from unrender.conventions import uv_to_direction
from unrender.errors import UserError
from unrender.scene.camera import Camera, project, ray_distance_to_depth, unproject, world_rays
from unrender.scene.environment import EnvironmentMap, sample, texel_directions
from unrender.scene.irradiance import irradiance
from unrender.scene.trajectory import look_at, orbit

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")

from unrender.raytrace import backend
from unrender.raytrace.mitsuba_scene import emitter, sensor

RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
CYAN, MAGENTA, YELLOW = (0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)
FACES = {
    (1, 0, 0): RED,
    (-1, 0, 0): CYAN,
    (0, 1, 0): GREEN,
    (0, -1, 0): MAGENTA,
    (0, 0, 1): BLUE,
    (0, 0, -1): YELLOW,
}
BOX_CENTER = torch.tensor([0.3, 0.2, -0.1])
QUARTERS = (RED, GREEN, BLUE, YELLOW)  # about -Z, +X, +Z, -X
AXES = ((0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def mi():
    try:
        backend.use()
    except UserError as reason:
        pytest.skip(str(reason))
    import mitsuba

    return mitsuba


def show(mi, camera, integrator="path", samples=16, **parts):
    """Channels of what Mitsuba sees, (1, C, H, W)."""
    kind = integrator if isinstance(integrator, dict) else {"type": integrator, "max_depth": 2}
    scene = mi.load_dict({"type": "scene", "integrator": kind, "sensor": sensor(camera), **parts})
    picture = np.array(mi.render(scene, spp=samples, seed=0))
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def colored_box(mi):
    """A unit box about BOX_CENTER, each face shining in its colour of FACES."""
    faces = {}
    for i, (normal, color) in enumerate(FACES.items()):
        center = BOX_CENTER.tolist()
        up = [0.0, 1.0, 0.0] if normal[1] == 0 else [0.0, 0.0, 1.0]
        at = [c + 0.5 * n for c, n in zip(center, normal, strict=True)]
        # A Mitsuba rectangle spans [-1, 1]^2 and faces along its +Z.
        place = mi.ScalarTransform4f().look_at(at, [a + n for a, n in zip(at, normal, strict=True)], up)
        faces[f"face{i}"] = {
            "type": "rectangle",
            "to_world": place @ mi.ScalarTransform4f().scale(0.5),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": list(color)}},
        }
    return faces


def envmap(mi, light, degrees=0.0):
    return {**emitter(light), "to_world": mi.ScalarTransform4f().rotate([0.0, 1.0, 0.0], degrees)}


def box_cameras(size=(48, 80)):
    """Cameras all around the box, with the principal point off the middle."""
    poses = torch.cat([orbit(BOX_CENTER, 3.0, 5, elevation=e, start=e) for e in (-60.0, 10.0, 50.0)])
    camera = Camera.perspective(size, 35.0, poses)
    off = camera.intrinsics.clone()
    off[:, 0, 2] += 9.0
    off[:, 1, 2] -= 5.0
    return Camera(off, poses, size)


def quartered_light(size=(32, 64)):
    """A coloured quarter about each horizontal axis, white about the zenith and black about the nadir."""
    directions = texel_directions(size)
    nearest = (directions @ torch.tensor(AXES).T).argmax(-1)
    colors = torch.tensor(QUARTERS)[nearest]
    colors[directions[..., 1] > 0.8] = 1.0
    colors[directions[..., 1] < -0.8] = 0.0
    return EnvironmentMap(colors.permute(2, 0, 1)[None])


def test_every_face_of_a_box_appears_where_it_is_projected(mi):
    cameras = box_cameras()
    seen = set()
    for i in range(len(cameras)):
        camera = cameras.frame(i)
        picture = show(mi, camera, {"type": "path", "max_depth": 1}, **colored_box(mi))[0]
        for normal, color in FACES.items():
            outward = torch.tensor(normal, dtype=torch.float32)
            center = BOX_CENTER + 0.5 * outward
            if (camera.pose[0, :3, 3] - center) @ outward < 0.3:
                continue
            pixel, _ = project(center[None], camera)
            x, y = pixel[0, 0].floor().int().tolist()
            torch.testing.assert_close(picture[:, y, x], torch.tensor(color), atol=1e-3, rtol=0)
            seen.add(normal)
    assert seen == set(FACES)


def test_planar_depth_and_camera_rays_lead_to_the_points_that_mitsuba_hits(mi):
    aov = {"type": "aov", "aovs": "distance:depth,point:position,normal:sh_normal"}
    cameras = box_cameras()
    for i in (0, 6, 12):
        camera = cameras.frame(i)
        found = show(mi, camera, aov, samples=256, **colored_box(mi))
        distance, position, normal = found[:, :1], found[:, 1:4], found[:, 4:7]
        # Pixels wholly on one face: the mean normal is still unit long.
        whole = (normal.norm(dim=1) > 0.9999)[0]
        assert whole.sum() > 200
        points = unproject(ray_distance_to_depth(distance, camera), camera)
        world = torch.einsum("ij,jhw->ihw", camera.pose[0, :3, :3], points[0]) + camera.pose[0, :3, 3, None, None]
        assert (world - position[0])[:, whole].abs().max() < 6e-3
        facing = torch.einsum("ji,jhw->ihw", camera.pose[0, :3, :3], normal[0])
        assert (facing * points[0]).sum(0)[whole].max() < 0  # towards the viewer, who is at the origin
        _, depth = project(position[0][:, whole].T, camera)
        torch.testing.assert_close(-points[0, 2, whole], depth[0], atol=6e-3, rtol=0)


def test_normals_point_right_up_and_towards_the_viewer(mi):
    pose = look_at(torch.tensor([0.0, 0.0, 4.0]), torch.zeros(3))
    camera = Camera.perspective((33, 33), 20.0, pose)
    aov = {"type": "aov", "aovs": "normal:sh_normal"}
    for turn in (0.0, 70.0, 180.0):
        turned = Camera(camera.intrinsics, orbit(torch.zeros(3), 4.0, 1, elevation=35.0, start=turn), camera.size)
        world = show(mi, turned, aov, samples=64, ball={"type": "sphere", "radius": 0.5})[0]
        normal = torch.einsum("ji,jhw->ihw", turned.pose[0, :3, :3], world)
        assert normal[2, 16, 16] > 0.999
        assert normal[0, 16, 22] > 0.4
        assert normal[0, 16, 10] < -0.4
        assert normal[1, 10, 16] > 0.4
        assert normal[1, 22, 16] < -0.4


def test_a_small_sphere_lies_on_its_projection_to_a_fiftieth_of_a_pixel(mi):
    camera = box_cameras((40, 60)).frame(7)
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(60) + 0.5, indexing="ij")
    for shift in ((0.0, 0.0, 0.0), (0.31, -0.12, 0.2), (-0.27, 0.33, -0.15)):
        center = BOX_CENTER + torch.tensor(shift)
        ball = {
            "type": "sphere",
            "center": center.tolist(),
            "radius": 0.06,
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": 1.0}},
        }
        light = show(mi, camera, {"type": "path", "max_depth": 1}, samples=1024, ball=ball)[0, 0]
        centroid = torch.stack(((light * x).sum(), (light * y).sum())) / light.sum()
        pixel, _ = project(center[None], camera)
        assert (centroid - pixel[0, 0]).abs().max() < 0.02


def test_a_resized_camera_shows_the_same_picture_smaller(mi):
    camera = box_cameras((48, 80)).frame(6)
    integrator = {"type": "path", "max_depth": 1}
    whole = show(mi, camera, integrator, samples=256, **colored_box(mi))
    half = show(mi, camera.resized((24, 40)), integrator, samples=1024, **colored_box(mi))
    assert (torch.nn.functional.avg_pool2d(whole, 2) - half).abs().mean() < 2e-3


def test_the_four_quarters_of_a_map_are_seen_along_their_axes(mi):
    background = envmap(mi, quartered_light())
    for axis, color in zip(AXES, QUARTERS, strict=True):
        camera = Camera.perspective((9, 9), 20.0, look_at(torch.zeros(3), torch.tensor(axis)))
        picture = show(mi, camera, light=background)[0]
        torch.testing.assert_close(picture, torch.tensor(color)[:, None, None].expand(3, 9, 9), atol=1e-3, rtol=0)
    upward = look_at(torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]), up=torch.tensor([0.0, 0.0, 1.0]))
    zenith = show(mi, Camera.perspective((9, 9), 20.0, upward), light=background)
    assert zenith.min() > 0.999
    assert quartered_light().radiance[..., 0, :].min() == 1.0


def test_a_mirror_ball_shows_the_quarters_that_it_reflects(mi):
    camera = Camera.perspective((65, 65), 14.0, look_at(torch.tensor([0.0, 0.0, 10.0]), torch.zeros(3)))
    ball = {"type": "sphere", "bsdf": {"type": "conductor"}}
    picture = show(mi, camera, ball=ball, light=envmap(mi, quartered_light()))[0]
    # The normal halfway between the view and an axis reflects that axis; the ball's radius is 26.5 pixels.
    offset = round(26.5 * math.sin(math.radians(45)))
    expected = {(32, 32): BLUE, (32, 32 + offset): GREEN, (32, 32 - offset): YELLOW, (32 - offset, 32): (1.0,) * 3}
    for (y, x), color in expected.items():
        torch.testing.assert_close(
            normalize(picture[:, y, x], dim=0), normalize(torch.tensor(color), dim=0), atol=0.01, rtol=0
        )
    assert picture[:, 32 + offset, 32].max() < 0.01


@pytest.mark.parametrize("degrees", [90.0, 30.0, -75.0])
def test_yaw_turns_the_light_as_a_rotation_about_up_does(mi, degrees):
    light = quartered_light((64, 128))
    cameras = Camera.perspective((16, 48), 60.0, orbit(torch.zeros(3), 1.0, 4))
    for i in range(4):
        turned = show(mi, cameras.frame(i), light=envmap(mi, light, degrees))
        rotated = show(mi, cameras.frame(i), light=envmap(mi, light.rotated(degrees)))
        assert (turned - rotated).abs().mean() < 0.01


def test_a_positive_quarter_turn_brings_what_was_ahead_to_the_left(mi):
    light = quartered_light().rotated(90.0)
    left = Camera.perspective((5, 5), 10.0, look_at(torch.zeros(3), torch.tensor([-1.0, 0.0, 0.0])))
    seen = show(mi, left, light=envmap(mi, light))[0, :, 2, 2]
    torch.testing.assert_close(seen, torch.tensor(RED), atol=1e-3, rtol=0)  # the quarter of -Z
    ahead_left = sample(light.radiance, uv_to_direction(torch.tensor(0.75), torch.tensor(0.5)))
    torch.testing.assert_close(ahead_left[0], torch.tensor(RED))


def test_look_ups_in_a_map_are_those_of_mitsuba(mi):
    import drjit as dr

    generator = torch.Generator().manual_seed(0)
    light = EnvironmentMap(torch.rand(1, 3, 8, 16, generator=generator))
    directions = normalize(torch.randn(5000, 3, generator=generator), dim=-1)
    hit = dr.zeros(mi.SurfaceInteraction3f, len(directions))
    hit.wi = mi.Vector3f(-directions.T.numpy())
    scene = mi.load_dict({"type": "scene", "light": envmap(mi, light)})
    seen = torch.from_numpy(np.array(scene.environment().eval(hit)))
    torch.testing.assert_close(sample(light.radiance, directions)[0], seen, atol=1e-4, rtol=0)


def test_the_pixels_of_a_background_are_look_ups_along_our_rays(mi):
    light = EnvironmentMap(texel_directions((64, 128)).permute(2, 0, 1)[None] + 1)
    cameras = box_cameras((24, 32))
    for i in (0, 6, 12):
        camera = cameras.frame(i)
        seen = show(mi, camera, samples=256, light=envmap(mi, light))
        ours = sample(light.radiance, world_rays(camera)[0].permute(1, 2, 0))
        assert (seen - ours).abs().max() < 5e-3


def test_a_white_ball_sends_back_our_irradiance(mi):
    generator = torch.Generator().manual_seed(3)
    radiance = torch.rand(1, 3, 8, 16, generator=generator)
    radiance[..., 2, 3] = torch.tensor([6.0, 5.0, 4.0])
    light = EnvironmentMap(radiance).resized((32, 64))
    camera = Camera.perspective((24, 24), 14.0, orbit(torch.zeros(3), 10.0, 1, elevation=20.0, start=120.0))
    ball = {"type": "sphere", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": 1.0}}}
    seen = show(mi, camera, samples=4096, ball=ball, light=envmap(mi, light))[0] * math.pi
    aov = {"type": "aov", "aovs": "normal:sh_normal"}
    normal = show(mi, camera, aov, samples=256, ball=ball)[0]
    inside = normal.norm(dim=0) > 0.99
    ours = irradiance(light, normal[:, inside].T)[0]
    error = (ours - seen[:, inside]) / seen[:, inside].mean()
    assert inside.sum() > 150
    assert error.mean(1).abs().max() < 3e-3
    assert error.abs().mean() < 0.01  # of which most is the noise of the rendering
