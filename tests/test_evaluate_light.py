"""The light protocol: right answers score best, and trivial ones stand beside."""

import math

import pytest
import torch

from forward_scenes import sphere, world
from unrender.evaluate import evaluate_light
from unrender.evaluate.light import ANGLE, SI_RMSE, score_light
from unrender.evaluate.scenes import make_scene
from unrender.forward import DeferredRenderer
from unrender.scene.environment import EnvironmentMap


def test_the_truth_scores_best_whatever_its_strength_and_colour():
    truth = world("sunset", 32)
    tint = torch.tensor([0.5, 2.0, 3.0])[None, :, None, None]
    right = score_light(truth, truth)
    assert right[ANGLE] < 0.1
    assert right[SI_RMSE] < 1e-4
    assert score_light(EnvironmentMap(truth.radiance * tint), truth)[SI_RMSE] < 1e-4
    turned = score_light(truth.rotated(90), truth)
    assert turned[ANGLE] > 10
    assert turned[SI_RMSE] > 0.2
    assert math.isnan(score_light(EnvironmentMap(torch.ones(1, 3, 8, 16)), truth)[ANGLE])


@pytest.mark.parametrize("name", ["sunset", "studio"])
def test_a_sphere_tells_its_light_better_than_trivial_answers(name: str):
    truth, light = sphere(48, (0.7, 0.6, 0.5), 0.4, 0.0), world(name, 32)
    lit = truth.with_maps(rgb=DeferredRenderer(background=False)(truth, light).surface)
    done = []
    report = evaluate_light(lambda *_: truth, [make_scene(lit, light)] * 2, done.append)
    answers = report.answers
    assert report.pictures == 2
    assert done == [1, 2]
    assert list(answers) == ["model", "from above", "even", "true maps"]
    assert answers["model"][SI_RMSE] < min(answers["even"][SI_RMSE], answers["from above"][SI_RMSE])
    assert answers["model"][ANGLE] < 35
