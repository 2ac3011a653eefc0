"""The Monte Carlo quality: white furnace, Mitsuba, orientation, masks, gradients."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from forward_scenes import constant_light, mitsuba_material, mitsuba_sphere, psnr, sphere, world
from test_forward_brdf import hemisphere
from unrender.errors import UserError
from unrender.forward import DeferredRenderer, ForwardRenderer, brdf
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

BASE = (0.8, 0.5, 0.2)


@pytest.mark.parametrize(("roughness", "metallic"), [(0.05, 1.0), (0.2, 0.0), (0.5, 0.5), (1.0, 0.0), (1.0, 1.0)])
def test_white_furnace(roughness, metallic):
    """Under a light of 1 from everywhere a pixel is the directional albedo of its material."""
    gbuffer = sphere(24, (1.0, 1.0, 1.0), roughness, metallic)
    groups = DeferredRenderer("monte_carlo", samples=512, background=False)(gbuffer, constant_light())
    light, solid_angle = hemisphere(200)
    x = y = 12
    ray = torch.tensor([(x + 0.5 - 12), -(y + 0.5 - 12), -12 / math.tan(math.radians(16))], dtype=torch.float64)
    cos = float(-(functional.normalize(ray, dim=0) * gbuffer.normal[0, :, y, x]).sum())
    view = torch.tensor([math.sqrt(1 - cos * cos), 0.0, cos], dtype=torch.float64)[:, None, None]
    lobes = brdf.evaluate(view, light, torch.tensor(roughness).double(), torch.tensor(metallic).double())
    expected_diffuse = float((lobes.diffuse * solid_angle).sum())
    assert float(groups.diffuse[0, 0, y, x]) == pytest.approx(expected_diffuse, abs=0.02)
    if roughness > 0.1:  # a narrower lobe slips between the points of the quadrature
        expected_specular = float(((lobes.tint + lobes.neutral) * solid_angle).sum())
        assert float(groups.specular[0, 0, y, x]) == pytest.approx(expected_specular, abs=0.02)
    assert float(groups.specular.max()) < 1.02
    if (roughness, metallic) == (0.05, 1.0):
        inside = gbuffer.mask[0, 0] > 0
        assert groups.beauty[0, 0][inside].min() > 0.9


@pytest.mark.parametrize("light_name", ["sunset", "studio"])
def test_equals_mitsuba(mitsuba, light_name):
    """Nine materials under an HDRI, path traced to depth 2: a convex sphere sees nothing but the light.

    Pixels are averaged over 8 x 8 of ours, as Mitsuba averages over its samples' positions. See `psnr` for the figure.
    """
    _compare_with_mitsuba(mitsuba, light_name, size=16, supersampling=8, samples=32, reference_samples=2070)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("light_name", ["sunset", "studio", "city", "forest"])
def test_equals_mitsuba_closely(mitsuba, light_name):
    _compare_with_mitsuba(mitsuba, light_name, size=64, supersampling=6, samples=128, reference_samples=8190)


def _compare_with_mitsuba(mitsuba, light_name, *, size, supersampling, samples, reference_samples):
    light = world(light_name)
    for roughness in (0.1, 0.4, 0.9):
        for metallic in (0.0, 0.5, 1.0):
            gbuffer = sphere(size * supersampling, BASE, roughness, metallic)
            picture = DeferredRenderer("monte_carlo", samples=samples, background=False)(gbuffer, light).beauty
            picture, inside = (functional.avg_pool2d(x, supersampling)[0] for x in (picture, gbuffer.mask))
            material = mitsuba_material(BASE, roughness, metallic)
            reference = mitsuba_sphere(mitsuba, light, size, reference_samples, material)
            display, linear = psnr(picture, reference, inside)
            print(f"{light_name} roughness {roughness} metallic {metallic}: {display:.1f} dB, linear {linear:.1f} dB")
            assert display >= 38, (roughness, metallic)


def _light_from(column: float) -> EnvironmentMap:
    """Dark but for a lamp at the horizon, `column` of the map's width from its left edge."""
    radiance = torch.full((1, 3, 32, 64), 0.01)
    radiance[:, :, 14:18, round(column * 64) - 2 : round(column * 64) + 2] = 20
    return EnvironmentMap(radiance)


