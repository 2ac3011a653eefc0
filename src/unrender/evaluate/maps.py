"""The `maps` protocol: an inverse renderer on synthetic stills of known truth, beside answers anyone could give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.evaluate import metrics
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

Inverse = Callable[[Frames], GBuffer]

PROTOCOL = (
    "mean over pictures of each picture's figure; pixels whose surface coverage is above 0.9; photo clipped to [0, 1]; "
    "base color: PSNR of sRGB-encoded values, no alignment, and of linear values; normal: mean angle; depth: AbsRel "
    "after least-squares scale and shift; roughness, metallic: RMSE, no alignment"
)


@dataclass(frozen=True)
class Figure:
    """One line of the table: what, in which unit, and whether more is better."""

    map: str
    name: str
    unit: str
    more_is_better: bool = False


FIGURES = (
    Figure("base_color", "PSNR (sRGB)", "dB", more_is_better=True),
    Figure("base_color", "PSNR (linear)", "dB", more_is_better=True),
    Figure("normal", "mean angle", "deg"),
    Figure("normal", "within 11.25 deg", "%", more_is_better=True),
    Figure("depth", "AbsRel", "%"),
    Figure("depth", "delta < 1.25", "%", more_is_better=True),
    Figure("roughness", "RMSE", ""),
    Figure("metallic", "RMSE", ""),
    Figure("mask", "RMSE", ""),
)

Scores = dict[Figure, float]


@dataclass(frozen=True)
class Report:
    """What the protocol found.

    Attributes:
        pictures: how many were measured.
        answers: name of an answer ("model", or a trivial one) to its scores.
    """

    pictures: int
    answers: dict[str, Scores]


def evaluate_maps(inverse: Inverse, truths: Iterable[GBuffer], report: Callable[[int], None] | None = None) -> Report:
    """Measures `inverse` on stills of known truth (with `rgb`, `mask` and metric depth), beside trivial answers.

    The trivial answers: base color = the photo; normal = the mean normal of the whole set, and, stronger, the true mean
    normal of each picture; depth = a vertical ramp, far at the top; roughness and metallic = the mean of the set.

    Args:
        report: called with the number of pictures done.

    Raises:
        UserError: there are no pictures.
    """
    stills = [still for truth in truths for still in _stills(truth)]
    if not stills:
        raise UserError("no pictures to evaluate on; give a folder that `unrender synth` has written")
    average = _average_answer(stills)
    scores: dict[str, list[Scores]] = {"model": [], "trivial": [], "trivial, own mean normal": []}
    for done, truth in enumerate(stills, start=1):
        photo = Frames(truth.maps["rgb"].clamp(0, 1))
        trivial = _trivial(truth, average)
        scores["model"].append(score(inverse(photo), truth))
        scores["trivial"].append(score(trivial, truth))
        scores["trivial, own mean normal"].append(score(_with_own_mean_normal(trivial, truth), truth))
        if report is not None:
            report(done)
    return Report(len(stills), {answer: _mean(rows) for answer, rows in scores.items()})


def score(guess: GBuffer, truth: GBuffer) -> Scores:
    """The figures of one still; only of maps that the guess has."""
    inside = truth.maps["mask"][0] > 0.9
    values: dict[str, list[float]] = {}
    for name, predicted in guess.maps.items():
        if name in _MEASURES and name in truth.maps:
            values[name] = _MEASURES[name](predicted[0], truth.maps[name][0], inside)
    counters = {name: iter(figures) for name, figures in values.items()}
    return {figure: next(counters[figure.map]) for figure in FIGURES if figure.map in counters}


def table(report: Report) -> str:
    """The report as lines of text: a row a figure, a column an answer, and the model's share of the trivial error."""
    names = list(report.answers)
    rows = [f"{'map':<11} {'figure':<17}" + "".join(f"{name:>26}" for name in names) + f"{'model / trivial':>18}"]
    for figure in FIGURES:
        if figure not in report.answers["model"]:
            continue
        cells = "".join(f"{report.answers[name].get(figure, math.nan):>22.3f} {figure.unit:<3}" for name in names)
        model, trivial = report.answers["model"][figure], report.answers["trivial"].get(figure, math.nan)
        if figure.more_is_better:
            beside = f"{model - trivial:+.2f} {figure.unit}"
        else:
            # A trivial answer can be right: every metallic of a small set may be the same.
            beside = f"{100 * model / trivial:.0f} %" if trivial else "-"
        rows.append(f"{figure.map:<11} {figure.name:<17}{cells}{beside:>18}")
    return "\n".join(rows)


