"""Environment maps: what turning, resampling and averaging light must keep."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unrender.conventions import direction_to_uv, uv_to_direction, yaw_matrix
from unrender.errors import UserError
from unrender.scene.environment import (
    EnvironmentMap,
    mean_direction,
    mean_luminance,
    mean_radiance,
    resize,
    sample,
    texel_directions,
    texel_solid_angles,
    turned,
)
from unrender.scene.irradiance import irradiance, irradiance_map

SIDES = st.integers(1, 40)


def noisy_radiance(size, seed=0, frames=1, peak=1000.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(frames, 3, *size, generator=generator) ** 12 * peak


def noisy_light(size, seed=0, frames=1, peak=1000.0):
    return EnvironmentMap(noisy_radiance(size, seed, frames, peak))


def flux_of(radiance):
    return (radiance.double() * texel_solid_angles(radiance.shape[2:])).sum((2, 3))


def flux(light):
    return flux_of(light.radiance)


@given(st.floats(0, 0.999), st.floats(0.01, 0.99))
def test_uv_survive_the_way_through_directions(u, v):
    back_u, back_v = direction_to_uv(uv_to_direction(torch.tensor(u), torch.tensor(v)))
    assert abs((float(back_u) - u + 0.5) % 1 - 0.5) < 1e-5
    assert float(back_v) == pytest.approx(v, abs=1e-6)


@pytest.mark.parametrize(
    ("direction", "u", "v"),
    [
        ((0.0, 0.0, -1.0), 0.0, 0.5),
        ((1.0, 0.0, 0.0), 0.25, 0.5),
        ((0.0, 0.0, 1.0), 0.5, 0.5),
        ((-1.0, 0.0, 0.0), 0.75, 0.5),
        ((0.0, 2.0, 0.0), None, 0.0),
        ((0.0, -0.1, 0.0), None, 1.0),
    ],
)
def test_axes_lie_where_the_openexr_layout_puts_them(direction, u, v):
    found_u, found_v = direction_to_uv(torch.tensor(direction))
    assert u is None or float(found_u) == pytest.approx(u, abs=1e-6)
    assert float(found_v) == pytest.approx(v, abs=1e-6)


def test_uv_have_a_gradient_at_the_poles():
    direction = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], requires_grad=True)
    sum(direction_to_uv(direction)).sum().backward()
    assert direction.grad.isfinite().all()


@settings(deadline=None, max_examples=40)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 99))
def test_resizing_keeps_flux_constants_and_sign(height, width, new_height, new_width, seed):
    radiance = noisy_radiance((height, width), seed)
    resized = resize(radiance, (new_height, new_width))
    torch.testing.assert_close(flux_of(resized), flux_of(radiance), rtol=1e-5, atol=0)
    assert resized.min() >= 0
    white = resize(torch.full((1, 3, height, width), 2.5), (new_height, new_width))
    torch.testing.assert_close(white, torch.full_like(white, 2.5), rtol=1e-5, atol=0)


@pytest.mark.parametrize("size", [(8, 16), (16, 32), (37, 74), (64, 128)])
def test_every_texel_hands_on_its_own_flux_to_its_own_place(size):
    for row in (0, 3, 15):
        radiance = torch.zeros(1, 3, 16, 32)
        radiance[..., row, 20] = 100.0
        sun = EnvironmentMap(radiance)
        torch.testing.assert_close(flux(sun.resized(size)), flux(sun), rtol=1e-5, atol=0)
        cosine = (torch.nn.functional.normalize(mean_direction(sun.resized(size)), dim=-1) * mean_direction(sun)).sum()
        assert math.degrees(math.acos(min(1.0, float(cosine)))) < 360 / min(size[1], 32)


def test_halving_averages_by_solid_angle():
    radiance = torch.zeros(1, 3, 4, 2)
    radiance[:, :, 1] = 1.0
    angles = texel_solid_angles((4, 2))[:, 0]
    halved = resize(radiance, (2, 1))[0, 0, :, 0]
    torch.testing.assert_close(halved, torch.stack((angles[1] / (angles[0] + angles[1]), torch.tensor(0.0))))


def test_growing_joins_texels_without_steps():
    columns = torch.arange(16.0).expand(1, 3, 8, 16)
    grown = resize(columns, (8, 64))[0, 0, 0]
    inside = grown[2:-2]
    torch.testing.assert_close(inside[1:] - inside[:-1], torch.full((59,), 0.25), atol=0.04, rtol=0)


def test_a_map_of_no_texels_is_refused():
    with pytest.raises(UserError, match="0 x 8"):
        noisy_light((4, 8)).resized((0, 8))


@settings(deadline=None, max_examples=30)
@given(st.integers(-40, 40), st.integers(-40, 40))
def test_yaws_add_up(first, second):
    light = noisy_light((16, 32), 1)
    step = 360 / 32
    twice = light.rotated(first * step).rotated(second * step)
    torch.testing.assert_close(twice.radiance, light.rotated((first + second) * step).radiance)


@pytest.mark.parametrize("degrees", [0.0, 33.3, 90.0, -200.0, 720.0])
def test_yaw_moves_light_by_the_yaw_matrix_and_keeps_its_flux(degrees):
    light = noisy_light((16, 32), 2)
    moved = light.rotated(degrees)
    torch.testing.assert_close(flux(moved), flux(light), rtol=1e-5, atol=0)
    torch.testing.assert_close(mean_direction(moved), mean_direction(light) @ yaw_matrix(degrees).T, atol=2e-3, rtol=0)


@pytest.mark.parametrize("degrees", [22.5, 90.0, -135.0])
def test_a_rotation_matrix_about_y_is_a_yaw(degrees):
    light = noisy_light((16, 32), 3)
    torch.testing.assert_close(
        light.transformed(yaw_matrix(degrees)).radiance, light.rotated(degrees).radiance, rtol=1e-3, atol=0.1
    )


@pytest.mark.parametrize(("ahead", "degrees"), [(0.0, 0.0), (0.25, 90.0), (0.5, 180.0)])
def test_other_layouts_are_one_yaw_away(ahead, degrees):
    """OpenEXR, three.js and Blender, nvdiffrec: `ahead` is where each has -Z."""
    radiance = torch.zeros(1, 3, 4, 8)
    radiance[..., int(ahead * 8)] = 1.0
    assert EnvironmentMap(radiance).rotated(degrees).radiance[0, 0, 0].argmax() == 0


def test_any_rotation_carries_the_sun_along():
    radiance = torch.zeros(1, 3, 64, 128)
    radiance[..., 20:22, 30:32] = 50.0
    sun = EnvironmentMap(radiance)
    tilt = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.7, 0.2], [0.7, 0.0, -0.4], [-0.2, 0.4, 0.0]]))
    both = torch.stack((tilt, torch.eye(3)))
    moved = mean_direction(sun.transformed(both))
    torch.testing.assert_close(moved[0], tilt @ mean_direction(sun)[0], atol=5e-3, rtol=0)
    torch.testing.assert_close(moved[1], mean_direction(sun)[0], atol=5e-3, rtol=0)


def test_a_turn_is_evenly_spaced_and_open_at_the_end():
    light = noisy_light((4, 8), 4)
    turn = list(turned(light, 4, 360))
    assert [len(frame) for frame in turn] == [1, 1, 1, 1]
    for frame, degrees in zip(turn, (0, 90, 180, 270), strict=True):
        torch.testing.assert_close(frame.radiance, light.rotated(degrees).radiance)


def test_a_moving_light_turns_frame_by_frame_or_not_at_all():
    moving = noisy_light((4, 8), 4, frames=2)
    second = list(turned(moving, 2, 360))[1]
    torch.testing.assert_close(second.radiance, moving.frame(1).rotated(180).radiance)
    with pytest.raises(UserError, match="1 or 5"):
        next(turned(moving, 5))


def test_a_light_of_one_frame_serves_all_and_others_only_their_own():
    assert len(noisy_light((2, 4)).frame(7)) == 1
    moving = noisy_light((2, 4), frames=3)
    torch.testing.assert_close(moving.frame(-1).radiance, moving.radiance[2:])
    with pytest.raises(IndexError):
        moving.frame(3)


def test_sampling_returns_the_texels_and_wraps_at_the_seam():
    light = noisy_light((8, 16), 5, frames=2)
    torch.testing.assert_close(sample(light.radiance, texel_directions((8, 16))), light.radiance, rtol=1e-4, atol=1e-2)
    seam = sample(light.radiance, uv_to_direction(torch.tensor(0.0), torch.tensor(3.5 / 8)))
    torch.testing.assert_close(seam, (light.radiance[..., 3, 0] + light.radiance[..., 3, -1]) / 2, rtol=1e-4, atol=1e-2)


def test_averages_of_a_half_lit_sphere():
    radiance = torch.zeros(1, 3, 32, 64)
    radiance[:, :, :16] = torch.tensor([1.0, 2.0, 4.0])[None, :, None, None]
    sky = EnvironmentMap(radiance)
    torch.testing.assert_close(mean_radiance(sky), torch.tensor([[0.5, 1.0, 2.0]]))
    torch.testing.assert_close(mean_luminance(sky), torch.tensor([(0.2126 + 2 * 0.7152 + 4 * 0.0722) / 2]))
    torch.testing.assert_close(mean_direction(sky), torch.tensor([[0.0, 0.5, 0.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(mean_luminance(sky.exposed(1)), 2 * mean_luminance(sky))
    assert mean_direction(EnvironmentMap(torch.zeros(1, 3, 4, 8))).abs().max() == 0


def test_a_white_map_gives_pi():
    white = EnvironmentMap(torch.ones(1, 3, 64, 128))
    torch.testing.assert_close(irradiance_map(white), torch.full((1, 3, 32, 64), math.pi), rtol=2e-3, atol=0)


def test_irradiance_of_a_small_sun_falls_with_the_cosine():
    radiance = torch.zeros(1, 3, 128, 256)
    radiance[..., 40, 70] = 1e4
    sun = EnvironmentMap(radiance)
    towards = mean_direction(sun)[0]
    normal = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    expected = flux(sun)[0, 0].float() * (normal @ towards).clamp(min=0)
    error = (irradiance(sun, normal)[0, 0] - expected).abs().max() / expected.max()
    assert error < 0.02


def test_irradiance_of_a_gradient_sky_matches_its_closed_form():
    up = texel_directions((64, 128))[..., 1]
    sky = EnvironmentMap((1 + up).expand(1, 3, 64, 128))
    normal = torch.nn.functional.normalize(torch.randn(100, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    # The cosine lobe has zonal coefficients pi and 2 pi / 3 in the first two bands (Ramamoorthi & Hanrahan 2001).
    expected = math.pi + 2 * math.pi / 3 * normal[:, 1]
    torch.testing.assert_close(irradiance(sky, normal)[0, 0], expected, rtol=3e-3, atol=3e-3)


def test_irradiance_has_a_gradient_in_the_light():
    radiance = torch.rand(1, 3, 16, 32, requires_grad=True)
    irradiance(EnvironmentMap(radiance), torch.tensor([0.0, 1.0, 0.0])).sum().backward()
    assert (radiance.grad[:, :, 0] > 0).all()
    assert radiance.grad[:, :, -1].abs().max() < 1e-3
