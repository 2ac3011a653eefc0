"""The fit of a light: with a known answer, by pixels; and by a photo's own shading."""

import math
from dataclasses import replace

import pytest
import torch

from unrender.errors import UserError
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap, mean_direction, texel_directions
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

pytest.importorskip("mitsuba", reason="Mitsuba is not installed; the extra [raytrace] brings it")
pytest.importorskip("trimesh", reason="trimesh is not installed; the extra [raytrace] brings it")

from insertion_scenes import LIGHT_SIZE, light, scenes
from unrender.insert import light as lights
from unrender.insert.composite import Tones, composite
from unrender.insert.fit import FitOptions, SceneTransport, fit_light
from unrender.insert.guidance import PixelGuidance, photo_shading
from unrender.insert.light import GaussianLight, TexelLight, colourfulness, evenness, fuse, level_radiance, sharpened
from unrender.insert.shading import USUAL_ALBEDO, believed
from unrender.insert.tone import ToneCurves
from unrender.raytrace.shadows import trace_shadows
from unrender.raytrace.transport import trace_foreground
from unrender.scene.camera import Camera, world_rays

GREY = EnvironmentMap(torch.full((1, 3, *LIGHT_SIZE), 0.5), "grey")
SIZE = 40


@pytest.fixture(scope="module")
def transport(vectorised_mitsuba):
    objects, ground = scenes(SIZE)
    return SceneTransport(
        trace_foreground(objects, LIGHT_SIZE, samples=16), trace_shadows(objects, ground, LIGHT_SIZE, samples=16)
    )


def angle(found, expected):
    one, other = (mean_direction(value)[0] for value in (found, expected))
    return math.degrees(math.acos(float(one @ other / (one.norm() * other.norm()))))


def pictures(transport, lit):
    background = torch.full((1, 3, SIZE, SIZE), 0.5)
    return background, composite(background, transport.render(lit.radiance[0], lit.radiance[0]))


@pytest.mark.parametrize(
    ("name", "degrees"),
    [
        ("city", 8),
        ("sunset", 8),
        pytest.param("interior", 8, marks=pytest.mark.slow),
        pytest.param("studio", 13, marks=pytest.mark.slow),
    ],
)
def test_by_pixels_the_light_comes_from_where_it_does_in_fifty_steps(transport, name, degrees):
    truth = light(name)
    background, target = pictures(transport, truth)
    fit = fit_light(PixelGuidance(target), GREY, FitOptions(steps=50), transport=transport, background=background)
    assert fit.losses[-1] < 0.1 * fit.losses[0]
    assert angle(fit.light, truth) < degrees


def test_two_lights_become_one_and_tones_are_found(transport):
    truth = light("city")
    background, _ = pictures(transport, truth)
    curve = ToneCurves(torch.zeros(3, 5), torch.tensor([[1.0, 0, 0, 0, -1]] * 3), torch.zeros(3, 6))
    bent = Tones(ToneCurves.identity(1), curve)
    target = composite(background, transport.render(truth.radiance[0], truth.radiance[0]).toned(bent))
    # DiPIR's weights are for a diffusion model's loss, which is larger than this one.
    options = FitOptions(60, separate=True, tones=True, consistency_weight=1e-3, concentration_weight=1e-4)
    fit = fit_light(PixelGuidance(target), GREY, options, transport=transport, background=background)
    fused = fuse(fit.foreground_light.radiance[0], fit.shadow_light.radiance[0])
    torch.testing.assert_close(fit.light.radiance[0], fused)
    assert angle(fit.light, truth) < 25
    assert not fit.tones.neutral
    assert fit.losses[-1] < 0.3 * fit.losses[0]


def test_a_fused_light_has_the_colour_of_one_and_the_place_of_the_other():
    warm, sun = light("sunset").radiance[0], light("city").radiance[0]
    fused = fuse(warm, sun)
    brightness = [lights.normalised_luminance(value) for value in (fused, sun)]
    torch.testing.assert_close(*brightness, rtol=1e-3, atol=1e-4)
    hues = [value[0] / value[2].clamp(min=1e-6) for value in (fused, warm)]
    torch.testing.assert_close(*hues, rtol=1e-2, atol=1e-2)
    assert lights.consistency(sun, sun) < lights.consistency(warm, sun)
    assert lights.concentration(sun) < lights.concentration(torch.full_like(sun, 5.0))


@pytest.mark.parametrize("kind", [GaussianLight, TexelLight])
def test_a_fitted_light_begins_as_the_one_it_starts_from(kind):
    start = light("studio")
    found = EnvironmentMap(kind.of(start).radiance().detach()[None])
    assert angle(found, start) < 30
    assert float(found.radiance.mean()) == pytest.approx(float(start.radiance.mean()), rel=0.15)
    assert float(kind.of(EnvironmentMap(torch.zeros(1, 3, 16, 32))).radiance().detach().max()) < 0.5


