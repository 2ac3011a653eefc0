"""Metrics against closed forms and other implementations."""

import math

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from unrender.errors import UserError
from unrender.evaluate import metrics

ALL = torch.ones(1, 24, 24, dtype=torch.bool)
NONE = torch.zeros_like(ALL)
LEFT = ALL.clone()
LEFT[..., 12:] = False


def noise(seed: int, channels: int = 3) -> Tensor:
    return torch.rand(channels, 24, 24, generator=torch.Generator().manual_seed(seed))


def spoiled(picture: Tensor) -> Tensor:
    """`picture` with nonsense in its right half."""
    return torch.where(LEFT, picture, 9.0)


def test_psnr_of_a_known_error():
    zero = torch.zeros(3, 24, 24)
    assert metrics.psnr(zero + 0.1, zero, ALL) == pytest.approx(20)
    assert metrics.psnr(zero, zero, ALL) == math.inf
    assert metrics.rmse(zero + 0.25, zero, ALL) == pytest.approx(0.25)


def test_a_scaled_picture_has_no_scale_invariant_error():
    picture = noise(1)
    tinted = picture * torch.tensor([0.5, 2.0, 3.0])[:, None, None]
    assert metrics.si_rmse(0.3 * picture, picture, ALL) == pytest.approx(0, abs=1e-6)
    assert metrics.si_psnr(0.3 * picture, picture, ALL) > 100
    assert metrics.si_rmse(tinted, picture, ALL) > 0.1
    assert metrics.si_rmse(tinted, picture, ALL, per_channel=True) == pytest.approx(0, abs=1e-6)


def test_the_scale_is_that_of_least_squares():
    # 1 for 1 and for 3: the scale is 2, and the squared errors are 1 and 1.
    target = torch.ones(1, 24, 24)
    target[..., ::2] = 3
    ones = torch.ones_like(target)
    torch.testing.assert_close(metrics.align_scale(ones, target, ALL), 2 * ones)
    assert metrics.si_mse(ones, target, ALL) == pytest.approx(1)
    assert metrics.si_rmse(ones, target, ALL) == pytest.approx(1)
    assert metrics.si_psnr(ones / 4, target / 4, ALL) == pytest.approx(20 * math.log10(4))
    assert metrics.si_mse(torch.zeros_like(target), target, ALL) == pytest.approx(5)


def test_local_scales_forgive_what_one_scale_does_not():
    picture = noise(2)
    assert metrics.lmse(0.7 * picture, picture, ALL) == pytest.approx(0, abs=1e-10)
    assert metrics.lmse(torch.zeros_like(picture), picture, ALL) == 1
    # Three windows, of which only the middle one sees both scales.
    wide = picture.repeat(1, 1, 2)
    halves = torch.cat((picture, 4 * picture), dim=-1)
    across = metrics.si_mse(halves[..., 12:36], wide[..., 12:36], ALL) / float(picture.square().mean())
    assert metrics.lmse(halves, wide, ALL.repeat(1, 1, 2), window=24) == pytest.approx(across / 3, rel=1e-5)
    with pytest.raises(UserError, match="expected smaller ones"):
        metrics.lmse(picture, picture, ALL, window=25)


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(channels):
    a, b = noise(3, channels), (noise(3, channels) + 0.3 * noise(4, channels)).clamp(0, 1)
    other = structural_similarity(
        a.double().numpy(),
        b.double().numpy(),
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=0,
    )
    assert metrics.ssim(a, b, ALL) == pytest.approx(other, abs=1e-9)


def test_ssim_closed_forms():
    a, b = torch.full((3, 24, 24), 0.25), torch.full((3, 24, 24), 0.75)
    assert metrics.ssim(noise(5), noise(5), ALL) == pytest.approx(1)
    # Constant pictures have no structure: only the term of luminance is left.
    assert metrics.ssim(a, b, ALL) == pytest.approx((2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4), rel=1e-6)
    # Inside a mask too: its windows do not see across.
    assert metrics.ssim(spoiled(a), b, LEFT) == pytest.approx(metrics.ssim(a, b, ALL), rel=1e-6)
    with pytest.raises(UserError, match="at least 11"):
        metrics.ssim(a[..., :10], b[..., :10], ALL[..., :10])


