"""The `maps` protocol: an inverse renderer on synthetic stills with ground truth, beside trivial answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.evaluate import metrics
from unrender.evaluate.metrics.lpips import Lpips
from unrender.evaluate.report import Figure, Report, Scores, mean_scores
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

Inverse = Callable[[Frames], GBuffer]

PROTOCOL = (
    "mean over pictures of each picture's figure; photo clipped to [0, 1]; base color clipped to [0, 1], then encoded "
    "where the space is sRGB; mask `surface`: pixels whose surface coverage is above 0.9; alignments by least squares "
    "over the mask: one scale, a scale for each channel, or scale and shift; depth and its RMSE in the truth's unit"
)

FIGURES = (
    Figure("base_color", "PSNR", "dB", "sRGB", "surface", higher_is_better=True),
    Figure("base_color", "PSNR", "dB", "linear", "surface", higher_is_better=True),
    Figure("base_color", "SSIM", "", "sRGB", "surface", higher_is_better=True),
    Figure("base_color", "si-PSNR", "dB", "linear", "surface", "scale", higher_is_better=True),
    Figure("base_color", "si-PSNR", "dB", "linear", "surface", "3 scales", higher_is_better=True),
    Figure("normal", "mean angle", "deg", "camera axes", "surface"),
    Figure("normal", "median angle", "deg", "camera axes", "surface"),
    Figure("normal", "within 11.25 deg", "%", "camera axes", "surface", higher_is_better=True),
    Figure("normal", "within 22.5 deg", "%", "camera axes", "surface", higher_is_better=True),
    Figure("normal", "within 30 deg", "%", "camera axes", "surface", higher_is_better=True),
    Figure("depth", "AbsRel", "%", "planar Z", "surface", "scale + shift"),
    Figure("depth", "delta < 1.25", "%", "planar Z", "surface", "scale + shift", higher_is_better=True),
    Figure("depth", "RMSE", "", "planar Z", "surface", "scale + shift"),
    Figure("roughness", "RMSE", "", "perceptual", "surface"),
    Figure("metallic", "RMSE", "", "value", "surface"),
    Figure("mask", "RMSE", "", "coverage", "all"),
)
LPIPS = Figure("base_color", "LPIPS", "", "sRGB", "surface, else black")


def evaluate_maps(
    inverse: Inverse,
    truths: Iterable[GBuffer],
    report: Callable[[int], None] | None = None,
    lpips: Lpips | None = None,
) -> Report:
    """Measures `inverse` on stills with ground truth (with `rgb`, `mask` and metric depth), beside trivial answers.

    The trivial answers: base color = the photo; normal = the mean normal of the whole set, and, stronger, the true mean
    normal of each picture; depth = a vertical ramp, far at the top; roughness and metallic = the mean of the set.

    Args:
        report: called with the number of pictures done.
        lpips: measures base color too, where given.

    Raises:
        UserError: there are no pictures, or none with any surface.
    """
    stills = [still for truth in truths for still in _stills(truth)]
    if not stills:
        raise UserError("no pictures to evaluate on; give a folder that `unrender synth` has written")
    average = _average_answer(stills)
    scores: dict[str, list[Scores]] = {"model": [], "trivial": [], "trivial, own mean normal": []}
    for done, truth in enumerate(stills, start=1):
        photo = Frames(truth.maps["rgb"].clamp(0, 1))
        trivial = _trivial(truth, average)
        scores["model"].append(score(inverse(photo), truth, lpips))
        scores["trivial"].append(score(trivial, truth, lpips))
        scores["trivial, own mean normal"].append(score(_with_own_mean_normal(trivial, truth), truth, lpips))
        if report is not None:
            report(done)
    return Report(PROTOCOL, len(stills), {answer: mean_scores(rows) for answer, rows in scores.items()})


def score(guess: GBuffer, truth: GBuffer, lpips: Lpips | None = None) -> Scores:
    """The figures of one still; only of maps that the guess has. NaN where no pixel is surface."""
    inside = truth.maps["mask"][0] > 0.9
    scores: Scores = {}
    for name, predicted in guess.maps.items():
        if name in _MEASURES and name in truth.maps:
            figures = (figure for figure in FIGURES if figure.map == name)
            scores |= zip(figures, _MEASURES[name](predicted[0], truth.maps[name][0], inside), strict=True)
        if name == LPIPS.map and lpips is not None:
            scores[replace(LPIPS, name=lpips.name)] = lpips(
                _encoded(predicted[0]), _encoded(truth.maps[name][0]), inside
            )
    return scores


def _stills(truth: GBuffer) -> Iterator[GBuffer]:
    truth.require("rgb", "mask", "base_color", "normal", "depth", "roughness", "metallic", by="evaluate maps")
    return (truth.frame(index) for index in range(len(truth)))


def _colors(predicted: Tensor, target: Tensor, inside: Tensor) -> list[float]:
    linear = predicted.clamp(0, 1), target.clamp(0, 1), inside
    encoded = _encoded(predicted), _encoded(target), inside
    return [
        metrics.psnr(*encoded),
        metrics.psnr(*linear),
        metrics.ssim(*encoded),
        metrics.si_psnr(*linear),
        metrics.si_psnr(*linear, per_channel=True),
    ]


def _encoded(linear: Tensor) -> Tensor:
    return linear_to_srgb(linear.clamp(0, 1))


def _normals(predicted: Tensor, target: Tensor, inside: Tensor) -> list[float]:
    angles = metrics.angles(predicted, target, inside & (target.norm(dim=0, keepdim=True) > 0.5))
    return [angles.mean, angles.median, 100 * angles.within_11, 100 * angles.within_22, 100 * angles.within_30]


def _depths(predicted: Tensor, target: Tensor, inside: Tensor) -> list[float]:
    inside = inside & target.isfinite()
    # Surface that the model took for background has no depth; it gets the farthest predicted depth, which is an error.
    farthest = predicted[predicted.isfinite()].max() if predicted.isfinite().any() else torch.tensor(1.0)
    aligned = metrics.align_depth(torch.where(predicted.isfinite(), predicted, farthest), target, inside)
    compared = aligned, target, inside
    return [100 * metrics.absrel(*compared), 100 * metrics.delta1(*compared), metrics.rmse(*compared)]


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
    # A still without any surface has no means, and no figures to compare them by.
    stills = [still for still in stills if (still.maps["mask"] > 0.9).any()]
    if not stills:
        raise UserError("no picture has any surface to evaluate on; expected stills of `unrender synth`")
    normals = torch.stack([mean_normal(still) for still in stills]).mean(0)
    means = {
        name: fmean(float(still.maps[name][still.maps["mask"] > 0.9].mean()) for still in stills)
        for name in ("roughness", "metallic")
    }
    return _Average(torch.nn.functional.normalize(normals, dim=0), means["roughness"], means["metallic"])


def mean_normal(still: GBuffer) -> Tensor:
    """The mean direction (3,) of the surfaces of a still, unit, camera axes."""
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
    return trivial.with_maps(normal=mean_normal(truth)[None, :, None, None].expand(1, 3, *truth.size))
