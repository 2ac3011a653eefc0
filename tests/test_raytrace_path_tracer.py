"""One pass under several lights: against Mitsuba's own path tracer, and against formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from unrender.errors import UserError
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap, mean_radiance, sample, texel_directions
from unrender.scene.trajectory import look_at

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")
pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")

import drjit as dr
import mitsuba as mi
import trimesh

from unrender.raytrace import backend, light_table, principled, sequences
from unrender.raytrace.gbuffer import trace_gbuffer
from unrender.raytrace.mitsuba_scene import build_mitsuba_scene, render
from unrender.raytrace.path_tracer import render_lights
from unrender.raytrace.path_tracer_scene import build_path_tracer_scene
from unrender.raytrace.textured_mesh import TexturedMesh, height_slopes

CLAY, COPPER = ((0.7, 0.5, 0.4), 0.8, 0.0), ((0.9, 0.6, 0.5), 0.4, 1.0)


@pytest.fixture(scope="module", autouse=True)
def mitsuba_that_renders():
    try:
        if backend.use().startswith("scalar"):
            pytest.skip("only the scalar variant runs here")
    except UserError as reason:
        pytest.skip(str(reason))


def camera_at(eye, target, size=(24, 24), fov=40.0):
    return Camera.perspective(size, fov, look_at(torch.tensor(eye), torch.tensor(target)))


def textures(*materials):
    """An atlas of blocks of 4 x 4 texels side by side, one for each (base colour, roughness, metallic)."""
    base, rough, metal = (np.array([m[i] for m in materials], np.float32).repeat(4, 0)[None] for i in range(3))
    return [values.repeat(4, 0) for values in (base, rough, metal)]


def plane(material=CLAY, half=4.0, height=0.0):
    """A square that faces +Y, texture coordinates over all of it."""
    corners = np.array([[-1, 0, 1], [1, 0, 1], [1, 0, -1], [-1, 0, -1]], np.float32)
    uv = np.float32([[0, 1], [1, 1], [1, 0], [0, 0]])
    normals = np.tile(np.float32([0, 1, 0]), (4, 1))
    faces = np.uint32([[0, 1, 2], [0, 2, 3]])
    return TexturedMesh(corners * half + np.float32([0, height, 0]), normals, uv, faces, *textures(material))


def ball_on_plane():
    """A copper ball on clay: left and right half of one atlas."""
    ground, ball = plane(), trimesh.creation.icosphere(subdivisions=3)
    return TexturedMesh(
        np.concatenate((ground.vertices, ball.vertices + [0, 1, 0])).astype(np.float32),
        np.concatenate((ground.normals, ball.vertices)).astype(np.float32),
        np.float32([[0.25, 0.5]] * 4 + [[0.75, 0.5]] * len(ball.vertices)),
        np.concatenate((ground.faces, ball.faces + 4)).astype(np.uint32),
        *textures(CLAY, COPPER),
    )


def sky(sun=(2, 5), seed=0):
    """A dim, uneven sky of 8 x 16 texels with one bright texel."""
    radiance = torch.rand(1, 3, 8, 16, generator=torch.Generator().manual_seed(seed)) * 0.5
    radiance[..., sun[0], sun[1]] = torch.tensor([30.0, 25.0, 20.0])
    return EnvironmentMap(radiance)


WHITE = EnvironmentMap(torch.ones(1, 3, 8, 16))
DARK = EnvironmentMap(torch.zeros(1, 3, 8, 16))


def downwards(**other):
    return camera_at((0.0, 1.0, 0.01), (0.0, 0.0, 0.0), size=(8, 8), fov=2.0, **other)


def test_pairs_are_stratified_in_every_way():
    seeds = mi.UInt32(np.repeat(np.arange(5), 64))
    x, y = (np.array(v).reshape(5, 64) for v in sequences.scrambled_pair(mi.UInt32(np.tile(np.arange(64), 5)), seeds))
    for k in range(7):
        cells = np.floor(x * 2**k).astype(int) * 2 ** (6 - k) + np.floor(y * 2 ** (6 - k)).astype(int)
        assert all(len(set(row)) == 64 for row in cells), k
    assert len({tuple(row) for row in x}) == 5


@pytest.mark.parametrize("material", [CLAY, COPPER, ((0.2, 0.4, 0.8), 0.3, 0.5)])
def test_the_bsdf_is_mitsubas_principled_and_its_samples_follow_their_density(material):
    rng = np.random.default_rng(0)
    base, rough, metal = material
    rgb = {"type": "rgb", "value": list(base)}
    plugin = mi.load_dict({"type": "principled", "base_color": rgb, "roughness": rough, "metallic": metal})
    count = 20000
    light = mi.warp.square_to_uniform_sphere(mi.Point2f(rng.random((2, count)).astype(np.float32)))
    view = dr.normalize(mi.Vector3f(0.6, -0.3, 0.7))
    si = dr.zeros(mi.SurfaceInteraction3f, count)
    si.wi, si.sh_frame = view, mi.Frame3f(mi.Normal3f(0, 0, 1))
    expected = np.array(plugin.eval(mi.BSDFContext(), si, light))
    at = principled.bsdf(mi.Normal3f(0, 0, 1), view, (mi.Color3f(*base), mi.Float(rough), mi.Float(metal)), 0.25)
    value, density, _ = principled.evaluate(at, light)
    np.testing.assert_allclose(np.array(value), expected, rtol=2e-3, atol=1e-5)
    # The mean of x over a sphere is that of x / density over the samples.
    points = mi.Float(rng.random(count).astype(np.float32)), mi.Float(rng.random(count).astype(np.float32))
    drawn = principled.sample(at, mi.Float(rng.random(count).astype(np.float32)), points)
    drawn_value, drawn_density, _ = principled.evaluate(at, drawn)
    above = np.array(drawn_density) > 0
    estimate = np.where(above, np.array(drawn_value) / np.maximum(np.array(drawn_density), 1e-9), 0).mean(1)
    np.testing.assert_allclose(estimate, np.array(value).mean(1) * 4 * math.pi, rtol=0.04)
    assert float(np.array(density).mean() * 4 * math.pi) == pytest.approx(above.mean(), abs=0.03)


def test_light_samples_carry_each_lights_whole_flux_and_look_ups_are_bilinear():
    lights = [sky(), sky((0, 3), 1), sky((6, 15), 2)]
    table = light_table.light_table(lights)
    rng = np.random.default_rng(1)
    points = tuple(mi.Float(rng.random(200000).astype(np.float32)) for _ in range(2))
    texel, _, over_sine = light_table.draw(table, points)
    radiance, factor = light_table.look_up(table, texel, mi.Bool(True))
    for light, found in zip(lights, radiance, strict=True):
        flux = np.array(found / (factor * over_sine)).mean(1)
        rows = np.sin((np.arange(800) + 0.5) / 800 * math.pi)
        dense = sample(light.radiance, texel_directions((800, 160)))[0].double().numpy()
        expected = (dense * rows[:, None]).mean((1, 2)) * math.pi / 2 * 4 * math.pi
        np.testing.assert_allclose(flux, expected, rtol=0.01)
        np.testing.assert_allclose(flux, 4 * math.pi * mean_radiance(light)[0].numpy(), rtol=0.1)
    towards = dr.normalize(mi.Vector3f(0.8, 0.55, -0.3))
    towards = dr.gather(mi.Vector3f, towards, dr.zeros(mi.UInt32, 200000))
    texel, _ = light_table.texel_towards(table.size, towards, points)
    found, _ = light_table.look_up(table, texel, mi.Bool(True))
    there = torch.nn.functional.normalize(torch.tensor([0.8, 0.55, -0.3]), dim=0)
    expected = sample(lights[0].radiance, there)[0]
    torch.testing.assert_close(torch.from_numpy(np.array(found[0]).mean(1)), expected, rtol=0.02, atol=0.002)


def test_one_light_is_the_ordinary_path_tracer():
    camera, light = camera_at((3.0, 3.0, 4.0), (0.0, 0.7, 0.0)), sky()
    found = render_lights(build_path_tracer_scene(ball_on_plane(), camera), [light], samples=1024, seed=1).rgb
    expected = render(build_mitsuba_scene([ball_on_plane()], light, camera, max_depth=4), samples=1024, seed=2)
    torch.testing.assert_close(found.mean((0, 2, 3)), expected.mean((0, 2, 3)), rtol=5e-3, atol=0)
    apart = (found - expected).abs() / (expected + 0.1 * expected.mean())
    assert float(apart.median()) < 0.02
    assert float(apart.mean()) < 0.04


def test_several_lights_are_each_light_alone():
    scene = build_path_tracer_scene(ball_on_plane(), camera_at((3.0, 3.0, 4.0), (0.0, 0.7, 0.0)))
    lights = [sky(), sky((1, 12), 1), WHITE]
    together = render_lights(scene, lights, samples=1024, seed=1)
    assert together.rgb.shape == together.irradiance.shape == (3, 3, 24, 24)
    for k, light in enumerate(lights):
        alone = render_lights(scene, [light], samples=512, seed=5 + k)
        for one, other in ((alone.rgb[0], together.rgb[k]), (alone.irradiance[0], together.irradiance[k])):
            torch.testing.assert_close(other.mean((1, 2)), one.mean((1, 2)), rtol=0.01, atol=0)
            assert float(((one - other).abs() / (one + 0.1 * one.mean())).median()) < 0.03


@pytest.mark.parametrize("material", [((0.0, 0.0, 0.0), 1.0, 0.0), ((0.9, 0.9, 0.9), 0.1, 1.0)])
def test_a_white_sky_gives_pi(material):
    scene = build_path_tracer_scene(plane(material), camera_at((0.0, 2.0, 3.0), (0.0, 0.0, 0.0)))
    found = render_lights(scene, [WHITE, sky()], samples=256, seed=0)
    hit = found.irradiance[0, 0] > 0
    assert hit.float().mean() > 0.5
    assert not hit.all()
    assert float(found.irradiance[0][:, hit].mean()) == pytest.approx(math.pi, rel=2e-3)
    assert not found.irradiance[1][:, ~hit].any()
    torch.testing.assert_close(found.rgb[0][:, ~hit], torch.ones_like(found.rgb[0][:, ~hit]))


def test_a_square_lamp_gives_its_form_factor_times_its_factor():
    # A lamp of half side 1 at height 2 faces down; the camera is between it and the ground.
    ground, lamp = plane(((0.0, 0.0, 0.0), 1.0, 0.0)), plane(half=1.0, height=2.0)
    both = replace(
        ground,
        vertices=np.concatenate((ground.vertices, lamp.vertices)),
        normals=np.concatenate((ground.normals, -lamp.normals)),
        uv=np.concatenate((ground.uv, lamp.uv)),
        faces=np.concatenate((ground.faces, lamp.faces[:, ::-1] + 4)),
        emission=np.float32([[0, 0, 0]] * 2 + [[3.0, 2.0, 1.0]] * 2),
    )
    found = render_lights(
        build_path_tracer_scene(both, downwards(), max_depth=2),
        [DARK, DARK, WHITE],
        samples=256,
        seed=0,
        emitters=(1.0, 2.0, 0.0),
    )
    x = 0.5  # half side over height; the lamp is four rectangles with a corner above the point
    corner = 2 * x / math.sqrt(1 + x * x) * math.atan(x / math.sqrt(1 + x * x)) / (2 * math.pi)
    expected = torch.tensor([3.0, 2.0, 1.0]) * math.pi * 4 * corner
    seen = found.irradiance.mean((2, 3))
    torch.testing.assert_close(seen[0], expected, rtol=0.01, atol=0)
    torch.testing.assert_close(seen[1], 2 * expected, rtol=0.01, atol=0)
    torch.testing.assert_close(seen[2], torch.full((3,), math.pi * (1 - 4 * corner)), rtol=0.01, atol=0)
    upwards = camera_at((0.0, 1.0, 0.01), (0.0, 2.0, 0.0), size=(8, 8), fov=20.0)
    looked_into = render_lights(build_path_tracer_scene(both, upwards, max_depth=2), [DARK], samples=4, seed=0)
    torch.testing.assert_close(looked_into.rgb[0, :, 4, 4], torch.tensor([3.0, 2.0, 1.0]))


def test_bumps_are_lit_by_the_normal_that_the_gbuffer_shows():
    # A sun of one texel at the horizon of +X, and a ramp that leans the ground towards -X: it turns away from it.
    ramp = np.broadcast_to(np.linspace(0, 0.4, 4), (4, 4))
    ground = replace(plane(((0.0, 0.0, 0.0), 1.0, 0.0)), slope=height_slopes(ramp))
    light = torch.zeros(1, 3, 64, 128)
    light[..., 16, 32] = 1000.0  # 45 degrees up, over +X
    flat, bumpy = (
        render_lights(
            build_path_tracer_scene(s, downwards(), max_depth=2), [EnvironmentMap(light)], samples=64, seed=0
        ).irradiance
        for s in (replace(ground, slope=None), ground)
    )
    rise = 0.4 * 4 / 3
    elevation = math.pi / 2 - (16.5 / 64) * math.pi
    normal, sun = np.array([-rise, 1.0]) / math.hypot(rise, 1), np.array([math.cos(elevation), math.sin(elevation)])
    assert float(bumpy.mean() / flat.mean()) == pytest.approx(normal @ sun / sun[1], rel=0.03)


@pytest.mark.parametrize("outward", [(0.0, 2.0, 0.0), (0.6, 0.0, 0.8)])
def test_openings_change_the_noise_but_not_the_light(outward):
    scene = build_path_tracer_scene(ball_on_plane(), camera_at((3.0, 3.0, 4.0), (0.0, 0.7, 0.0)))
    found = render_lights(scene, [sky()], samples=256, seed=1, openings=np.array([outward]))
    expected = render_lights(scene, [sky()], samples=256, seed=2)
    for name in ("rgb", "irradiance"):
        one, other = (getattr(frame, name).mean((0, 2, 3)) for frame in (found, expected))
        torch.testing.assert_close(one, other, rtol=0.02, atol=0)


def test_a_seed_is_a_frame():
    scene = build_path_tracer_scene(ball_on_plane(), camera_at((3.0, 3.0, 4.0), (0.0, 0.7, 0.0), size=(10, 14)))
    first, again, other = (render_lights(scene, [sky()], samples=4, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.rgb, again.rgb)
    assert torch.equal(first.irradiance, again.irradiance)
    assert not torch.equal(first.rgb, other.rgb)


def test_another_scene_compiles_nothing():
    def frame(surface, camera, lights, **more):
        return render_lights(build_path_tracer_scene(surface, camera), lights, samples=2, **more)

    frame(ball_on_plane(), downwards(), [sky(), WHITE], seed=0)
    bumpy = replace(plane(), slope=np.full((4, 4, 2), 0.1, np.float32), emission=np.ones((2, 3), np.float32))
    with dr.scoped_set_flag(dr.JitFlag.KernelHistory):
        dr.kernel_history_clear()
        frame(bumpy, camera_at((1.0, 2.0, 3.0), (0.0, 0.0, 0.0)), [WHITE, sky()], seed=7, emitters=(0.5, 2.0))
        kernels = [kernel for kernel in dr.kernel_history() if "hash" in kernel]
    assert kernels
    assert all(kernel["cache_hit"] for kernel in kernels)


def test_what_does_not_fit_is_said():
    scene = build_path_tracer_scene(plane(), downwards())
    with pytest.raises(UserError, match="lights of the sizes none at all"):
        render_lights(scene, [], samples=1, seed=0)
    with pytest.raises(UserError, match="sizes 4 x 8, 8 x 16"):
        render_lights(scene, [WHITE, WHITE.resized((4, 8))], samples=1, seed=0)
    with pytest.raises(UserError, match="2 emitter factors for 1 lights"):
        render_lights(scene, [WHITE], samples=1, seed=0, emitters=(1, 1))
    with pytest.raises(UserError, match=r"emission has shape \(4, 3\); expected \(2, 3\)"):
        build_path_tracer_scene(replace(plane(), emission=np.zeros((4, 3), np.float32)), downwards())
    with pytest.raises(UserError, match="use build_path_tracer_scene for those"):
        build_mitsuba_scene([replace(plane(), slope=np.zeros((4, 4, 2), np.float32))], WHITE, downwards())


def sheet_over_plane(opacity):
    """Clay under a copper sheet that is there by `opacity`, seen from above."""
    ground, sheet = plane(), plane(half=1.0, height=1.0)
    there = np.ones((4, 8), np.float32)
    there[:, 4:] = opacity
    surface = TexturedMesh(
        np.concatenate((ground.vertices, sheet.vertices)),
        np.concatenate((ground.normals, sheet.normals)),
        np.float32([[0.25, 0.5]] * 4 + [[0.75, 0.5]] * 4),
        np.concatenate((ground.faces, sheet.faces + 4)),
        *textures(CLAY, COPPER),
        opacity=there,
    )
    return build_path_tracer_scene(surface, camera_at((0.0, 5.0, 0.01), (0.0, 0.0, 0.0)))


def test_what_is_sheer_lets_as_many_rays_through_as_it_is_not_there():
    bare = build_path_tracer_scene(plane(), camera_at((0.0, 5.0, 0.01), (0.0, 0.0, 0.0)))
    solid, half, none = (sheet_over_plane(opacity) for opacity in (1.0, 0.5, 0.0))
    assert not solid.sheer
    assert half.sheer
    assert none.sheer
    middle = (slice(None), slice(8, 16), slice(8, 16))

    def seen(scene):
        return render_lights(scene, [WHITE], samples=256, seed=0).rgb[0][middle].mean((1, 2))

    torch.testing.assert_close(seen(none), seen(bare), rtol=0.01, atol=0)
    copper, clay = trace_gbuffer(solid), trace_gbuffer(none)
    mixed = trace_gbuffer(half)
    assert float(copper.maps["depth"][0, 0, 12, 12]) == pytest.approx(4, abs=1e-3)
    assert float(clay.maps["depth"][0, 0, 12, 12]) == pytest.approx(5, abs=1e-3)
    share = 4 / 9  # of nine rays those whose luck is below a half
    expected = share * copper.maps["base_color"] + (1 - share) * clay.maps["base_color"]
    torch.testing.assert_close(mixed.maps["base_color"][0][middle], expected[0][middle], rtol=0, atol=1e-3)
    # The picture too is of both: darker than either alone, for half of the light is kept from the clay.
    assert (seen(half) < torch.maximum(seen(solid), seen(none)) * 1.01).all()
    assert (seen(half) > 0.6 * torch.minimum(seen(solid), seen(none))).all()


def test_a_shading_of_its_own_changes_what_it_says_and_keeps_energy():
    camera = camera_at((0.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    mean = {}
    for name, shading in (("default", None), ("lambert", principled.Shading(0.0, 0.0, 2.0))):
        scene = build_path_tracer_scene(plane(((0.5,) * 3, 0.5, 0.0), half=50.0), camera, shading=shading)
        mean[name] = float(render_lights(scene, [WHITE], samples=256, seed=0).rgb[0, :, 18].mean())
    assert mean["lambert"] == pytest.approx(0.5, rel=0.02)
    assert mean["default"] > 1.02 * mean["lambert"]
