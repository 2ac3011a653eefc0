"""The `forward` protocol: a forward renderer on scenes with ground truth, beside the split sum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import Tensor

from unrender.evaluate import pictures
from unrender.evaluate.report import Report, Scores, mean_scores
from unrender.evaluate.scenes import SHADOW_RULE, Scene
from unrender.forward import DeferredRenderer, RenderPasses
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

Render = Callable[[GBuffer, EnvironmentMap], RenderPasses]

PSNR_SRGB, PSNR_LINEAR, SSIM = FIGURES = tuple(replace(figure, mask="surface") for figure in pictures.FIGURES[:3])
SHADOWED_PSNR_SRGB, SHADOWED_PSNR_LINEAR, SHADOWED_SSIM = SHADOWED_FIGURES = tuple(
    replace(figure, map="rgb, cast shadows") for figure in FIGURES
)
"""The same figures, of scenes with cast shadows alone."""

PROTOCOL = (
    "the first frame of every clip, from its true maps and light; mean over pictures of each picture's figure; values "
    "clipped to [0, 1], then encoded where the space is sRGB; mask `surface`: pixels whose surface coverage is above "
    f"0.9; no alignment; {SHADOW_RULE}"
)


def evaluate_forward(render: Render, scenes: Iterable[Scene], report: Callable[[int], None] | None = None) -> Report:
    """Measures `render` on scenes with ground truth, beside the split sum, the trivial answer: exact where nothing is
    shadowed.

    Args:
        report: called with the number of pictures done.
    """
    trivial = DeferredRenderer()
    rows: dict[str, list[Scores]] = {"model": [], "split sum": []}
    shadowed = 0
    for done, scene in enumerate(scenes, start=1):
        for name, renderer in (("model", render), ("split sum", trivial)):
            picture = renderer(scene.surfaces, scene.light).beauty
            rows[name].append(picture_scores(picture, scene.truth, scene.shadowed))
        shadowed += scene.shadowed
        if report is not None:
            report(done)
    count = len(rows["model"])
    protocol = f"{PROTOCOL}; {shadowed} of {count} scenes have them"
    return Report(protocol, count, {name: mean_scores(scores) for name, scores in rows.items()})


def picture_scores(picture: Tensor, truth: GBuffer, shadowed: bool) -> Scores:
    """`FIGURES` and `SHADOWED_FIGURES` of a rendered picture (1, 3, H, W), scene-linear, against the rgb of `truth`
    over its mask. The latter are NaN, and left out of means, where the scene has no cast shadows."""
    target = Frames(truth.maps["rgb"], mask=truth.maps["mask"])
    values = list(pictures.score(Frames(picture), target).values())[: len(FIGURES)]
    kept = values if shadowed else [math.nan] * len(values)
    return dict(zip((*FIGURES, *SHADOWED_FIGURES), (*values, *kept), strict=True))
