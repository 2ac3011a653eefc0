"""G-buffers, sensors and renders of scenes whose truth is a formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from unrender.errors import UserError
from unrender.scene.camera import Camera, pixel_rays, project
from unrender.scene.environment import EnvironmentMap
from unrender.scene.trajectory import look_at

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")
pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")

import trimesh

from unrender.raytrace import backend
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.mitsuba_scene import build_mitsuba_scene, render, sensor
from unrender.raytrace.path_tracer_scene import build_path_tracer_scene, move, set_camera
from unrender.raytrace.textured_mesh import TexturedMesh, height_slopes

BASE, ROUGHNESS, METALLIC = (0.8, 0.3, 0.05), 0.35, 0.75
CENTER, RADIUS = np.array([0.4, -0.2, 0.3]), 0.9
GREY = EnvironmentMap(torch.full((1, 3, 4, 8), 0.5))


@pytest.fixture(scope="module", autouse=True)
def mitsuba_that_renders():
    try:
        backend.use()
    except UserError as reason:
        pytest.skip(str(reason))


def surface(vertices, normals, faces, base=BASE, roughness=ROUGHNESS, metallic=METALLIC):
    """A mesh of one material all over."""
    return TexturedMesh(
        np.asarray(vertices, np.float32),
        np.asarray(normals, np.float32),
        np.full((len(vertices), 2), 0.5, np.float32),
        np.asarray(faces, np.uint32),
        np.broadcast_to(np.float32(base), (2, 2, 3)) if np.ndim(base) == 1 else np.float32(base),
        np.full((2, 2), roughness, np.float32),
        np.full((2, 2), metallic, np.float32),
    )


def sphere(**material):
    mesh = trimesh.creation.icosphere(subdivisions=5)
    return surface(mesh.vertices * RADIUS + CENTER, mesh.vertices, mesh.faces, **material)


def unit_box():
    """About the origin, flat-shaded: every face has its own corners."""
    mesh = trimesh.creation.box()
    return surface(mesh.vertices[mesh.faces.ravel()], mesh.face_normals.repeat(3, 0), np.arange(36).reshape(12, 3))


def camera_at(eye, target, size=(36, 48), fov=40.0):
    return Camera.perspective(size, fov, look_at(torch.tensor(eye), torch.tensor(target)))


def gbuffer_of(thing, camera):
    return trace_gbuffer(build_path_tracer_scene(thing, camera))


def sphere_by_formula(camera):
    """Planar depth (H, W), nan where the pixel's centre misses, and camera-space normal (3, H, W) of the sphere."""
    center = torch.linalg.inv(camera.pose[0].double()) @ torch.tensor([*CENTER, 1.0])
    rays, center = pixel_rays(camera)[0].double(), center[:3, None, None]
    a, b, c = (rays * rays).sum(0), (rays * center).sum(0), (center * center).sum() - RADIUS**2
    # rays have z = -1, so the parameter along them is the planar depth itself.
    depth = (b - (b * b - a * c).sqrt()) / a
    return depth, (depth * rays - center) / RADIUS


def test_sphere_has_the_depth_and_normals_of_the_formula():
    camera = camera_at((2.5, 1.5, 3.0), (0.6, -0.4, 0.2))
    found = gbuffer_of(sphere(), camera).maps
    depth, normal = sphere_by_formula(camera)
    whole = found["mask"][0, 0] == 1
    assert whole.sum() > 150
    torch.testing.assert_close(found["depth"][0, 0][whole].double(), depth[whole], rtol=1e-3, atol=0)
    # The mean of a pixel's normals is not the normal of its middle, least of all near the outline.
    cosine = (found["normal"][0].double() * normal).sum(0)[whole]
    assert torch.rad2deg(cosine.clamp(-1, 1).acos()).median() < 0.3
    assert cosine.min() > math.cos(math.radians(8))
    torch.testing.assert_close(found["normal"][0].norm(dim=0)[whole], torch.ones(int(whole.sum())))


