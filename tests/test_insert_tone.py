"""Tone curves: the identity at first, monotone and invertible whatever their parameters."""

import pytest
import torch

from unrender.errors import UserError
from unrender.insert import tone
from unrender.insert.composite import Layers, Tones, composite
from unrender.insert.tone import BINS, ToneCurves


def drawn(count, seed, strength=2.0):
    generator = torch.Generator().manual_seed(seed)
    return ToneCurves(
        *(strength * torch.randn(count, n, generator=generator) for n in (BINS, BINS, BINS + 1)),
    )


def ramp(channels=1):
    return torch.linspace(-0.5, 3.0, 701).reshape(1, 1, 1, -1).expand(1, channels, 1, -1).contiguous()


def test_curves_begin_as_the_identity():
    x = ramp(3)
    torch.testing.assert_close(tone.apply(ToneCurves.identity(3), x), x, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_any_parameters_give_a_monotone_curve_that_is_inverted(seed):
    curves, x = drawn(3, seed), ramp(3)
    y = tone.apply(curves, x)
    assert (y.diff(dim=-1) > 0).all()
    inside = tone.apply(curves, torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2))
    torch.testing.assert_close(inside[..., 0], torch.zeros(1, 3, 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(inside[..., 1], torch.ones(1, 3, 1), atol=1e-6, rtol=0)
    doubles = ToneCurves(*(value.double() for value in curves.parameters))
    torch.testing.assert_close(tone.invert(doubles, tone.apply(doubles, x.double())), x.double(), atol=1e-7, rtol=1e-6)


def test_gradients_are_those_of_finite_differences():
    curves = ToneCurves(*(value.double().requires_grad_() for value in drawn(1, 3, 0.7).parameters))
    x = torch.tensor([-0.2, 0.11, 0.36, 0.58, 0.93, 1.4], dtype=torch.float64).reshape(1, 1, 1, -1).requires_grad_()
    torch.autograd.gradcheck(lambda x, *p: tone.apply(ToneCurves(*p), x), (x, *curves.parameters))


@pytest.mark.parametrize("exponent", [0.4, 0.5, 0.8, 1.0])
def test_a_power_is_a_curve_that_leaves_darkness_and_light_alone(exponent):
    x = torch.linspace(0, 1, 501).reshape(1, 1, 1, -1)
    y = tone.apply(ToneCurves.power(exponent, 1), x)
    torch.testing.assert_close(y[..., 10:], x[..., 10:] ** exponent, atol=0.02, rtol=0)
    assert (y.diff() > 0).all()
    assert (float(y[..., 0]), float(y[..., -1])) == (0.0, 1.0)


def test_faint_shadows_leave_open_ground_as_it_is_to_the_last_bit():
    shadow = torch.tensor([0.0, 0.25, 1.0, 1.2]).expand(1, 3, 1, 4)
    layers = Layers(torch.zeros_like(shadow), torch.zeros(1, 1, 1, 4), shadow)
    toned = layers.toned(Tones(shadow=ToneCurves.power(0.5, 3))).shadow[0, 0, 0]
    assert torch.equal(toned[2:], shadow[0, 0, 0, 2:])
    torch.testing.assert_close(toned[:2], torch.tensor([0.0, 0.5]), atol=0.02, rtol=0)


def test_a_curve_too_many_is_refused():
    with pytest.raises(UserError, match="2 tone curves for pictures of 3 channels"):
        tone.apply(ToneCurves.identity(2), torch.zeros(1, 3, 2, 2))


def test_the_composite_is_the_papers_equation_and_leaves_the_rest_alone():
    generator = torch.Generator().manual_seed(1)
    background, fg, shadow = (torch.rand(1, 3, 4, 4, generator=generator) for _ in range(3))
    alpha = torch.rand(1, 1, 4, 4, generator=generator)
    alpha[..., :2], shadow[..., :2] = 0, 1
    layers = Layers(fg * alpha, alpha, shadow)
    made = composite(background, layers)
    torch.testing.assert_close(made, (1 - alpha) * shadow * background + alpha * fg)
    assert torch.equal(made[..., :2], background[..., :2])
    assert layers.toned(Tones()) is layers


def test_tones_bend_what_is_seen_and_keep_open_ground_open():
    tones = Tones(drawn(1, 5), drawn(3, 6))
    layers = Layers(torch.full((1, 3, 1, 1), 0.2), torch.full((1, 1, 1, 1), 0.5), torch.ones(1, 3, 1, 1))
    toned = layers.toned(tones)
    expected = 0.5 * tone.apply(tones.foreground, torch.full((1, 3, 1, 1), 0.4))
    torch.testing.assert_close(toned.foreground, expected)
    torch.testing.assert_close(toned.shadow, layers.shadow, atol=1e-5, rtol=0)
    brighter = Layers(layers.foreground, layers.alpha, 1.25 * layers.shadow).toned(tones)
    torch.testing.assert_close(brighter.shadow, 1.25 * layers.shadow, atol=1e-5, rtol=0)
