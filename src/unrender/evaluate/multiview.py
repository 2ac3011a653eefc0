"""The `multiview` protocol: whether the views of a set are right, and whether they agree; beside the true pictures and
beside the same views shuffled, for no number says much alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from unrender.errors import UserError
from unrender.evaluate import pictures
from unrender.evaluate.metrics.epipolar import FEWEST, THRESHOLD, median_epipolar_distance
from unrender.evaluate.metrics.errors import psnr
from unrender.evaluate.metrics.frechet import frechet_distance, moments
from unrender.evaluate.metrics.inception import Inception
from unrender.evaluate.metrics.kernel import kernel_distance
from unrender.evaluate.metrics.lpips import Lpips
from unrender.evaluate.report import Figure, Report, Scores, mean_scores
from unrender.evaluate.splats import fit_splats, render_splats
from unrender.files.posed import PosedPictures
from unrender.multiview.planner import view_distances
from unrender.multiview.subject import Subject
from unrender.scene.camera import Camera, project, unproject
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames

WHOLE_PSNR, WHOLE_SSIM = (replace(pictures.FIGURES[i], mask="all") for i in (0, 2))
SUBJECT_PSNR, SUBJECT_SSIM = (replace(pictures.FIGURES[i], mask="subject") for i in (0, 2))
REPROJECTION = Figure("rgb", "reprojection PSNR", "dB", "sRGB", "seen by both", higher_is_better=True)
TSED = Figure("rgb", "TSED", "", "sRGB", "corners", higher_is_better=True)
SPLIT_HALF = Figure("rgb", "split-half PSNR", "dB", "sRGB", "all", higher_is_better=True)
FID, KID = Figure("rgb", "FID", "", "sRGB", "all"), Figure("rgb", "KID", "", "sRGB", "all")

NEIGHBOURS = 2
"""Of each view, those that it is compared with."""
SAME_SURFACE = 0.03
"""Relative difference of depths within which two views see one surface."""

PROTOCOL = (
    "PSNR, SSIM and LPIPS against the true pictures, of views that were not given, mean over views; mask `subject`: "
    "where the truth's mask is above 0.9. Reprojection: each view against its two nearest, looked up where depth "
    f"puts its pixels, where both see one surface. TSED: share of the same pairs with {FEWEST} matched corners or "
    f"more, half of them within {THRESHOLD:g} px (of 256) of their epipolar lines. Split-half: Gaussians fitted to "
    "every second view, and to the others, compared from all cameras. `shuffled` are the same pictures, each handed "
    "to another camera, in no order"
)


@dataclass(frozen=True)
class ViewMeasures:
    """What is measured besides the figures that need nothing.

    Attributes:
        lpips, inception: adds LPIPS; adds FID and KID.
        split_half: whether Gaussians are fitted, which takes a minute.
    """

    lpips: Lpips | None = None
    inception: Inception | None = None
    split_half: bool = True


def evaluate_multiview(
    views: PosedPictures,
    truth: PosedPictures | None = None,
    given: Tensor | None = None,
    measures: ViewMeasures | None = None,
    report: Callable[[int], None] | None = None,
) -> Report:
    """Measures a set of views.

    Args:
        views: what is measured.
        truth: the true pictures of the same cameras, with depth and mask where known; figures that need them are left
            out without.
        given: (T,) views that were given, which are left out of the comparison with the truth.
        measures: what else is measured.
        report: called with the number of answers done.

    Raises:
        UserError: fewer than three views, or a truth of other cameras.
    """
    measures = measures or ViewMeasures()
    count = len(views.frames)
    if count < 3:
        raise UserError(f"{count} views; expected three at least, for shuffled ones to be others")
    if truth is not None:
        _check_same(views, truth)
    depth = truth.depth if truth is not None and truth.depth is not None else views.depth
    rgb = views.frames.rgb
    mixed = rgb[shuffled_order(count)]
    answers = {"views": rgb, **({"truth": truth.frames.rgb} if truth is not None else {}), "shuffled": mixed}
    scores: dict[str, Scores] = {}
    for done, (name, pictures_) in enumerate(answers.items(), 1):
        scores[name] = view_scores(pictures_, views.camera, depth, truth, given, measures)
        if report is not None:
            report(done)
    left_out = "" if depth is not None else "; no depth is known: reprojection left out"
    left_out += "" if truth is not None else "; no truth is known: comparisons with it left out"
    return Report(PROTOCOL + left_out, count, scores)


def view_scores(
    rgb: Tensor,
    camera: Camera,
    depth: Tensor | None,
    truth: PosedPictures | None,
    given: Tensor | None,
    measures: ViewMeasures,
) -> Scores:
    """The figures of views (T, 3, H, W) linear from `camera`; `depth` (T, 1, H, W) is what reprojection goes by. As
    `evaluate_multiview` has them."""
    encoded = linear_to_srgb(rgb.clamp(0, 1))
    scores: Scores = {}
    if truth is not None:
        kept = [i for i in range(len(rgb)) if given is None or not bool(given[i])]
        scores |= mean_scores([_against_truth(rgb[i : i + 1], truth, i, measures.lpips) for i in kept])
        if measures.inception is not None:
            features = [
                measures.inception.features(linear_to_srgb(each.clamp(0, 1))) for each in (rgb, truth.frames.rgb)
            ]
            scores[FID] = frechet_distance(*(moments(each) for each in features))
            scores[KID] = kernel_distance(*features)
    pairs = neighbours(camera)
    if depth is not None:
        scores[REPROJECTION] = reprojection_psnr(encoded, depth, camera, pairs)
    scores[TSED] = tsed(encoded, camera, pairs)
    if measures.split_half:
        scores[SPLIT_HALF] = split_half_psnr(rgb, camera)
    return scores


def _against_truth(rgb: Tensor, truth: PosedPictures, index: int, lpips: Lpips | None) -> Scores:
    target = truth.frames.frame(index)
    whole = pictures.score(Frames(rgb), replace(target, mask=None), lpips)
    values = list(whole.values())
    chosen: Scores = {WHOLE_PSNR: values[0], WHOLE_SSIM: values[2]}
    if lpips is not None:
        chosen[replace(pictures.LPIPS, name=lpips.name, mask="all")] = values[-1]
    mask = truth.mask[index : index + 1] if truth.mask is not None else target.mask
    if mask is not None:
        values = list(pictures.score(Frames(rgb), replace(target, mask=mask)).values())
        chosen |= {SUBJECT_PSNR: values[0], SUBJECT_SSIM: values[2]}
    return chosen


def shuffled_order(count: int) -> list[int]:
    """Another place for every one of `count` views. Not those of a neighbour: an orbit moved on by some views is the
    orbit of a thing that is turned, and agrees with itself."""
    generator = torch.Generator().manual_seed(count)
    for _ in range(1000):
        order = torch.randperm(count, generator=generator).tolist()
        steps = {(there - here) % count for here, there in enumerate(order)}
        if 0 not in steps and (len(steps) > 1 or count < 4):
            return order
    return [(index + 1) % count for index in range(count)]


def neighbours(camera: Camera) -> list[tuple[int, int]]:
    """Each view with its nearest others, as pairs of numbers."""
    subject = Subject.of_cameras(camera, 4.0)
    pose = torch.linalg.inv(subject.pose) @ camera.pose
    apart = view_distances(Camera(camera.intrinsics, pose, camera.size)).fill_diagonal_(torch.inf)
    nearest = apart.argsort(dim=1)[:, : min(NEIGHBOURS, len(camera) - 1)]
    return [(i, int(j)) for i, row in enumerate(nearest) for j in row]


def reprojection_psnr(encoded: Tensor, depth: Tensor, camera: Camera, pairs: list[tuple[int, int]]) -> float:
    """PSNR in dB of pictures (T, 3, H, W) in [0, 1] against what their neighbours show at the same surfaces, by planar
    depth (T, 1, H, W): mean over pairs that see any surface in common; NaN where none does. Of the truth it is finite:
    highlights move, and pictures are sampled."""
    found = []
    for first, second in pairs:
        seen, at = common_surfaces(depth, camera, first, second)
        if int(seen.sum()) < 16:
            continue
        shown = grid_sample(encoded[second : second + 1], at[None], align_corners=False)[0]
        found.append(psnr(shown, encoded[first], seen[None]))
    finite = [min(value, 100.0) for value in found]
    return fmean(finite) if finite else math.nan


def common_surfaces(
    depth: Tensor, camera: Camera, first: int, second: int, tolerance: float = SAME_SURFACE
) -> tuple[Tensor, Tensor]:
    """Which pixels (H, W) of one view the other one sees too, and where, (H, W, 2) as `grid_sample` takes it."""
    height, width = camera.size
    here, there = camera.frame(first), camera.frame(second)
    known = depth[first : first + 1].isfinite()
    points = unproject(depth[first : first + 1].where(known, 1.0), here)[0].flatten(1).T
    points = points @ here.pose[0, :3, :3].T + here.pose[0, :3, 3]
    pixels, distance = project(points, there)
    at = (pixels / pixels.new_tensor([width, height]) * 2 - 1).view(height, width, 2)
    at = at.where(at.isfinite(), 2.0)
    inverse = torch.where(depth[second].isfinite(), 1 / depth[second], 0.0)
    surface = grid_sample(inverse[None], at[None], align_corners=False)[0, 0]
    same = (distance.view(height, width) * surface - 1).abs() < tolerance
    inside = (at.abs() < 1 - 1 / max(height, width)).all(-1)
    return known[0, 0] & (distance.view(height, width) > 0) & inside & same, at


def tsed(encoded: Tensor, camera: Camera, pairs: list[tuple[int, int]]) -> float:
    """The share of pairs whose matched corners obey the cameras (thresholded symmetric epipolar distance, Yu et al.
    2023)."""
    limit = THRESHOLD * max(camera.size) / 256
    passed = []
    for first, second in pairs:
        cameras = camera.frame(first), camera.frame(second)
        median, matches = median_epipolar_distance(encoded[first], encoded[second], cameras)
        passed.append(matches >= FEWEST and median <= max(limit, 1.0))
    return sum(passed) / len(passed)


def split_half_psnr(rgb: Tensor, camera: Camera, steps: int = 150) -> float:
    """PSNR in dB between what is seen, from all cameras, of Gaussians fitted to every second view and of those fitted
    to the others (self-consistency, after MVGBench, Xie et al. 2025)."""
    subject = Subject.of_cameras(camera, 4.0)
    halves = [[i for i in range(len(rgb)) if i % 2 == part] for part in (0, 1)]
    fits = [
        fit_splats(
            rgb[half], Camera(camera.intrinsics[half], camera.pose[half], camera.size), subject, steps=steps
        ).splats
        for half in halves
    ]
    small = camera.resized((48, max(1, round(48 * camera.size[1] / camera.size[0]))))
    errors = [
        float((render_splats(fits[0], small.frame(i)) - render_splats(fits[1], small.frame(i))).square().mean())
        for i in range(len(rgb))
    ]
    return -10 * math.log10(max(fmean(errors), 1e-10))


def _check_same(views: PosedPictures, truth: PosedPictures) -> None:
    same = len(truth.frames) == len(views.frames) and truth.camera.size == views.camera.size
    if not same or (truth.camera.pose - views.camera.pose).abs().max() > 1e-3 * views.camera.pose.abs().max():
        raise UserError(
            f"the truth has {len(truth.frames)} views of {truth.camera.size} and the set {len(views.frames)} of "
            f"{views.camera.size}; expected the same cameras in the same order"
        )