def _stills(truth: GBuffer) -> Iterator[GBuffer]:
    truth.require("rgb", "mask", "base_color", "normal", "depth", "roughness", "metallic", by="evaluate maps")
    return (truth.frame(index) for index in range(len(truth)))


def _colors(predicted: Tensor, target: Tensor, inside: Tensor) -> list[float]:
    encoded = metrics.psnr(linear_to_srgb(predicted.clamp(0, 1)), linear_to_srgb(target.clamp(0, 1)), inside)
    return [encoded, metrics.psnr(predicted.clamp(0, 1), target.clamp(0, 1), inside)]


def _normals(predicted: Tensor, target: Tensor, inside: Tensor) -> list[float]:
    angles = metrics.angular_errors(predicted, target, inside & (target.norm(dim=0, keepdim=True) > 0.5))
    return [float(angles.mean()), 100 * float((angles < 11.25).double().mean())]


def _depths(predicted: Tensor, target: Tensor, inside: Tensor) -> list[float]:
    inside = inside & target.isfinite()
    # What the model took for background has no depth; the farthest that it gave stands in, so that it counts as wrong.
    farthest = predicted[predicted.isfinite()].max() if predicted.isfinite().any() else torch.tensor(1.0)
    aligned = metrics.align_depth(torch.where(predicted.isfinite(), predicted, farthest), target, inside)
    return [100 * metrics.absrel(aligned, target, inside), 100 * metrics.delta1(aligned, target, inside)]


def _values(predicted: Tensor, target: Tensor, inside: Tensor) -> list[float]:
    return [metrics.rmse(predicted, target, inside)]


def _masks(predicted: Tensor, target: Tensor, inside: Tensor) -> list[float]:
    return [metrics.rmse(predicted, target, torch.ones_like(inside))]


_MEASURES = {
    "base_color": _colors,
    "normal": _normals,
    "depth": _depths,
    "roughness": _values,
    "metallic": _values,
    "mask": _masks,
}


@dataclass(frozen=True)
class _Average:
    """The means of a set: a normal, a roughness, a metallic."""

    normal: Tensor
    roughness: float
    metallic: float


def _average_answer(stills: list[GBuffer]) -> _Average:
    normals = torch.stack([_mean_normal(still) for still in stills]).mean(0)
    means = {
        name: fmean(float(still.maps[name][still.maps["mask"] > 0.9].mean()) for still in stills)
        for name in ("roughness", "metallic")
    }
    return _Average(torch.nn.functional.normalize(normals, dim=0), means["roughness"], means["metallic"])


def _mean_normal(still: GBuffer) -> Tensor:
    inside = still.maps["mask"][0, 0] > 0.9
    return torch.nn.functional.normalize(still.maps["normal"][0][:, inside].mean(1), dim=0)


def _trivial(truth: GBuffer, average: _Average) -> GBuffer:
    rgb = truth.maps["rgb"]
    height, width = truth.size
    ramp = torch.linspace(2, 1, height)[None, None, :, None].expand(1, 1, height, width)
    return GBuffer(
        base_color=rgb.clamp(0, 1),
        normal=average.normal[None, :, None, None].expand_as(rgb),
        depth=ramp,
        roughness=torch.full_like(ramp, average.roughness),
        metallic=torch.full_like(ramp, average.metallic),
        mask=torch.ones_like(ramp),
    )


def _with_own_mean_normal(trivial: GBuffer, truth: GBuffer) -> GBuffer:
    return trivial.with_maps(normal=_mean_normal(truth)[None, :, None, None].expand(1, 3, *truth.size))


def _mean(rows: list[Scores]) -> Scores:
    return {figure: fmean(row[figure] for row in rows if figure in row) for figure in FIGURES if figure in rows[0]}
