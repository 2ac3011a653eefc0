"""Light as spherical Gaussians."""

import math

import pytest
import torch

from unrender.errors import UserError
from unrender.scene.environment import EnvironmentMap, mean_direction, texel_solid_angles
from unrender.scene.gaussians import SphericalGaussians, evaluate, fit, integral, to_environment


def some_lobes():
    axis = torch.tensor([[0.0, 0.8, 0.6], [0.9, 0.1, -0.2], [-0.5, 0.2, -0.9], [-0.3, -0.9, 0.5]])
    amplitude = torch.tensor([[9.0, 8.0, 6.0], [2.0, 3.0, 4.0], [1.5, 1.0, 0.5], [0.6, 0.7, 0.8]])
    return SphericalGaussians(
        amplitude, torch.nn.functional.normalize(axis, dim=1), torch.tensor([0.2, 0.3, 0.45, 0.6])
    )


def test_a_lobe_has_its_amplitude_in_the_middle_and_its_width():
    lobes = some_lobes()
    first = SphericalGaussians(lobes.amplitude[:1], lobes.axis[:1], lobes.sigma[:1])
    torch.testing.assert_close(evaluate(first, first.axis)[:, 0], first.amplitude[0])
    side = torch.nn.functional.normalize(torch.linalg.cross(first.axis, torch.tensor([[1.0, 0.0, 0.0]])), dim=1)
    tilted = math.cos(0.2) * first.axis + math.sin(0.2) * side
    expected = first.amplitude[0] * math.exp(-(1 - math.cos(0.2)) / 0.2**2)
    torch.testing.assert_close(evaluate(first, tilted)[:, 0], expected)


def test_the_integral_is_the_flux_of_the_map():
    lobes = some_lobes()
    light = to_environment(lobes, (256, 512))
    flux = (light.radiance * texel_solid_angles((256, 512))).sum((0, 2, 3))
    torch.testing.assert_close(integral(lobes).sum(0), flux, rtol=1e-4, atol=0)


def test_turning_the_lobes_turns_the_map():
    lobes = some_lobes()
    torch.testing.assert_close(
        to_environment(lobes.rotated(90.0), (32, 64)).radiance,
        to_environment(lobes, (32, 64)).rotated(90.0).radiance,
        atol=1e-4,
        rtol=1e-4,
    )


def test_lobes_are_differentiable_in_all_that_they_are():
    lobes = some_lobes()
    leaves = [value.clone().requires_grad_() for value in (lobes.amplitude, lobes.axis, lobes.sigma)]
    to_environment(SphericalGaussians(*leaves), (8, 16)).radiance.square().sum().backward()
    assert all(leaf.grad.isfinite().all() and leaf.grad.abs().max() > 0 for leaf in leaves)


def test_planted_lobes_are_found_again():
    planted = some_lobes()
    found = fit(to_environment(planted, (64, 128)), 4)
    cosine, match = (planted.axis @ found.axis.T).max(1)
    assert sorted(match.tolist()) == [0, 1, 2, 3]
    assert math.degrees(math.acos(min(1.0, float(cosine.min())))) < 0.5
    torch.testing.assert_close(found.sigma[match], planted.sigma, rtol=0.02, atol=0)
    torch.testing.assert_close(found.amplitude[match], planted.amplitude, rtol=0.05, atol=0.02)


def test_a_fit_is_deterministic_and_works_where_gradients_are_off():
    light = to_environment(some_lobes(), (32, 64))
    with torch.no_grad():
        first, second = fit(light, 3, steps=20), fit(light, 3, steps=20)
    assert torch.equal(first.axis, second.axis)
    assert not first.amplitude.requires_grad


def test_a_small_bright_sun_keeps_its_place_and_its_flux():
    radiance = torch.full((1, 3, 128, 256), 0.2)
    radiance[..., 30:32, 100:102] = 3000.0
    sun = EnvironmentMap(radiance)
    found = to_environment(fit(sun, 8), (128, 256))
    direction = torch.nn.functional.normalize(torch.cat((mean_direction(sun), mean_direction(found))), dim=1)
    # Half a texel of the grid that is fitted on.
    assert math.degrees(math.acos(min(1.0, float(direction[0] @ direction[1])))) < 180 / 32 / 2
    angles = texel_solid_angles((128, 256))
    assert float((found.radiance * angles).sum() / (radiance * angles).sum()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("light", "count", "message"),
    [
        (EnvironmentMap(torch.ones(2, 3, 8, 16)), 4, "not 2"),
        (EnvironmentMap(torch.zeros(1, 3, 8, 16)), 4, "black"),
        (EnvironmentMap(torch.ones(1, 3, 8, 16)), 0, "at least 1"),
    ],
)
def test_what_cannot_be_fitted_is_refused(light, count, message):
    with pytest.raises(UserError, match=message):
        fit(light, count)


def test_lobes_of_different_numbers_are_refused():
    with pytest.raises(UserError, match=r"\(N, 3\)"):
        SphericalGaussians(torch.ones(2, 3), torch.ones(3, 3), torch.ones(2))
