"""The `light` protocol: the light of a photo as estimated from a model's maps, beside trivial answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from unrender.evaluate.report import Figure, Report, Scores, mean_scores
from unrender.evaluate.scenes import Scene
from unrender.relight.light_estimate import LIGHT_SIZE, estimate_light
from unrender.relight.options import Inverse
from unrender.relight.surface import soft_surface
from unrender.scene.environment import EnvironmentMap, mean_direction, texel_directions, texel_solid_angles
from unrender.scene.frames import Frames

ANGLE = Figure("light", "angle", "degrees", "world", "whole sphere")
SI_RMSE = Figure("light", "si-RMSE", "", "linear", "whole sphere", "3 scales")

PROTOCOL = (
    "the first frame of every clip, with its true camera; angle: between the mean directions that light comes from, "
    "weighted by luminance and solid angle; si-RMSE: of 8 x 16 maps, weighted by solid angle, after one scale for each "
    "channel by least squares, as a part of the truth's root mean square; mean over pictures; from above: an even "
    "upper half, a tenth of it below; even: the same from everywhere, which has no direction"
)


def evaluate_light(inverse: Inverse, scenes: Iterable[Scene], report: Callable[[int], None] | None = None) -> Report:
    """Measures the light that is estimated from the maps of `inverse`, and from the true ones, on scenes with ground
    truth, beside two trivial answers.

    Args:
        inverse: an `InverseRenderer`, or anything that is called alike.
        scenes: rendered ones.
        report: called with the number of pictures done.
    """
    above = texel_directions(LIGHT_SIZE)[..., 1] > 0
    trivial = {
        "from above": EnvironmentMap(torch.where(above, 1.0, 0.1).expand(1, 3, *LIGHT_SIZE).clone()),
        "even": EnvironmentMap(torch.ones(1, 3, *LIGHT_SIZE)),
    }
    rows: dict[str, list[Scores]] = {}
    for done, scene in enumerate(scenes, start=1):
        photo = Frames(scene.truth.maps["rgb"], hdr=True)
        maps, _ = soft_surface(photo, replace(inverse(photo, None), camera=scene.truth.camera))
        answers = {"model": estimate_light(photo, maps), **trivial, "true maps": estimate_light(photo, scene.truth)}
        for name, light in answers.items():
            rows.setdefault(name, []).append(score_light(light, scene.light))
        if report is not None:
            report(done)
    count = len(rows.get("model", ()))
    return Report(PROTOCOL, count, {name: mean_scores(scores) for name, scores in rows.items()})


def score_light(found: EnvironmentMap, truth: EnvironmentMap) -> Scores:
    """The figures of one light, both of one frame. The angle is NaN where either has no direction."""
    one, other = mean_direction(found)[0], mean_direction(truth)[0]
    lengths = float(one.norm() * other.norm())
    cosine = float((one * other).sum()) / lengths if lengths > 1e-6 else math.nan
    angle = math.degrees(math.acos(min(1.0, max(-1.0, cosine)))) if math.isfinite(cosine) else math.nan
    a, b = (light.resized(LIGHT_SIZE).radiance[0].double() for light in (found, truth))
    areas = texel_solid_angles(LIGHT_SIZE).double().expand(LIGHT_SIZE)
    scale = (a * b * areas).sum((1, 2), keepdim=True) / (a * a * areas).sum((1, 2), keepdim=True).clamp(min=1e-30)
    error = ((scale * a - b).square() * areas).sum() / (b.square() * areas).sum().clamp(min=1e-30)
    return {ANGLE: angle, SI_RMSE: float(error.sqrt())}
