"""The `clips` protocol: how steady a renderer's maps are on clips with known motion, and how good frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from unrender.diffusion.windows import ClipOptions
from unrender.errors import UserError
from unrender.evaluate.metrics.temporal import OpticalFlow, warp_error
from unrender.evaluate.motion import known_motion, world_normals
from unrender.evaluate.report import Figure, Report, Scores, mean_scores
from unrender.scene.alignment import fit_scale_shift
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.motion import warp

ClipAnswer = Callable[[Frames], GBuffer]
"""What gives the maps of a whole clip."""

PROTOCOL = (
    "mean over clips; photo clipped to [0, 1]. Warp error (Lai et al. 2018, eq. 10) x 1000 along the true motion, over "
    "points that stand still in the world and are seen in both frames; normals in world axes; depth as its ratio to "
    "the truth after one scale and shift for the whole clip. `across windows`: pairs of frames at the borders of "
    "windows, overlaps included; `inside windows`: all others. Errors of each frame, over pixels whose surface "
    "coverage is above 0.9; a clip's depth after a scale and shift for each frame, and after one for the whole clip"
)

_MAPS = ("base_color", "normal", "depth", "roughness", "metallic", "mask", "irradiance")
_SPACES = {"base_color": "sRGB", "irradiance": "sRGB", "normal": "world axes", "depth": "ratio to the truth"}


def evaluate_clips(
    answers: Mapping[str, ClipAnswer],
    truths: Iterable[GBuffer],
    options: ClipOptions | None = None,
    report: Callable[[int], None] | None = None,
) -> Report:
    """Measures answers to clips with ground truth: the first is the report's subject, the second its baseline.

    Args:
        answers: by name, what gives the maps of a clip.
        truths: clips of several frames with rgb, mask, base_color, normal, metric depth and a camera.
        options: how the first answer's clips are cut, for the figures of window borders; None for none of these.
        report: called with the number of clips done.

    Raises:
        UserError: there is no clip of several frames, or a map is missing.
    """
    rows: dict[str, list[Scores]] = {name: [] for name in (*answers, "truth")}
    done = frames = 0
    for truth in truths:
        if len(truth) < 2:
            continue
        motion = known_motion(truth)
        photo = Frames(truth.maps["rgb"].clamp(0, 1), fps=truth.fps)
        borders = () if options is None else border_pairs(len(truth), options)
        for name, answer in answers.items():
            rows[name].append(score(answer(photo), truth, motion, borders))
        rows["truth"].append(score(truth, truth, motion, borders))
        done, frames = done + 1, frames + len(truth)
        if report is not None:
            report(done)
    if not done:
        raise UserError("no clips to evaluate on; give a folder that `unrender synth --frames 10` has written")
    return Report(PROTOCOL, frames, {name: mean_scores(scores) for name, scores in rows.items()})


def score(guess: GBuffer, truth: GBuffer, motion: OpticalFlow, borders: Sequence[int] = ()) -> Scores:
    """The figures of one clip; only of maps that the guess has.

    Args:
        motion: of the truth; see `known_motion`.
        borders: pairs of frames (t for t and t + 1) across windows; () for no figures of these.
    """
    scores: Scores = {}
    for name in _MAPS:
        if name in guess.maps:
            values, counted = _comparable(name, guess, truth, motion)
            scores |= _steadiness(name, values, counted, borders)
    return scores | _accuracy(guess, truth)


def border_pairs(frames: int, options: ClipOptions) -> tuple[int, ...]:
    """The pairs of frames (t for t and t + 1) at the borders of the windows of a clip: from the last frame that one
    window has alone to the first that the next one has."""
    starts = [start for start, _ in options.parts(frames)[1:]]
    overlap = options.spans[1]
    return tuple(sorted({t for start in starts for t in range(start - 1, min(start + overlap, frames - 1))}))


def _steadiness(name: str, values: Tensor, motion: OpticalFlow, borders: Sequence[int]) -> Scores:
    space = _SPACES.get(name, "value")
    found = {Figure(name, "warp error x 1000", "", space, "seen twice"): 1000 * warp_error(values, motion)}
    if not borders:
        return found
    pairs = [1000 * warp_error(values[t : t + 2], _pair(motion, t)) for t in range(len(values) - 1)]
    for where, wanted in (("across windows", True), ("inside windows", False)):
        chosen = [error for t, error in enumerate(pairs) if (t in borders) is wanted and not math.isnan(error)]
        figure = Figure(name, f"warp error x 1000, {where}", "", space, "seen twice")
        found[figure] = fmean(chosen) if chosen else math.nan
    return found


def _pair(motion: OpticalFlow, t: int) -> OpticalFlow:
    return OpticalFlow(motion.flow[t : t + 1], motion.visible[t : t + 1])


def _comparable(name: str, guess: GBuffer, truth: GBuffer, motion: OpticalFlow) -> tuple[Tensor, OpticalFlow]:
    """A map as it is held against itself in the next frame, and the motion of the points that have it in both."""
    values = guess.maps[name]
    if name in ("base_color", "irradiance"):
        return linear_to_srgb(values.clamp(0, 1)), motion
    if name == "normal":
        return world_normals(truth, values), motion
    if name != "depth":
        return values, motion
    ratio, there = _depth_ratio(values, truth, whole=True)
    both = there[:-1] & (warp(there[1:].to(values), motion.flow) > 0.99)
    return torch.where(there, ratio, 1.0), OpticalFlow(motion.flow, motion.visible & both)


def _depth_ratio(depth: Tensor, truth: GBuffer, *, whole: bool) -> tuple[Tensor, Tensor]:
    """Depth over the truth's after the scale and shift of the clip, or of each frame, with the least relative error;
    and where both have one."""
    target = truth.maps["depth"]
    there = depth.isfinite() & target.isfinite() & (truth.maps["mask"] > 0.9)
    x, y = torch.where(there, depth, 0.0), torch.where(there, target, 1.0)
    dims = (0, 1, 2, 3) if whole else (1, 2, 3)
    scale, shift = fit_scale_shift(x, y, there / y.square(), dims=dims)
    return (scale * x + shift) / y, there


def _accuracy(guess: GBuffer, truth: GBuffer) -> Scores:
    inside = truth.maps["mask"] > 0.9
    found: Scores = {}

    def mean(values: Tensor, where: Tensor) -> float:
        return float(values[where].mean()) if bool(where.any()) else math.nan

    for name in ("base_color", "roughness", "metallic", "mask"):
        if name in guess.maps:
            pair = (guess.maps[name], truth.maps[name])
            a, b = (linear_to_srgb(one.clamp(0, 1)) if name == "base_color" else one for one in pair)
            where = torch.ones_like(inside) if name == "mask" else inside
            rms = mean((a - b).square().mean(1, keepdim=True), where) ** 0.5
            found[Figure(name, "RMSE", "", _SPACES.get(name, "value"), "all" if name == "mask" else "surface")] = rms
    if guess.normal is not None:
        cosine = (guess.normal * truth.maps["normal"]).sum(1, keepdim=True).clamp(-1, 1)
        angle = mean(torch.rad2deg(torch.acos(cosine)), inside)
        found[Figure("normal", "mean angle", "deg", "camera axes", "surface")] = angle
    if guess.depth is not None:
        for whole, alignment in ((False, "scale + shift"), (True, "scale + shift of the clip")):
            ratio, there = _depth_ratio(guess.depth, truth, whole=whole)
            error = 100 * mean((ratio - 1).abs(), there)
            found[Figure("depth", "AbsRel", "%", "planar Z", "surface", alignment)] = error
    return found
