"""The fit of a light by a diffusion model (DiPIR, Liang et al. 2024): what of a scene the model is shown, and how."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.codec import PERCENTILE
from unrender.diffusion.score_distillation import ScoreDistillation
from unrender.insert.diffusion_guidance import DiffusionGuidance, Window, guided_window
from unrender.insert.fit import Fit, FitOptions, SceneTransport, fit_light
from unrender.insert.light import LIGHT_SIZE
from unrender.insert.scene import InsertionScene
from unrender.raytrace.shadows import trace_shadows
from unrender.raytrace.transport import trace_foreground
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.tone import percentile_gain

GUIDED = FitOptions(steps=600, rate=0.02, tones=True, separate=True)
"""How a diffusion model fits: DiPIR's steps, its two lights and its tone curves. The rate is a tenth of that of a fit
without noise, ours: over 600 steps it can still move a lobe's brightness by some stops, and what single draws of noise
want averages out."""

MOST_TRACED = 512
"""Pixels of the longer side of what is traced for a model that sees more: its matrices stay under a gigabyte."""

_SIDE = 256  # pixels of the longer side that a guidance of the composite sees by default
_COARSE = 96  # of the look that says where object and shadow are
_SAMPLES = 32
_SHADED = 0.95  # a shadow ratio above this is no shadow to be shown


@dataclass(frozen=True, eq=False)
class ShownScene:
    """What a model is shown of a placed object: traced once, it serves any number of fits.

    Attributes:
        transport: of the window about object and shadow, at the size that the model sees.
        picture: (1, 3, h, w) linear, the photo there.
        exposure: gain that brings it to a display.
    """

    transport: SceneTransport
    picture: Tensor
    exposure: float


def fit_guided(
    distillation: ScoreDistillation,
    scene: InsertionScene,
    photo: Frames,
    start: EnvironmentMap,
    options: FitOptions = GUIDED,
    report: Callable[[int, float], None] | None = None,
) -> Fit:
    """Light and tone curves by `distillation`, which sees the window about object and shadow at its own size.

    Args:
        distillation: the model and what it is told.
        scene: the objects, placed.
        photo: T = 1, as the scene's first camera took it.
        start: the light to begin with, one frame; of the photo's shading, for a model sees what is a little wrong
            better than what is all wrong.
        options: how.
        report: is called with each step and its loss, whose value means nothing: it only has a gradient.

    Raises:
        UserError: neither object nor shadow is in the picture.
    """
    return fit_shown(distillation, show_scene(distillation, scene, photo, start), start, options, report)


def show_scene(
    distillation: ScoreDistillation, scene: InsertionScene, photo: Frames, light: EnvironmentMap
) -> ShownScene:
    """Traces what `distillation` is to see of a scene whose light is about `light`; arguments and errors as
    `fit_guided`. Models of one size may share it, whatever they are told."""
    window = changed_window(scene, photo, light)
    seen, picture = _cut_out(scene, photo, window, DiffusionGuidance(distillation, window).seen_size)
    gain = float(percentile_gain(photo.rgb, *PERCENTILE)) if photo.hdr else 1.0
    return ShownScene(_traced(seen), picture, gain)


def fit_shown(
    distillation: ScoreDistillation,
    shown: ShownScene,
    start: EnvironmentMap,
    options: FitOptions = GUIDED,
    report: Callable[[int, float], None] | None = None,
) -> Fit:
    """`fit_guided` of a scene that is traced already."""
    height, width = shown.picture.shape[-2:]
    guidance = DiffusionGuidance(distillation, (0, 0, height, width), shown.exposure)
    return fit_light(guidance, start, options, transport=shown.transport, background=shown.picture, report=report)


def changed_window(scene: InsertionScene, photo: Frames, light: EnvironmentMap) -> Window:
    """The window of the photo that `guided_window` finds about the objects and their shadow, under `light` and under an
    even one: the first says where the shadow is, the second where the ground is dark whatever the light.

    Raises:
        UserError: neither object nor shadow is in the picture.
    """
    transport, small = trace_scene(scene, photo, _COARSE)
    changed = transport.foreground.coverage > 0
    for radiance in (light.resized(LIGHT_SIZE).radiance[0], torch.ones(3, *LIGHT_SIZE)):
        changed = changed | (transport.shadow.render(radiance).amin(1, keepdim=True) < _SHADED)
    top, left, height, width = guided_window(changed.float())
    down, across = (full / coarse for full, coarse in zip(photo.size, small.shape[-2:], strict=True))
    first = math.floor(top * down), math.floor(left * across)
    last = min(photo.size[0], math.ceil((top + height) * down)), min(photo.size[1], math.ceil((left + width) * across))
    return *first, last[0] - first[0], last[1] - first[1]


def trace_scene(scene: InsertionScene, photo: Frames, side: int = _SIDE) -> tuple[SceneTransport, Tensor]:
    """The light transport of a scene as its first camera sees it, no larger than `side` pixels, and the photo of that
    size, (1, 3, h, w) linear: what a guidance of the composite works with."""
    small = scene.seen_at(_at_most(photo.size, side))
    return _traced(small), functional.adaptive_avg_pool2d(photo.rgb, small.camera.size)


def _traced(scene: InsertionScene) -> SceneTransport:
    objects, stand_in = scene.traced()
    return SceneTransport(
        trace_foreground(objects, LIGHT_SIZE, samples=_SAMPLES),
        trace_shadows(objects, stand_in, LIGHT_SIZE, samples=_SAMPLES),
    )


def _cut_out(
    scene: InsertionScene, photo: Frames, window: Window, size: tuple[int, int]
) -> tuple[InsertionScene, Tensor]:
    """Scene and photo of a window, both of a (height, width) of at most `MOST_TRACED`."""
    top, left, height, width = window
    size = _at_most(size, MOST_TRACED)
    camera = scene.camera.frame(0).cropped(top, left, (height, width)).resized(size)
    picture = photo.rgb[..., top : top + height, left : left + width]
    return replace(scene, camera=camera), functional.interpolate(picture, size, mode="bilinear", antialias=True)


def _at_most(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A picture's (height, width), made smaller where its longer side is more than `side`."""
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