def test_sphere_covers_the_share_of_pixels_of_the_formula():
    camera = camera_at((0.4, -0.2, 4.3), (0.4, -0.2, 0.3), size=(64, 64))
    found = gbuffer_of(sphere(), camera).maps
    distance, focal = 4.0, float(camera.intrinsics[0, 0, 0])
    outline = focal * RADIUS / math.sqrt(distance**2 - RADIUS**2)
    assert float(found["mask"].sum()) == pytest.approx(math.pi * outline**2, rel=0.01)
    nothing = found["mask"] == 0
    assert found["depth"][nothing].isinf().all()
    for name in ("base_color", "normal", "roughness", "metallic"):
        assert not found[name][nothing.expand_as(found[name])].any(), name


def test_material_is_what_was_put_in():
    found = gbuffer_of(sphere(), camera_at((2.5, 1.5, 3.0), (0.6, -0.4, 0.2)))
    hit = found.maps["mask"][0, 0] > 0
    albedo = tuple(value * (1 - METALLIC) for value in BASE)
    expected = {"base_color": BASE, "diffuse_albedo": albedo, "roughness": (ROUGHNESS,), "metallic": (METALLIC,)}
    for name, value in expected.items():
        pixels = found.maps[name][0][:, hit].T
        torch.testing.assert_close(pixels, torch.tensor(value).expand_as(pixels), rtol=0, atol=1e-6)
    assert found.depth_kind == "metric"


def test_box_seen_square_on_is_flat():
    found = gbuffer_of(unit_box(), camera_at((0.0, 0.0, 3.0), (0.0, 0.0, 0.0))).maps
    whole = found["mask"][0, 0] == 1
    torch.testing.assert_close(found["depth"][0, 0][whole], torch.full((int(whole.sum()),), 2.5), rtol=1e-5, atol=0)
    facing = torch.tensor([0.0, 0.0, 1.0])[:, None].expand(3, int(whole.sum()))
    torch.testing.assert_close(found["normal"][0][:, whole], facing, rtol=0, atol=1e-6)


def test_box_seen_at_an_edge_shows_two_faces():
    found = gbuffer_of(unit_box(), camera_at((2.0, 0.0, 2.0), (0.0, 0.0, 0.0), size=(33, 48))).maps
    middle, half = found["normal"][0, :, 16], math.sqrt(0.5)
    # World +Z is left of the edge from here, world +X right of it; both lean away from the camera.
    torch.testing.assert_close(middle[:, 20], torch.tensor([-half, 0.0, half]), rtol=0, atol=1e-6)
    torch.testing.assert_close(middle[:, 27], torch.tensor([half, 0.0, half]), rtol=0, atol=1e-6)


def test_instances_are_whole_numbers_of_the_pixels_centres():
    camera = camera_at((2.0, 0.0, 2.0), (0.0, 0.0, 0.0), size=(33, 48))
    scene = build_path_tracer_scene(unit_box(), camera)
    # By the side that each face is on: 1 to 6 for -x, -y, -z, +x, +y, +z.
    normals = trimesh.creation.box().face_normals
    owners = np.abs(normals).argmax(1) + 1 + 3 * (normals.sum(1) > 0)
    found = trace_gbuffer(scene, owners=owners).maps
    middle = found["instance"][0, 0, 16]
    assert set(middle.tolist()) == {0.0, 4.0, 6.0}
    assert middle[20] == 6  # world +Z is left of the edge from here
    assert middle[27] == 4
    assert torch.equal(found["instance"] > 0, found["depth"].isfinite())


def test_a_ramp_leans_the_normal_by_its_angle_whichever_way_the_texture_runs():
    corners = np.array([[-2, 0, 2], [2, 0, 2], [2, 0, -2], [-2, 0, -2]], float)
    up = np.tile([0.0, 1.0, 0.0], (4, 1))
    ramp = np.broadcast_to(np.linspace(0, 0.5, 9), (9, 9))  # half a side high, over 8 of 9 texels
    rise = 0.5 * 9 / 8
    length = math.hypot(1, rise)
    for mirrored in (False, True):
        plane = surface(corners, up, [[0, 1, 2], [0, 2, 3]], base=np.full((9, 9, 3), 0.5))
        u = 0.5 + corners[:, 0] / 8 * (-1 if mirrored else 1)
        plane = replace(
            plane,
            uv=np.stack((u, 0.5 + corners[:, 2] / 8), 1).astype(np.float32),
            roughness=np.ones((9, 9), np.float32),
            metallic=np.zeros((9, 9), np.float32),
            slope=height_slopes(ramp),
        )
        found = trace_gbuffer(build_path_tracer_scene(plane, camera_at((0.0, 4.0, 0.01), (0.0, 0.0, 0.0), size=(9, 9))))
        # This camera looks down with world +X on its right and its own +Z up: the surface rises to where u grows.
        expected = torch.tensor([(rise if mirrored else -rise) / length, 0.0, 1 / length])
        torch.testing.assert_close(found.maps["normal"][0, :, 4, 4], expected, rtol=0, atol=0.01)


