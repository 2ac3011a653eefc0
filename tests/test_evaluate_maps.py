"""A protocol that a perfect answer wins and a trivial one does not."""

import pytest
import torch

from unrender.errors import UserError
from unrender.evaluate.maps import FIGURES, evaluate_maps, table
from unrender.scene.gbuffer import GBuffer


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
