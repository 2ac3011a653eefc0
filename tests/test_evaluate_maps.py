"""A protocol that a perfect answer wins and a trivial one does not."""

import math

import pytest
import torch

from unrender.errors import UserError
from unrender.evaluate.maps import FIGURES, evaluate_maps, score
from unrender.evaluate.report import Figure, table
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


def find(map_name: str, name: str) -> Figure:
    return next(figure for figure in FIGURES if (figure.map, figure.name) == (map_name, name))


def test_a_perfect_model_scores_perfectly_and_the_trivial_answer_does_not():
    truths = truth()
    answers = iter(truths.frame(i) for i in range(2))
    report = evaluate_maps(lambda photo: next(answers), [truths])
    assert report.pictures == 2
    assert report.figures == FIGURES
    for figure in FIGURES:
        model, trivial = report.answers["model"][figure], report.answers["trivial"][figure]
        assert model > trivial if figure.higher_is_better else model < trivial, figure
    model = report.answers["model"]
    assert model[find("normal", "mean angle")] == pytest.approx(0, abs=1e-3)
    assert model[find("depth", "AbsRel")] == pytest.approx(0, abs=1e-3)
    assert model[find("base_color", "SSIM")] == pytest.approx(1)
    assert "nan" not in table(report)


def test_a_dimmed_base_color_is_right_up_to_its_scale():
    truths = truth(1)
    dimmed = truths.with_maps(base_color=0.5 * truths.maps["base_color"])
    scores = score(dimmed, truths)
    by_alignment = {figure.alignment: value for figure, value in scores.items() if figure.name == "si-PSNR"}
    assert min(by_alignment["scale"], by_alignment["3 scales"]) > 100
    linear = next(figure for figure in scores if (figure.name, figure.space) == ("PSNR", "linear"))
    inside = truths.maps["base_color"][..., 3:]
    assert scores[linear] == pytest.approx(-10 * math.log10(0.25 * float(inside.square().mean())), rel=1e-5)


def test_depth_that_is_missing_counts_as_wrong():
    truths = truth(1)
    holes = truths.maps["depth"].clone()
    holes[..., 8:] = torch.inf
    report = evaluate_maps(lambda photo: truths.with_maps(depth=holes), [truths])
    assert report.answers["model"][find("depth", "AbsRel")] > 1


def test_a_still_without_surface_is_left_out():
    truths = truth(2)
    mask, depth = truths.maps["mask"].clone(), truths.maps["depth"].clone()
    mask[1], depth[1] = 0, torch.inf
    answers = [truths.frame(0), truths.frame(0)]
    report = evaluate_maps(lambda photo: answers.pop(), [truths.with_maps(mask=mask, depth=depth)])
    alone = evaluate_maps(lambda photo: truths.frame(0), [truths.frame(0)])
    for figure in FIGURES:
        if figure.mask == "surface":
            assert report.answers["model"][figure] == alone.answers["model"][figure], figure


def test_nothing_to_evaluate():
    with pytest.raises(UserError, match="no pictures"):
        evaluate_maps(lambda photo: truth(), [])
    with pytest.raises(UserError, match="no picture has any surface"):
        evaluate_maps(lambda photo: truth(), [truth().with_maps(mask=torch.zeros(2, 1, 16, 16))])
