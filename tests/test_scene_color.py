"""Transfer curves, exposure, tone and colour transfer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrender.scene.color import (
    linear_to_log,
    linear_to_power,
    linear_to_srgb,
    log_to_linear,
    luminance,
    power_to_linear,
    reinhard,
    srgb_to_linear,
)
from unrender.scene.tone import log_average_gain, percentile_gain, tone_map, transfer_statistics

UNIT = st.floats(0, 1, width=32)
RADIANCE = st.floats(0, 2.0**16, width=32)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@given(UNIT)
def test_every_curve_comes_back(value):
    encoded = torch.tensor(value)
    for forth, back in (
        (srgb_to_linear, linear_to_srgb),
        (power_to_linear, linear_to_power),
        (lambda x: log_to_linear(x, 100.0), lambda x: linear_to_log(x, 100.0)),
    ):
        assert float(back(forth(encoded))) == pytest.approx(value, abs=3e-4 if forth is power_to_linear else 1e-5)


@given(RADIANCE)
def test_curves_are_monotone_and_bounded_where_they_say_so(value):
    below, above = torch.tensor(value), torch.tensor(value * 1.01 + 1e-3)
    for curve in (linear_to_srgb, linear_to_power, lambda x: linear_to_log(x, 10.0), lambda x: reinhard(x, 16.0)):
        assert curve(below) <= curve(above)
    assert 0 <= reinhard(below, 16.0) <= 1


def test_curves_at_the_values_that_the_field_knows_by_heart():
    assert float(linear_to_srgb(torch.tensor(0.18))) == pytest.approx(0.4613561, abs=1e-6)
    assert float(srgb_to_linear(torch.tensor(0.5))) == pytest.approx(0.2140411, abs=1e-6)
    assert float(linear_to_power(torch.tensor(0.5))) == pytest.approx(0.7297401, abs=1e-6)
    assert float(reinhard(torch.tensor(16.0), 16.0)) == pytest.approx(1.0)
    assert float(linear_to_log(torch.tensor(10000.0), 10000.0)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "curve", [srgb_to_linear, linear_to_srgb, power_to_linear, linear_to_power, lambda x: reinhard(x, 16.0)]
)
def test_gradients_are_finite_everywhere(curve):
    values = torch.tensor([0.0, 1e-12, 0.0031308, 0.04045, 0.5, 1.0, 100.0], requires_grad=True)
    curve(values).sum().backward()
    assert values.grad.isfinite().all()


def test_the_log_average_lands_on_middle_grey():
    hdr = noise(2, 3, 16, 16) ** 6 * torch.tensor([1.0, 500.0])[:, None, None, None] + 1e-3
    exposed = hdr * log_average_gain(hdr)
    torch.testing.assert_close(luminance(exposed).log().mean((1, 2, 3)).exp(), torch.full((2,), 0.18))
    assert float(log_average_gain(torch.zeros(1, 3, 4, 4))) == 1.0


def test_black_pixels_can_be_left_out_of_the_log_average():
    hdr = noise(1, 3, 16, 16) + 0.1
    half = torch.cat((hdr, torch.zeros_like(hdr)), dim=3)
    torch.testing.assert_close(log_average_gain(half, lit_only=True), log_average_gain(hdr))
    assert float(log_average_gain(half)) > 100 * float(log_average_gain(hdr))
    assert float(log_average_gain(torch.zeros(1, 3, 4, 4), lit_only=True)) == 1.0


def test_the_percentile_lands_on_its_target():
    hdr = noise(2, 3, 20, 20, seed=1) * torch.tensor([3.0, 0.01])[:, None, None, None]
    exposed = luminance(hdr * percentile_gain(hdr, 90.0, 0.8)).flatten(1)
    assert ((exposed > 0.8).sum(1) == 40).all()
    assert float(percentile_gain(torch.zeros(1, 3, 4, 4))) == 1.0


def test_the_display_curve_leaves_a_photograph_alone():
    photo = noise(1, 3, 8, 8) * 0.8
    assert torch.equal(tone_map(photo), photo)


def test_the_display_curve_rolls_off_smoothly_keeps_hue_and_ends_in_white():
    ramp = torch.linspace(0, 50, 20001)[None, None, None, :] * torch.tensor([1.0, 0.5, 0.25])[None, :, None, None]
    shown = tone_map(ramp)
    assert shown.min() >= 0
    assert shown.max() <= 1
    largest = shown[0, 0, 0]
    assert (largest[1:] >= largest[:-1]).all()
    assert (largest[1:] - largest[:-1]).max() < 0.0026  # no jump where it sets in: the slope is never above 1
    assert tone_map(torch.full((1, 3, 1, 1), 1e5)).min() > 0.99
    order = shown[0, :, 0, 1:]
    assert (order[0] >= order[1]).all()
    assert (order[1] >= order[2]).all()


def test_the_display_curve_has_a_gradient():
    values = torch.tensor([0.0, 0.5, 0.8, 3.0]).expand(1, 3, 1, 4).clone().requires_grad_()
    tone_map(values).sum().backward()
    assert values.grad.isfinite().all()


def test_statistics_of_the_same_picture_change_nothing():
    picture = noise(1, 3, 16, 16) * 0.9 + 0.05
    torch.testing.assert_close(transfer_statistics(picture, picture), picture, atol=1e-3, rtol=1e-3)


def test_statistics_bring_a_tinted_dark_picture_back():
    picture = noise(1, 3, 32, 32, seed=2) * 0.5 + 0.25
    dark = picture * 0.2
    torch.testing.assert_close(transfer_statistics(dark, picture), picture, atol=5e-3, rtol=5e-3)
    tinted = picture * torch.tensor([0.9, 0.5, 0.3])[None, :, None, None]
    restored = transfer_statistics(tinted, picture)
    torch.testing.assert_close(restored.mean((2, 3)), picture.mean((2, 3)), atol=0.03, rtol=0)


def test_statistics_of_a_flat_picture_are_still_numbers():
    for value, size in ((0.3, 4), (0.0, 4), (0.3, 1)):
        found = transfer_statistics(torch.full((1, 3, size, size), value), noise(1, 3, 8, 8))
        assert (found.amax((2, 3)) - found.amin((2, 3))).max() < 1e-3
