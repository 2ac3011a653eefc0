"""From given figures to verdicts, in closed form."""

import math
from dataclasses import replace

import pytest

from unrender.evaluate.claims.catalogue import CLAIMS
from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.judging import Answer, Below, Faster, TrainedAlike, Verdict, judge
from unrender.evaluate.claims.stills import contestants as who
from unrender.evaluate.claims.stills.claims import ABSREL
from unrender.evaluate.claims.training import TRAINING
from unrender.evaluate.forward import PSNR_SRGB
from unrender.evaluate.report import Figure

FIRST, SECOND = who.ZEROS, who.ENSEMBLE


def answer(values: list[float], figure: Figure = ABSREL, seconds: tuple[float, ...] = (1.0,), trained=()) -> Answer:
    return Answer([{figure: value} for value in values], seconds, trained)


def held(first: list[float], second: list[float], figure: Figure = ABSREL, factor: float = 1.0) -> Verdict:
    evidence = {FIRST: answer(first, figure), SECOND: answer(second, figure)}
    return Below(FIRST, SECOND, figure, factor)(evidence)


@pytest.mark.parametrize(
    ("first", "second", "factor", "word"),
    [
        ([1.0, 1.1], [2.0, 2.1], 1.0, "replays"),
        ([2.0, 2.1], [1.0, 1.1], 1.0, "does not replay"),
        ([1.0, 2.0], [2.0, 1.1], 1.0, "undecided"),  # margins 1 and -0.9: their mean is within chance
        ([1.0, 1.0], [1.0, 1.0], 1.0, "undecided"),  # equal is not better
        ([1.05, 1.05], [1.0, 1.0], 1.1, "replays"),  # but nearly equal
        ([1.2, 1.2], [1.0, 1.0], 1.1, "does not replay"),
        ([1.0], [9.0], 1.0, "undecided"),  # one picture says nothing of chance
        ([1.0, math.nan, 1.1], [2.0, 5.0, 2.1], 1.0, "replays"),  # a picture without a figure is left out
        ([math.nan], [math.nan], 1.0, "not measured"),
    ],
)
def test_errors_are_held_picture_by_picture(first, second, factor, word):
    assert held(first, second, factor=factor).word == word


def test_of_psnr_more_is_better_and_a_factor_is_one_of_its_root_mean_square():
    # 20 log10(1.1) is 0.83 dB.
    assert held([20.0, 21.0], [19.0, 20.0], PSNR_SRGB).word == "replays"
    assert held([20.0, 21.0], [20.5, 21.5], PSNR_SRGB).word == "does not replay"
    assert held([20.0, 21.0], [20.5, 21.5], PSNR_SRGB, 1.1).word == "replays"
    assert held([20.0, 21.0], [21.0, 22.0], PSNR_SRGB, 1.1).word == "does not replay"


def test_a_verdict_says_the_means_the_margin_and_its_chance():
    # Margins 1 and 2: mean 1.5, standard error 0.5.
    why = held([1.0, 1.0], [2.0, 3.0]).why
    assert why == "depth AbsRel (planar Z) 1 against 2.5 %, margin +1.5 ± 1 on 2"


def test_figures_of_other_pixels_are_told_apart():
    subject = replace(PSNR_SRGB, mask="subject")
    assert Below(FIRST, SECOND, PSNR_SRGB).words.startswith("rgb PSNR's RMSE: ")
    assert Below(FIRST, SECOND, subject).words.startswith("rgb PSNR's RMSE of subject: ")
    assert held([20.0, 21.0], [19.0, 20.0], subject).why.startswith("rgb PSNR of subject (sRGB) 20.5 against 19.5 dB")


def test_speed_is_a_ratio_of_medians():
    evidence = {
        FIRST: answer([1.0], seconds=(9.0, 0.1, 0.1)),
        SECOND: answer([1.0], seconds=(20.0, 20.0, 90.0)),
    }
    assert Faster(FIRST, SECOND, 200)(evidence) == Verdict("replays", "200 times faster")
    assert Faster(FIRST, SECOND, 201)(evidence).word == "does not replay"


def test_models_of_different_training_are_not_compared():
    def rule(*steps: int | None) -> Verdict:
        evidence = {one: answer([1.0], trained=(n,)) for one, n in zip((FIRST, SECOND), steps, strict=True)}
        return TrainedAlike((FIRST, SECOND))(evidence)

    assert rule(300, 300) == Verdict("replays", "trained for 300, 300 steps")
    assert rule(300, None) == Verdict("replays", "trained for 300, ? steps")
    assert rule(300, 200).word == "not measured"


def test_a_claim_is_as_weak_as_its_weakest_part():
    evidence = {FIRST: answer([1.0, 1.1]), SECOND: answer([2.0, 2.1])}
    good, bad = Below(FIRST, SECOND, ABSREL), Below(SECOND, FIRST, ABSREL)
    assert judge([good], evidence).word == "replays"
    verdict = judge([good, bad], evidence)
    assert verdict.word == "does not replay"
    assert verdict.why.startswith("replays: depth")
    assert "; does not replay: depth" in verdict.why


# The catalogue.


def test_claims_are_told_apart_and_every_folder_has_a_command():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    names = {name for claim in CLAIMS for one in claim.contestants for name in one.models}
    assert names == {*TRAINING, "deferred:split_sum", "deferred:screen_space"}


def as_claimed(claim) -> dict[Contestant, Answer]:
    """Evidence in which everything is as the claim says: each second ten times worse, and a thousand times slower."""
    levels: dict[Contestant, float] = dict.fromkeys(claim.contestants, 1.0)
    for rule in claim.rules:
        if isinstance(rule, Below | Faster):
            levels[rule.second] = 10 * levels[rule.first]
    figures = {rule.figure for rule in claim.rules if isinstance(rule, Below)}

    def value(figure: Figure, level: float) -> float:
        return 60 - 20 * math.log10(level) if figure.higher_is_better else level

    return {
        one: Answer([{f: value(f, level) for f in figures}] * 2, [level**3] * 2, (300,))
        for one, level in levels.items()
    }


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_claim_replays_where_all_is_as_it_says(claim):
    assert judge(claim.rules, as_claimed(claim)).word == "replays"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_no_claim_replays_where_all_are_alike_and_clearly_bad(claim):
    figures = {rule.figure for rule in claim.rules if isinstance(rule, Below)}
    alike = Answer([dict.fromkeys(figures, 5.0)] * 2, [1.0, 1.0], (300,))
    word = judge(claim.rules, dict.fromkeys(claim.contestants, alike)).word
    equality = claim.id in ("single-step-inverse", "single-step-forward")  # which alike answers have
    assert (word == "replays") == equality
