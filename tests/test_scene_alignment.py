"""Fits of scale, and of scale and shift: right, weighted, batched, and differentiable where nothing is known."""

import pytest
import torch

from unrender.scene.alignment import fit_scale, fit_scale_shift


def pictures(seed: int, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 2, 5, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_scale_and_shift_of_each_picture_are_found():
    x, s, t = pictures(0), torch.tensor([2.0, -0.5, 3.0]).double(), torch.tensor([1.0, 0.0, -4.0]).double()
    s, t = s[:, None, None, None], t[:, None, None, None]
    scale, shift = fit_scale_shift(x, s * x + t, torch.ones_like(x))
    torch.testing.assert_close((scale, shift), (s, t))
    torch.testing.assert_close(fit_scale(x, s * x), s)


def test_both_are_the_weighted_least_squares():
    x, y, w = pictures(0, 1), pictures(1, 1), pictures(2, 1)
    root = w.flatten().sqrt()
    design = torch.stack((x.flatten(), torch.ones_like(root)), dim=1) * root[:, None]
    expected = torch.linalg.lstsq(design, (y.flatten() * root)[:, None]).solution[:, 0]
    torch.testing.assert_close(torch.stack(fit_scale_shift(x, y, w)).flatten(), expected)
    alone = torch.linalg.lstsq(design[:, :1], (y.flatten() * root)[:, None]).solution[:, 0]
    torch.testing.assert_close(fit_scale(x, y, w).flatten(), alone)


def test_what_weighs_nothing_says_nothing():
    x, y, w = pictures(0), pictures(1), (pictures(2) > 0.5).double()
    other = torch.where(w > 0, y, 1e6)
    torch.testing.assert_close(fit_scale_shift(x, other, w), fit_scale_shift(x, y, w))
    torch.testing.assert_close(fit_scale(x, other, w), fit_scale(x, y, w))


def test_other_dimensions_are_fitted_by_themselves():
    x, y = pictures(0), pictures(1)
    each = fit_scale(x, y, dims=(2, 3))
    assert each.shape == (3, 2, 1, 1)
    torch.testing.assert_close(each[:, :1], fit_scale(x[:, :1], y[:, :1]))


@pytest.mark.parametrize("level", [0.0, 0.1, 1e4])
def test_a_flat_picture_keeps_its_scale_and_takes_the_mean(level):
    x, y = torch.full((1, 1, 5, 7), level), pictures(1, 1)[:, :1].float()
    scale, shift = fit_scale_shift(x, y, torch.ones_like(x))
    assert float(scale) == 1
    torch.testing.assert_close(scale * x + shift, y.mean().expand_as(x), rtol=1e-3, atol=1e-3)
    assert float(fit_scale_shift(x, y, torch.ones_like(x), ridge=1e-6)[0].abs()) < 0.1


def test_a_black_picture_keeps_its_scale():
    assert float(fit_scale(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4))) == 1


@pytest.mark.parametrize("ridge", [0.0, 1e-6])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_gradients_are_finite_where_nothing_can_be_fitted(ridge, level):
    x = torch.full((1, 1, 5, 7), level, requires_grad=True)
    y = pictures(1, 1)[:, :1].float()
    for weight in (torch.ones_like(y), torch.zeros_like(y)):
        scale, shift = fit_scale_shift(x, y, weight, ridge=ridge)
        (scale * x + shift + fit_scale(x, y, weight)).sum().backward()
        assert x.grad is not None
        assert bool(x.grad.isfinite().all())