def test_a_photo_of_many_sides_tells_more_of_the_light_than_one_of_a_floor():
    frames, gbuffer, _ = photo_of_a_ball((0.9, 0.5, 0.3))
    floor = torch.tensor([0.0, 1.0, 0.0])[None, :, None, None].expand_as(frames.rgb)
    assert photo_shading(frames, gbuffer).facing > 0.1
    assert photo_shading(frames, replace(gbuffer, normal=floor)).facing < 1e-3


def photo_of_a_ball(sun):
    """A white ball on nothing, lit by a lobe from `sun`, before a dim sky; frames and G-buffer."""
    camera = Camera.perspective((48, 48), 50.0)
    rays = world_rays(camera)[0]
    centre, radius = torch.tensor([0.0, 0.0, -3.0]), 1.0
    b = (rays * centre[:, None, None]).sum(0)
    root = b**2 - (9 - radius**2)
    hit = root > 0
    normal = (rays * (b - root.clamp(min=0).sqrt()) - centre[:, None, None]) / radius
    normal = torch.where(hit, normal, torch.zeros_like(normal))
    sun = torch.nn.functional.normalize(torch.tensor(sun), dim=0)
    shade = 0.1 + 0.7 * torch.einsum("chw,c->hw", normal, sun).clamp(min=0)
    rgb = torch.where(hit, shade, torch.full_like(shade, 0.12)).expand(1, 3, -1, -1).clone()
    gbuffer = GBuffer(
        base_color=torch.full((1, 3, 48, 48), 0.8), normal=normal[None], mask=hit[None, None].float(), camera=camera
    )
    return Frames(rgb), gbuffer, sun


def test_a_sharper_light_is_as_bright_on_level_ground_and_less_even():
    soft = light("sunset").radiance[0] + 0.2
    sharp = sharpened(soft, 1.5)
    torch.testing.assert_close(level_radiance(sharp), level_radiance(soft))
    assert sharp.max() > 1.5 * soft.max()
    assert evenness(sharp) < evenness(soft) < 0


def test_an_even_light_of_one_colour_is_neither_uneven_nor_colourful():
    soft = light("sunset").radiance[0] + 0.2
    even = torch.tensor([0.5, 0.4, 0.3])[:, None, None].expand(3, *LIGHT_SIZE)
    assert evenness(soft) < 0
    assert float(evenness(even)) == pytest.approx(0, abs=1e-5)
    assert float(colourfulness(even)) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(level_radiance(even), even[:, 0, 0], rtol=1e-2, atol=0)  # a sum over texels
    assert colourfulness(soft * torch.linspace(0.5, 2, 32)[None, None] ** torch.tensor([1, 0, -1])[:, None, None]) > 0.1


@pytest.mark.parametrize("albedo", [0.1, 0.23, 0.8])
def test_a_light_is_believed_between_what_was_fitted_and_what_is_usual(albedo):
    fitted = light("city").radiance[0]
    white = torch.tensor([0.9, 0.7, 0.5])
    found = believed(fitted, white, albedo * torch.full((3,), float(luminance(white, 0))), 0.5)
    level = level_radiance(found)
    white_share, share, fitted_share = (value / luminance(value, 0) for value in (white, level, level_radiance(fitted)))
    assert bool(((share - white_share) * (share - fitted_share) < 1e-6).all())  # the colour is between both
    usual = albedo / USUAL_ALBEDO
    assert min(1, usual) - 1e-3 < float(luminance(level, 0) / luminance(white, 0)) < max(1, usual) + 1e-3
    before, after = (mean_direction(EnvironmentMap(value[None]))[0] for value in (fitted, found))
    assert float(before @ after / (before.norm() * after.norm())) > 0.9  # from the same side
    assert evenness(fitted) < evenness(found) < 0


@pytest.mark.parametrize("sun", [(0.9, 0.5, 0.3), (-0.8, 0.4, 0.5)])
def test_the_shading_of_a_photo_says_where_its_light_is(sun):
    frames, gbuffer, sun = photo_of_a_ball(sun)
    fit = fit_light(photo_shading(frames, gbuffer), GREY, FitOptions(steps=60))
    direction = mean_direction(fit.light)[0]
    assert math.degrees(math.acos(float(direction @ sun / direction.norm()))) < 40
    brightest = texel_directions(LIGHT_SIZE).reshape(-1, 3)[fit.light.radiance[0].sum(0).flatten().argmax()]
    assert float(brightest @ sun) > 0.5


def test_what_does_not_fit_together_is_refused(transport):
    target = torch.zeros(1, 3, SIZE, SIZE)
    with pytest.raises(UserError, match="judges the composite"):
        fit_light(PixelGuidance(target), GREY, FitOptions(steps=1))
    with pytest.raises(UserError, match=r"background of shape \(1, 3, 8, 8\)"):
        fit_light(PixelGuidance(target), GREY, transport=transport, background=torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match="FitOptions of 0 steps"):
        FitOptions(steps=0)
