"""The `pictures` protocol: pictures or clips against their targets, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.evaluate import metrics
from unrender.evaluate.metrics.frechet import frechet_distance, moments
from unrender.evaluate.metrics.inception import Inception
from unrender.evaluate.metrics.lpips import Lpips
from unrender.evaluate.report import Figure, Report, Scores, mean_scores
from unrender.files.readers import FrameReader
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames

PROTOCOL = (
    "mean over frames of each frame's figure (FID: of both sets); PSNR, si-PSNR, SSIM, LPIPS and FID of values clipped "
    "to [0, 1], RMSE and si-RMSE unclipped; sRGB-encoded where the space is sRGB; mask `alpha`: pixels where the "
    "target's alpha is above 0.9, all where it has none; alignments by least squares over the mask: one scale, or a "
    "scale for each channel"
)

FIGURES = (
    Figure("rgb", "PSNR", "dB", "sRGB", "alpha", higher_is_better=True),
    Figure("rgb", "PSNR", "dB", "linear", "alpha", higher_is_better=True),
    Figure("rgb", "SSIM", "", "sRGB", "alpha", higher_is_better=True),
    Figure("rgb", "RMSE", "", "linear", "alpha"),
    Figure("rgb", "si-PSNR", "dB", "linear", "alpha", "scale", higher_is_better=True),
    Figure("rgb", "si-RMSE", "", "linear", "alpha", "scale"),
    Figure("rgb", "si-RMSE", "", "linear", "alpha", "3 scales"),
)
LPIPS = Figure("rgb", "LPIPS", "", "sRGB", "alpha, else black")
FID = Figure("rgb", "FID", "", "sRGB", "all")


def evaluate_pictures(
    predicted: FrameReader,
    target: FrameReader,
    lpips: Lpips | None = None,
    inception: Inception | None = None,
    report: Callable[[int], None] | None = None,
) -> Report:
    """Measures frame after frame; only two frames are in memory, and the features of all where the FID is computed.

    Args:
        lpips: measures too, where given.
        inception: gives the FID of the two sets, where given.
        report: called with the number of frames done.

    Raises:
        UserError: other sizes or numbers of frames, or a clip that gives another number than it promised.
    """
    if (len(predicted), predicted.size) != (len(target), target.size):
        raise UserError(
            f"{predicted.name} has {len(predicted)} frames of {predicted.size} and {target.name} {len(target)} of "
            f"{target.size}; expected as many of the same size"
        )
    rows: list[Scores] = []
    features: tuple[list[Tensor], list[Tensor]] = ([], [])
    for guess, truth in _pairs(predicted, target):
        rows.append(score(guess, truth, lpips))
        if inception is not None:
            for kept, frame in zip(features, (guess, truth), strict=True):
                kept.append(inception.features(_encoded(frame.rgb)))
        if report is not None:
            report(len(rows))
    scores = mean_scores(rows)
    if inception is not None:
        scores[FID] = frechet_distance(*(moments(torch.cat(kept)) for kept in features))
    return Report(PROTOCOL, len(rows), {"predicted": scores})


def _pairs(predicted: FrameReader, target: FrameReader) -> Iterator[tuple[Frames, Frames]]:
    """Frames with the same number; as many as were promised."""
    guesses, truths = iter(predicted), iter(target)
    for done in range(len(target)):
        guess, truth = next(guesses, None), next(truths, None)
        if guess is None or truth is None:
            short = predicted if guess is None else target
            raise UserError(f"{short.name}: {len(short)} frames were promised and {done} could be read")
        yield guess, truth


def score(predicted: Frames, target: Frames, lpips: Lpips | None = None) -> Scores:
    """The figures of one frame. NaN where the target's alpha is empty."""
    guess, truth = predicted.rgb[0], target.rgb[0]
    inside = torch.ones_like(truth[:1], dtype=torch.bool) if target.mask is None else target.mask[0] > 0.9
    linear = guess, truth, inside
    clipped = guess.clamp(0, 1), truth.clamp(0, 1), inside
    encoded = _encoded(guess), _encoded(truth), inside
    values = (
        metrics.psnr(*encoded),
        metrics.psnr(*clipped),
        metrics.ssim(*encoded),
        metrics.rmse(*linear),
        metrics.si_psnr(*clipped),
        metrics.si_rmse(*linear),
        metrics.si_rmse(*linear, per_channel=True),
    )
    scores = dict(zip(FIGURES, values, strict=True))
    return scores if lpips is None else scores | {replace(LPIPS, name=lpips.name): lpips(*encoded)}


def _encoded(linear: Tensor) -> Tensor:
    return linear_to_srgb(linear.clamp(0, 1))