def test_a_scene_that_moved_is_a_new_scene():
    camera, thing = camera_at((2.5, 1.5, 3.0), (0.6, -0.4, 0.2)), sphere()
    elsewhere = replace(thing, vertices=thing.vertices + np.float32([0.3, 0.1, 0]))
    other = camera_at((2.0, 1.9, 3.0), (0.6, -0.4, 0.2))
    moved = set_camera(move(build_path_tracer_scene(thing, camera), elsewhere.vertices, elsewhere.normals), other)
    new = trace_gbuffer(build_path_tracer_scene(elsewhere, other)).maps
    for name, value in trace_gbuffer(moved).maps.items():
        torch.testing.assert_close(value, new[name], rtol=0, atol=1e-5, msg=name)
    with pytest.raises(UserError, match=r"vertices \(3, 3\) .* for a scene of 10242"):
        move(moved, elsewhere.vertices[:3], elsewhere.normals)


@pytest.mark.parametrize("principal_point", [(24.0, 18.0), (30.5, 11.25)])
def test_sensor_looks_along_the_cameras_rays(principal_point):
    import mitsuba as mi

    camera = camera_at((2.5, 1.5, 3.0), (0.6, -0.4, 0.2))
    intrinsics = camera.intrinsics.clone()
    intrinsics[0, :2, 2] = torch.tensor(principal_point)
    camera = Camera(intrinsics, camera.pose, camera.size)
    made = mi.load_dict(sensor(camera))
    points = torch.tensor([[0.9, 0.1, 0.4], [0.2, -0.6, 0.8], [0.0, 0.3, -1.0]])
    pixels, _ = project(points, camera)
    for point, pixel in zip(points, pixels[0], strict=True):
        film = [float(pixel[0]) / camera.size[1], float(pixel[1]) / camera.size[0]]
        ray, _ = made.sample_ray(0.0, 0.5, mi.Point2f(*film), mi.Point2f(0.5, 0.5))
        direction = torch.from_numpy(np.array(ray.d, np.float32).reshape(3))
        to_point = point - camera.pose[0, :3, 3]
        torch.testing.assert_close(direction, to_point / to_point.norm(), rtol=0, atol=1e-5)


def test_white_furnace_keeps_a_white_diffuse_ball_invisible():
    camera = camera_at((0.4, -0.2, 4.3), (0.4, -0.2, 0.3), size=(16, 16))
    white = sphere(base=(1.0, 1.0, 1.0), roughness=1.0, metallic=0.0)
    picture = render(build_mitsuba_scene([white], GREY, camera, max_depth=6), samples=256, seed=1)
    assert picture.shape == (1, 3, 16, 16)
    # The principled BSDF is not Lambert's: its retro-reflection and its specular lobe move a few hundredths.
    assert float(picture[0, :, 6:10, 6:10].mean()) == pytest.approx(0.5, rel=0.06)
    torch.testing.assert_close(picture[0, :, 0, 0], torch.full((3,), 0.5), rtol=1e-4, atol=0)


def test_render_is_its_seeds():
    camera = camera_at((2.5, 1.5, 3.0), (0.6, -0.4, 0.2), size=(12, 16))
    scene = build_mitsuba_scene([sphere()], GREY, camera)
    first, again, other = (render(scene, samples=4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_light_from_the_right_lights_the_right():
    camera = camera_at((0.4, -0.2, 4.3), (0.4, -0.2, 0.3), size=(24, 24))
    radiance = torch.zeros(1, 3, 8, 16)
    radiance[..., 2:6, 3:5] = 5.0  # about +X, which this camera has on its right
    matte = sphere(roughness=1.0, metallic=0.0)
    picture = render(build_mitsuba_scene([matte], EnvironmentMap(radiance), camera), samples=32, seed=0)
    left, right = picture[0, :, 8:16, 6:10].mean(), picture[0, :, 8:16, 14:18].mean()
    assert right > 4 * left
