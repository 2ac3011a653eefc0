"""The `clips` protocol: how steady a renderer's maps are on clips with known motion, and how good frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from statistics import fmean

import torch
from torch import Tensor

from unrender.diffusion.windows import ClipOptions, align_depth
from unrender.errors import UserError
from unrender.evaluate.borders import border_pairs, middle_pairs
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
    "windows, overlaps included; `inside windows`: the same pairs, each in the middle of one window, as if the clip "
    "were that window alone. Errors of each frame, over pixels whose surface "
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
        options: how the first answer's clips are cut, for the figures of window borders, which take as long again;
            None for none of these.
        report: called with the number of clips done.

    Raises:
        UserError: there is no clip of several frames, or a map is missing.
    """
    rows: dict[str, list[Scores]] = {name: [] for name in (*answers, "truth")}
    subject, first = next(iter(answers.items()))
    done = frames = 0
    for truth in truths:
        if len(truth) < 2:
            continue
        motion = known_motion(truth)
        photo = Frames(truth.maps["rgb"].clamp(0, 1), fps=truth.fps)
        for name, answer in answers.items():
            guess = answer(photo)
            scores = score(guess, truth, motion)
            if options is not None and name == subject:
                scores |= _border_scores(guess, first, photo, truth, motion, options)
            rows[name].append(scores)
        rows["truth"].append(score(truth, truth, motion))
        done, frames = done + 1, frames + len(truth)
        if report is not None:
            report(done)
    if not done:
        raise UserError("no clips to evaluate on; give a folder that `unrender synth --frames 10` has written")
    means = {name: mean_scores(scores) for name, scores in rows.items()}
    means[subject] |= _border_ratios(means[subject])
    return Report(PROTOCOL, frames, means)


def score(guess: GBuffer, truth: GBuffer, motion: OpticalFlow) -> Scores:
    """The figures of one clip; only of maps that the guess has.

    Args:
        motion: of the truth; see `known_motion`.
    """
    scores: Scores = {}
    for name in _MAPS:
        if name in guess.maps:
            values, counted = _comparable(name, guess, truth, motion)
            scores[_warp_figure(name)] = 1000 * warp_error(values, counted)
    return scores | _accuracy(guess, truth)


def _warp_figure(name: str, where: str = "") -> Figure:
    return Figure(name, f"warp error x 1000{where}", "", _SPACES.get(name, "value"), "seen twice")


_ACROSS, _INSIDE = ", across windows", ", inside windows"


def _border_scores(
    guess: GBuffer, answer: ClipAnswer, photo: Frames, truth: GBuffer, motion: OpticalFlow, options: ClipOptions
) -> Scores:
    """The warp errors of pairs at the borders of windows, and those of the same pairs in the middle of one."""
    borders = set(border_pairs(len(photo), options))
    found: dict[Figure, list[float]] = {}
    for start, pairs in middle_pairs(len(photo), options.window):
        wanted = [t for t in pairs if t in borders]
        if not wanted:
            continue
        alone = _with_part(guess, answer(photo.part(start, start + options.window)), start)
        for name in (name for name in _MAPS if name in guess.maps):
            for where, maps in ((_ACROSS, guess), (_INSIDE, alone)):
                values, counted = _comparable(name, maps, truth, motion)
                errors = [1000 * warp_error(values[t : t + 2], _pair(counted, t)) for t in wanted]
                found.setdefault(_warp_figure(name, where), []).extend(e for e in errors if not math.isnan(e))
    return {figure: fmean(errors) if errors else math.nan for figure, errors in found.items()}


def _with_part(guess: GBuffer, part: GBuffer, start: int) -> GBuffer:
    """The maps of a clip with those of a part of it, taken apart by itself, in their place; its relative depth on the
    clip's scale."""
    stop = start + len(part)
    if part.depth is not None and part.depth_kind == "relative":
        part = part.with_maps(depth=align_depth(part.depth, guess.maps["depth"][start:stop]))
    maps = {name: torch.cat((of[:start], part.maps[name], of[stop:])) for name, of in guess.maps.items()}
    return guess.with_maps(**maps)


def _border_ratios(scores: Scores) -> Scores:
    """How much more pairs at borders change than in the middle of a window, of each map."""
    found: Scores = {}
    for name in _MAPS:
        across, inside = (scores.get(_warp_figure(name, where), math.nan) for where in (_ACROSS, _INSIDE))
        if inside > 0 and not math.isnan(across):
            found[Figure(name, "across / inside windows", "", _SPACES.get(name, "value"), "seen twice")] = (
                across / inside
            )
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
