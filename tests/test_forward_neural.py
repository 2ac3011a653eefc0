"""Relighting through X->RGB: the light comes to the network as irradiance, and to the picture as brightness."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from forward_scenes import constant_light, sphere, table
from rgbx_reference import as_light, codes, engine_of, write_published
from unrender.diffusion.card.file import write_card
from unrender.diffusion.checkpoints.published.rgbx import INPAINTING, RGB_TO_X, X_TO_RGB
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.forward import DeferredRenderer, ForwardRenderer
from unrender.forward.irradiance import lit_irradiance
from unrender.forward.neural import NeuralRenderer
from unrender.forward.options import ForwardOptions
from unrender.inverse.renderer import InverseRenderer
from unrender.relight import RelightOptions, relight
from unrender.relight.detail import believed
from unrender.scene.camera import Camera
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.irradiance import irradiance

RUNNING = InferenceOptions("cpu", "float32")
BALL = sphere(48, (0.6, 0.5, 0.4), 0.5, 0.0)
INSIDE = BALL.maps["mask"] > 0
STILL = torch.zeros(1)


def spot(column: int, row: int = 8) -> EnvironmentMap:
    """One bright texel of 16 x 32; column 8 is +X, the right."""
    radiance = torch.full((1, 3, 16, 32), 0.01)
    radiance[..., row, column] = torch.tensor([30.0, 20.0, 10.0])
    return EnvironmentMap(radiance)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("rgbx"), X_TO_RGB)
    write_card(X_TO_RGB, folder)
    return folder


@pytest.fixture(scope="module")
def inpainting(tmp_path_factory):
    folder = write_published(tmp_path_factory.mktemp("rgbx"), INPAINTING)
    write_card(INPAINTING, folder)
    return folder


def renderer(folder, **options) -> NeuralRenderer:
    return NeuralRenderer.from_pretrained(folder, RUNNING, ForwardOptions(steps=1, **options))


def log_average(rgb: Tensor, inside: Tensor) -> float:
    return float(luminance(rgb)[inside].clamp(min=1e-6).log().mean().exp())


def test_a_white_sky_all_around_is_pi_and_nothing_where_there_is_no_surface():
    found = lit_irradiance(BALL, constant_light(), STILL)
    torch.testing.assert_close(found[INSIDE.expand_as(found)].mean(), torch.tensor(math.pi), atol=0.03, rtol=0)
    assert float((found - math.pi * INSIDE).abs().max()) < 0.01 * math.pi
    assert not found[~INSIDE.expand_as(found)].any()


def test_light_from_the_right_falls_on_the_right():
    found = lit_irradiance(BALL, spot(8), STILL)
    assert float(found[..., 24:].sum()) > 5 * float(found[..., :24].sum())
    assert found[0, :, 24, 40].tolist() == sorted(found[0, :, 24, 40].tolist(), reverse=True)


@pytest.mark.parametrize("yaw", [0.0, 35.0, 90.0, -120.0])
@pytest.mark.parametrize("scene", [BALL, table(32)], ids=["level", "tilted"])
def test_irradiance_is_that_of_the_world_normal_turned_by_yaw(scene, yaw):
    """A light that is turned by yaw about +Y is asked for the normal that is turned back."""
    angle = math.radians(-yaw)
    back = torch.tensor(
        [[math.cos(angle), 0.0, math.sin(angle)], [0.0, 1.0, 0.0], [-math.sin(angle), 0.0, math.cos(angle)]]
    )
    turn = back @ scene.camera.pose[0, :3, :3]
    normal = torch.einsum("ij,jhw->hwi", turn, scene.maps["normal"][0])
    there = scene.maps["normal"].norm(dim=1, keepdim=True) > 0.5
    up = torch.tensor([0.0, 1.0, 0.0])
    right = irradiance(spot(11, 5), torch.where(there[0, 0, ..., None], normal, up)) * there
    found = lit_irradiance(scene, spot(11, 5), torch.tensor([yaw]))
    torch.testing.assert_close(found, right, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("yaw", [40.0, -75.0])
def test_yaw_lights_the_side_that_the_deferred_renderer_lights(yaw):
    """White and matt, what is sent out is E / pi, but for the little that the specular lobe takes."""
    white = replace(BALL, base_color=torch.ones_like(BALL.maps["normal"]))
    deferred = DeferredRenderer("split_sum")(white, spot(13), yaw).diffuse
    found = lit_irradiance(BALL, spot(13), torch.tensor([yaw])) / math.pi
    pair = torch.stack([picture[INSIDE.expand_as(picture)] for picture in (found, deferred)])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.99


def test_the_irradiance_of_the_light_takes_the_place_of_the_gbuffers(folder):
    light, network = spot(8), renderer(folder)
    other = BALL.with_maps(irradiance=torch.rand(1, 3, 48, 48))
    lit = lit_irradiance(BALL, light, torch.tensor([30.0]))
    told = replace(BALL.with_maps(irradiance=lit), irradiance_kind="metric")
    found, again, own = network(BALL, light, 30.0), network(other, light, 30.0), network(told)
    assert torch.equal(found.beauty, again.beauty)
    picture = found.surfaces["rendered"][INSIDE.expand_as(lit)]
    shown = own.surfaces["rendered"][INSIDE.expand_as(lit)]
    torch.testing.assert_close(picture / picture.mean(), shown / shown.mean(), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(found.beauty, network(BALL, light, 210.0).beauty, atol=1e-2)


def test_a_picture_is_as_bright_as_the_deferred_rendering(folder):
    light, where = spot(13), INSIDE[:, 0:1]
    found = renderer(folder)(BALL, light, 20.0).surface
    expected = DeferredRenderer("split_sum")(BALL, light, 20.0).surface
    assert log_average(found, where) == pytest.approx(log_average(expected, where), rel=2e-2)


def test_a_light_twice_as_bright_gives_a_picture_twice_as_bright(folder):
    network, light = renderer(folder), spot(13)
    once, twice = network(BALL, light), network(BALL, EnvironmentMap(2 * light.radiance))
    torch.testing.assert_close(twice.beauty, 2 * once.beauty, atol=1e-4, rtol=1e-3)


def test_passes_are_what_is_rendered_and_what_is_behind_and_add_up(folder):
    light = spot(0)
    found = renderer(folder)(BALL, light, 15.0)
    assert list(found.passes) == ["rendered", "background"]
    assert torch.equal(found.beauty, found.passes["rendered"] + found.passes["background"])
    outside = (~INSIDE).expand_as(found.beauty)
    assert not found.passes["rendered"][outside].any()
    assert torch.equal(found.background, DeferredRenderer("split_sum")(BALL, light, 15.0).background)


def test_without_a_light_the_whole_picture_is_rendered(folder):
    found = renderer(folder)(BALL.with_maps(irradiance=torch.rand(1, 3, 48, 48)))
    assert list(found.passes) == ["rendered", "background"]
    assert not found.background.any()
    assert found.beauty[(~INSIDE).expand_as(found.beauty)].any()


def test_shadows_darken_what_the_light_cannot_reach(folder):
    """A lamp high on the right: the floor left of the right ball is in its shadow, the near floor is not."""
    scene, lamp = table(64), spot(8, 4)
    open_sky, shadowed = (lit_irradiance(scene, lamp, STILL, shadows=shadows) for shadows in (False, True))
    assert bool((shadowed <= open_sky + 1e-6).all())
    share = luminance(shadowed) / luminance(open_sky).clamp(min=1e-6)
    floor = scene.maps["roughness"] == 0.4
    assert float(share[..., 40:46, 36:44][floor[..., 40:46, 36:44]].mean()) < 0.6
    assert float(share[..., 56:, :].mean()) > 0.95
    with_them, without = renderer(folder, shadows=True), renderer(folder)
    assert not torch.allclose(with_them(scene, lamp).beauty, without(scene, lamp).beauty, atol=1e-2)


def test_a_clip_is_turned_frame_by_frame(folder):
    clip = replace(BALL, camera=None, **{name: value.expand(2, -1, -1, -1) for name, value in BALL.maps.items()})
    network, light, yaws = renderer(folder), spot(13), torch.tensor([0.0, 90.0])
    found = network(clip, light, yaws).beauty
    for index in (0, 1):
        alone = network(replace(BALL, camera=None), light, float(yaws[index])).beauty
        torch.testing.assert_close(found[index : index + 1], alone, atol=1e-4, rtol=1e-3)


def test_relighting_by_rgb_to_x_and_x_to_rgb_from_end_to_end(folder, tmp_path):
    card = RGB_TO_X.with_maps(size=replace(RGB_TO_X.maps.size, long_side=48)).with_schedule(steps=1)
    inverse = InverseRenderer(engine_of(write_published(tmp_path, card), card))
    forward = ForwardRenderer(renderer(folder))
    photo, light = Frames(as_light(codes((36, 48), 3))), spot(8)
    relit = relight(photo, light, inverse, forward, RelightOptions(yaw=45, background="light", walls=False))
    assert relit.beauty.shape == photo.rgb.shape
    assert bool(relit.beauty.isfinite().all())
    assert float(relit.beauty.min()) >= 0
    apart = relit.decomposition
    assert set(apart.gbuffer.maps) == {"base_color", "normal", "roughness", "metallic", "irradiance", "rgb"}
    assert apart.gain is not None
    plain = forward(apart.gbuffer, light, 45.0)
    # As much of the change of light as is believed, around its mean.
    whole = plain.surfaces["rendered"]
    factor = believed(whole, photo.rgb, apart.gain, torch.ones_like(whole[:, :1]), apart.belief)
    torch.testing.assert_close(relit.passes.surfaces["rendered"], whole * factor)


@pytest.mark.parametrize(
    ("gbuffer", "light", "edit", "says"),
    [
        (GBuffer(depth=torch.ones(1, 1, 48, 48)), None, None, "is given base_color, normal.*has only depth"),
        (BALL, None, torch.ones(1, 1, 48, 48), "renders whole pictures; zheng95z/x-to-rgb-inpainting edits a part"),
        (BALL.with_maps(normal=None), constant_light(), None, "irradiance from a light needs the map normal"),
        (BALL.with_maps(base_color=None), EnvironmentMap(torch.ones(3, 3, 8, 16)), None, "3 frames .* of 1"),
    ],
)
def test_wrong_calls_are_one_line(folder, gbuffer, light, edit, says):
    with pytest.raises(UserError, match=says) as caught:
        ForwardRenderer(renderer(folder))(gbuffer, light, edit=edit)
    assert "\n" not in str(caught.value)


def test_a_light_shorter_than_the_clip_is_one_line(folder):
    clip = GBuffer(normal=BALL.maps["normal"].expand(3, -1, -1, -1), camera=Camera.perspective((48, 48)))
    with pytest.raises(UserError, match="light of 2 frames for a G-buffer of 3"):
        renderer(folder)(clip, EnvironmentMap(torch.ones(2, 3, 8, 16)))


def test_shadows_without_depth_are_one_line(folder):
    with pytest.raises(UserError, match="screen-space ray tracing needs the map depth"):
        renderer(folder, shadows=True)(BALL.with_maps(depth=None), constant_light())


@pytest.mark.parametrize(
    "options",
    [
        ForwardOptions("a caption"),
        ForwardOptions(guidance=2.0),
        ForwardOptions(image_guidance=1.0),
        ForwardOptions(shadows=True),
    ],
)
def test_the_deferred_renderer_takes_no_wishes_of_a_network(options):
    with pytest.raises(UserError, match="takes no caption, guidance or shadows"):
        ForwardRenderer.from_pretrained("deferred", options=options)


def test_the_deferred_renderer_edits_nothing_and_needs_a_light():
    deferred = ForwardRenderer.from_pretrained("deferred")
    with pytest.raises(UserError, match="an edit mask needs a model that edits"):
        deferred(BALL, constant_light(), edit=torch.ones(1, 1, 48, 48))
    with pytest.raises(UserError, match="needs a light"):
        deferred(BALL)


def test_an_inpainted_picture_under_a_light_keeps_the_rest_of_the_photo(inpainting):
    """Within the edit the light counts; outside it there is the photo, whatever the light."""
    edit = torch.zeros(1, 1, 48, 48)
    edit[..., 10:30, 10:30] = 1
    photo = as_light(codes((48, 48), 3))
    network, gbuffer, outside = renderer(inpainting), BALL.with_maps(rgb=photo), (edit == 0).expand_as(photo)
    pictures = [network(gbuffer, light, edit=edit).beauty for light in (spot(8), spot(13))]
    for picture in pictures:
        assert torch.equal(picture[outside], photo[outside])
    assert not torch.allclose(*pictures, atol=1e-2)
