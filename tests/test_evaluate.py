"""Metrics against closed forms, and a protocol that a perfect answer wins and a trivial one does not."""

import math

import pytest
import torch

from unrender.errors import UserError
from unrender.evaluate import metrics
from unrender.evaluate.maps import FIGURES, evaluate_maps, table
from unrender.scene.gbuffer import GBuffer

ALL = torch.ones(1, 8, 8, dtype=torch.bool)


def test_psnr_of_a_known_error():
    zero = torch.zeros(3, 8, 8)
    assert metrics.psnr(zero + 0.1, zero, ALL) == pytest.approx(20)
    assert metrics.psnr(zero, zero, ALL) == math.inf
    assert metrics.rmse(zero + 0.25, zero, ALL) == pytest.approx(0.25)


def test_only_the_mask_counts():
    half = ALL.clone()
    half[..., 4:] = False
    wrong_outside = torch.zeros(1, 8, 8)
    wrong_outside[..., 4:] = 9
    assert metrics.rmse(wrong_outside, torch.zeros(1, 8, 8), half) == 0


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 25.0, 90.0, 180.0])
def test_angles(degrees):
    a = torch.tensor([0.0, 0.0, 2.0])[:, None, None].expand(3, 8, 8)
    radians = math.radians(degrees)
    b = torch.tensor([math.sin(radians), 0.0, math.cos(radians)])[:, None, None].expand(3, 8, 8)
    angles = metrics.angular_errors(b, a, ALL)
    assert angles.shape == (64,)
    assert float(angles.mean()) == pytest.approx(degrees, abs=1e-5)


def test_no_normal_at_all_counts_as_a_right_angle():
    a = torch.tensor([0.0, 0.0, 1.0])[:, None, None].expand(3, 8, 8)
    assert float(metrics.angular_errors(torch.zeros(3, 8, 8), a, ALL).mean()) == 90


def test_depth_alignment_undoes_scale_and_shift():
    depth = 1 + torch.rand(1, 8, 8)
    aligned = metrics.align_depth(0.1 * depth + 4, depth, ALL)
    torch.testing.assert_close(aligned, depth, atol=1e-4, rtol=1e-4)
    assert metrics.absrel(1.2 * depth, depth, ALL) == pytest.approx(0.2, rel=1e-5)
    assert metrics.delta1(1.2 * depth, depth, ALL) == 1
    assert metrics.delta1(1.3 * depth, depth, ALL) == 0
    flat = metrics.align_depth(torch.ones(1, 8, 8), depth, ALL)
    torch.testing.assert_close(flat, depth.mean().expand(1, 8, 8), atol=1e-4, rtol=1e-4)


def truth(count: int = 2) -> GBuffer:
    g = torch.Generator().manual_seed(4)
    rand = torch.rand(count, 3, 16, 16, generator=g)
    normal = torch.nn.functional.normalize(torch.randn(count, 3, 16, 16, generator=g), dim=1)
    depth = 2 + torch.rand(count, 1, 16, 16, generator=g)
    mask = torch.ones(count, 1, 16, 16)
    mask[..., :3] = 0
    return GBuffer(
        rgb=rand,
        base_color=rand.flip(2),
        normal=normal * mask,
        depth=depth.masked_fill(mask == 0, torch.inf),
        roughness=rand[:, :1],
        metallic=rand[:, 1:2].round(),
        mask=mask,
        depth_kind="metric",
    )


def test_a_perfect_model_scores_perfectly_and_the_trivial_answer_does_not():
    truths = truth()
    answers = iter(truths.frame(i) for i in range(2))
    report = evaluate_maps(lambda photo: next(answers), [truths])
    assert report.pictures == 2
    for figure in FIGURES:
        model, trivial = report.answers["model"][figure], report.answers["trivial"][figure]
        assert model > trivial if figure.more_is_better else model < trivial, figure
    assert report.answers["model"][FIGURES[2]] == pytest.approx(0, abs=1e-3)
    assert report.answers["model"][FIGURES[4]] == pytest.approx(0, abs=1e-3)
    text = table(report)
    assert "base_color  PSNR (sRGB)" in text
    assert "nan" not in text


def test_depth_that_is_missing_counts_as_wrong():
    truths = truth(1)
    holes = truths.maps["depth"].clone()
    holes[..., 8:] = torch.inf
    report = evaluate_maps(lambda photo: truths.with_maps(depth=holes), [truths])
    assert report.answers["model"][FIGURES[4]] > 1


def test_nothing_to_evaluate():
    with pytest.raises(UserError, match="no pictures"):
        evaluate_maps(lambda photo: truth(), [])