@pytest.mark.parametrize("quality", ["split_sum", "monte_carlo"])
def test_light_from_the_right_brightens_the_right(quality):
    gbuffer = sphere(16, BASE, 0.6, 0.0)
    render = DeferredRenderer(quality, background=False)

    def right_to_left(light, yaw=0.0):
        beauty = render(gbuffer, light, yaw).beauty[0].mean(0)
        return float(beauty[:, 8:].sum() / beauty[:, :8].sum())

    from_right, from_left = _light_from(0.25), _light_from(0.75)
    assert right_to_left(from_right) > 3
    assert right_to_left(from_left) < 1 / 3
    assert right_to_left(from_left, yaw=180) == pytest.approx(right_to_left(from_right), rel=0.05)
    assert right_to_left(from_right.rotated(90)) == pytest.approx(right_to_left(from_right, yaw=90), rel=0.05)
    top = render(gbuffer, EnvironmentMap(torch.cat((torch.ones(1, 3, 8, 64), torch.zeros(1, 3, 24, 64)), 2))).beauty[0]
    assert top[:, :8].sum() > 3 * top[:, 8:].sum()


def test_camera_pose_turns_normals_into_the_world():
    """A camera turned by 90 degrees under a light turned with it sees the same picture."""
    gbuffer = sphere(16, BASE, 0.4, 0.0)
    light = world("sunset", 64)
    pose = torch.eye(4)[None].clone()
    pose[0, :3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    turned = replace(gbuffer, camera=replace(gbuffer.camera, pose=pose))
    render = DeferredRenderer("monte_carlo", samples=256)
    a, b = render(gbuffer, light), render(turned, light, 90.0)
    assert float((a.diffuse - b.diffuse).abs().mean()) < 0.02 * float(a.diffuse.mean())
    torch.testing.assert_close(a.background, b.background, atol=1e-3, rtol=1e-3)


def test_groups_are_composited_by_the_mask():
    gbuffer = sphere(16, BASE, 0.4, 0.0)
    half = gbuffer.with_maps(mask=gbuffer.mask * 0.5)
    light = constant_light(3.0)
    whole, mixed = (DeferredRenderer("monte_carlo")(g, light) for g in (gbuffer, half))
    torch.testing.assert_close(mixed.diffuse, whole.diffuse * 0.5)
    torch.testing.assert_close(mixed.background, 3 - 3 * half.mask.expand(1, 3, 16, 16))
    torch.testing.assert_close(mixed.beauty, mixed.diffuse + mixed.specular + mixed.background, rtol=0, atol=0)
    assert float(DeferredRenderer("monte_carlo", background=False)(half, light).background.max()) == 0


def test_clips_have_a_light_and_a_yaw_for_every_frame():
    gbuffer = sphere(8, BASE, 0.4, 0.0)
    clip = gbuffer.with_maps(**{k: v.expand(2, *v.shape[1:]) for k, v in gbuffer.maps.items()})
    light = EnvironmentMap(torch.cat((_light_from(0.25).radiance, _light_from(0.75).radiance)))
    picture = DeferredRenderer("monte_carlo")(clip, light, torch.tensor([0.0, 180.0])).beauty
    assert picture.shape == (2, 3, 8, 8)
    assert float((picture[0] - picture[1]).abs().mean()) < 0.05 * float(picture.mean())
    with pytest.raises(UserError, match="2 frames"):
        DeferredRenderer("monte_carlo")(gbuffer, light)


def test_same_seed_same_picture():
    gbuffer, light = sphere(12, BASE, 0.4, 0.0), world("studio", 32)
    a, b, c = (DeferredRenderer("monte_carlo", seed=seed)(gbuffer, light).beauty for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match="normal"):
        DeferredRenderer("monte_carlo")(GBuffer(base_color=torch.ones(1, 3, 4, 4)), constant_light())
    with pytest.raises(UserError, match="split_sum, monte_carlo"):
        DeferredRenderer("ray_tracing")
    with pytest.raises(UserError, match="at least 2"):
        DeferredRenderer("monte_carlo", samples=1)


def test_renderers_are_found_by_id():
    gbuffer, light = sphere(8, BASE, 0.4, 0.0), constant_light()
    for model, quality in (
        ("deferred", "auto"),
        ("deferred:split_sum", "split_sum"),
        ("deferred:screen_space", "screen_space"),
    ):
        found = ForwardRenderer.from_pretrained(model, samples=8)(gbuffer, light).beauty
        assert torch.equal(found, DeferredRenderer(quality, samples=8)(gbuffer, light).beauty)
    with pytest.raises(UserError, match="did you mean deferred:monte_carlo"):
        ForwardRenderer.from_pretrained("deferred:montecarlo")
    with pytest.raises(UserError, match="no model is called zzz"):
        ForwardRenderer.from_pretrained("zzz")


def test_nothing_visible_is_all_background():
    gbuffer = GBuffer(base_color=torch.ones(1, 3, 4, 4), normal=torch.zeros(1, 3, 4, 4))
    groups = DeferredRenderer("monte_carlo")(gbuffer, constant_light(2.0))
    torch.testing.assert_close(groups.beauty, torch.full((1, 3, 4, 4), 2.0))
