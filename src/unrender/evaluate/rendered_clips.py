"""The `clips` protocol of forward renderers: how steady and how good the pictures of a moving camera are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from unrender.diffusion.windows import ClipOptions
from unrender.errors import UserError
from unrender.evaluate.forward import FIGURES, picture_scores
from unrender.evaluate.metrics.temporal import warp_error
from unrender.evaluate.motion import known_motion
from unrender.evaluate.report import Figure, Report, Scores, mean_scores
from unrender.files.shards import Clip
from unrender.forward.clips import part_renderer, render_steps
from unrender.scene.color import linear_to_srgb

ClipRender = Callable[[Clip], Tensor]
"""What renders the maps of a whole clip under its light: (T, 3, H, W) linear."""

WARP = Figure("rgb", "warp error x 1000", "", "sRGB", "seen twice")

PROTOCOL = (
    "the true maps and light of every clip; mean over clips. Warp error (Lai et al. 2018, eq. 10) x 1000 of the "
    "encoded picture along the true motion, over points that stand still in the world and are seen in both frames; "
    "the truth has one too, since highlights move along a surface. PSNR and SSIM of each frame, clipped to [0, 1], "
    "over pixels whose surface coverage is above 0.9; no alignment"
)

_MAPS_OF_LIGHT = ("rgb", "irradiance", "shading", "residual")


def evaluate_rendered_clips(
    answers: Mapping[str, ClipRender], clips: Iterable[Clip], report: Callable[[int], None] | None = None
) -> Report:
    """Measures renderings of clips with ground truth.

    Args:
        answers: by name, what renders a clip.
        clips: of several frames with rgb, mask, base_color, normal, metric depth and a camera.
        report: called with the number of clips done.

    Raises:
        UserError: there is no clip of several frames, or a map is missing.
    """
    rows: dict[str, list[Scores]] = {name: [] for name in (*answers, "truth")}
    done = frames = 0
    for clip in clips:
        truth = clip.gbuffer
        if len(truth) < 2:
            continue
        motion = known_motion(truth)
        pictures = {name: answer(clip) for name, answer in answers.items()} | {"truth": truth.maps["rgb"]}
        for name, rgb in pictures.items():
            warp = 1000 * warp_error(linear_to_srgb(rgb.clamp(0, 1)), motion)
            scores = [picture_scores(rgb[i : i + 1], truth.frame(i), shadowed=False) for i in range(len(truth))]
            means = mean_scores(scores)
            rows[name].append({WARP: warp} | {figure: means[figure] for figure in FIGURES})
        done, frames = done + 1, frames + len(truth)
        if report is not None:
            report(done)
    if not done:
        raise UserError("no clips to evaluate on; give a folder that `unrender synth --frames 10` has written")
    return Report(PROTOCOL, frames, {name: mean_scores(scores) for name, scores in rows.items()})


def render_clip(forward: Callable[..., object], options: ClipOptions, clip: Clip) -> Tensor:
    """The frames (T, 3, H, W) that a forward renderer makes of the true maps of a clip, cut as `options` says."""
    surfaces = clip.gbuffer.with_maps(**dict.fromkeys(_MAPS_OF_LIGHT))
    yaw = torch.tensor(clip.yaw or [0.0] * len(surfaces))
    steps = render_steps(
        (surfaces.frame(i) for i in range(len(surfaces))),
        part_renderer(forward, options),
        lambda start, stop: (clip.light, yaw[start:stop]),
        options,
        None,
    )
    return torch.cat([passes.beauty for passes, _ in steps if passes is not None])