def test_a_mask_leaves_the_bad_half_out():
    a, b = noise(6), noise(7)
    for measure in (metrics.psnr, metrics.rmse, metrics.ssim, metrics.si_psnr, metrics.si_rmse, metrics.lmse):
        assert measure(spoiled(a), b, LEFT) == pytest.approx(measure(a, b, LEFT), rel=1e-6), measure
        assert measure(spoiled(a), b, ALL) != pytest.approx(measure(a, b, ALL), rel=1e-2), measure
    assert metrics.angles(spoiled(a), b, LEFT) == metrics.angles(a, b, LEFT)
    assert metrics.absrel(spoiled(a)[:1], b[:1], LEFT) == metrics.absrel(a[:1], b[:1], LEFT)


def test_an_empty_mask_is_not_a_number():
    a, b = noise(8), noise(9)
    for measure in (metrics.psnr, metrics.rmse, metrics.ssim, metrics.si_psnr, metrics.si_rmse, metrics.lmse):
        assert math.isnan(measure(a, b, NONE)), measure
    assert all(math.isnan(value) for value in vars(metrics.angles(a, b, NONE)).values())
    aligned = metrics.align_depth(a[:1], b[:1], NONE)
    assert math.isnan(metrics.absrel(aligned, b[:1], NONE))
    assert math.isnan(metrics.delta1(aligned, b[:1], NONE))


def tilted(degrees: float | Tensor) -> Tensor:
    """Normals of a plane that is turned about the vertical axis."""
    radians = torch.as_tensor(degrees, dtype=torch.float64).deg2rad().expand(24, 24)
    return torch.stack((radians.sin(), torch.zeros_like(radians), radians.cos()))


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 25.0, 90.0, 180.0])
def test_angles(degrees):
    errors = metrics.angular_errors(tilted(degrees), 2 * tilted(0), ALL)
    assert errors.shape == (576,)
    assert float(errors.mean()) == pytest.approx(degrees, abs=1e-5)


def test_angles_in_short():
    # A quarter of the columns each: mean 21.25, median between 15 and 25, and one, two and three quarters within.
    degrees = torch.tensor([5.0, 15.0, 25.0, 40.0]).repeat_interleave(6).expand(24, 24)
    assert vars(metrics.angles(tilted(degrees), tilted(0), ALL)) == pytest.approx(
        {"mean": 21.25, "median": 20, "within_11": 0.25, "within_22": 0.5, "within_30": 0.75}
    )


def test_no_normal_at_all_counts_as_a_right_angle():
    assert float(metrics.angular_errors(torch.zeros(3, 24, 24), tilted(0), ALL).mean()) == 90


def test_depth_alignment_undoes_scale_and_shift():
    depth = 1 + noise(10, 1)
    aligned = metrics.align_depth(0.1 * depth + 4, depth, ALL)
    torch.testing.assert_close(aligned, depth, atol=1e-4, rtol=1e-4)
    assert metrics.absrel(1.2 * depth, depth, ALL) == pytest.approx(0.2, rel=1e-5)
    assert metrics.delta1(1.2 * depth, depth, ALL) == 1
    assert metrics.delta1(1.3 * depth, depth, ALL) == 0
    assert metrics.rmse(depth + 0.5, depth, ALL) == pytest.approx(0.5, rel=1e-5)
    flat = metrics.align_depth(torch.ones(1, 24, 24), depth, ALL)
    torch.testing.assert_close(flat, depth.mean().expand(1, 24, 24), atol=1e-4, rtol=1e-4)
