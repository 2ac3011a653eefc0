"""How contestants take clips apart and render them, and how clips are scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.diffusion.codec import PERCENTILE
from unrender.diffusion.windows import ClipOptions
from unrender.errors import UserError
from unrender.evaluate.claims.contest import Discipline
from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.models import Models
from unrender.evaluate.clips import score as clip_scores
from unrender.evaluate.forward import picture_scores
from unrender.evaluate.motion import known_motion
from unrender.evaluate.report import Scores, mean_scores
from unrender.evaluate.scenes import make_scene
from unrender.files.shards import Clip
from unrender.forward.clips import part_renderer, render_steps
from unrender.forward.neural import NeuralRenderer
from unrender.inverse.clips import ClipInverse
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.tone import percentile_gain


@dataclass(frozen=True, eq=False)
class ClipCase:
    """A clip under one light.

    Attributes:
        truth: T frames with every map; rgb exposed for a display, by one gain.
        light: on the scale of that rgb, as in the first frame.
        yaw: (T,) degrees that it has turned by.
        shadowed: whether the first frame has cast shadows (`evaluate.scenes`).
        relit: the same frames under another light; None where the set has none.
    """

    truth: GBuffer
    light: EnvironmentMap
    yaw: Tensor
    shadowed: bool
    relit: ClipCase | None = None

    @property
    def photo(self) -> Frames:
        """The clip as a camera took it."""
        return Frames(self.truth.maps["rgb"].clamp(0, 1), fps=self.truth.fps)

    @property
    def surfaces(self) -> GBuffer:
        """Geometry and material, no map that depends on light."""
        return self.truth.with_maps(rgb=None, irradiance=None, shading=None, residual=None)


def clip_cases(clips: Iterable[Clip]) -> Iterator[ClipCase]:
    """The clips of several frames, each under its own light, and under the first of its others where it has any.

    Raises:
        UserError: a clip lacks a map, or there is none of several frames.
    """
    empty = True
    for clip in clips:
        if len(clip.gbuffer) < 2:
            continue
        clip.gbuffer.require("rgb", "mask", "base_color", "normal", "depth", by="evaluate claims")
        empty = False
        case = _case(clip, clip.gbuffer, clip.light)
        if clip.lights:
            other = clip.lights[0]
            relit = clip.gbuffer.with_maps(rgb=other.rgb, irradiance=other.irradiance)
            case = replace(case, relit=_case(clip, relit, other.light))
        yield case
    if empty:
        raise UserError("evaluate claims: no clips of several frames; expected a folder of `unrender synth --frames 8`")


def _case(clip: Clip, truth: GBuffer, light: EnvironmentMap) -> ClipCase:
    rgb, count = truth.maps["rgb"], len(truth)
    gain = float(percentile_gain(rgb.movedim(0, 1).flatten(1, 2)[None], *PERCENTILE))
    yaw = torch.tensor(clip.yaw) if clip.yaw else torch.zeros(count)
    first = light.rotated(float(yaw[0])) if clip.yaw else light
    shadowed = make_scene(truth.frame(0), first).shadowed
    lit = truth.with_maps(rgb=rgb * gain, irradiance=None if truth.irradiance is None else truth.irradiance * gain)
    return ClipCase(lit, replace(light, radiance=light.radiance * gain), yaw, shadowed)


def _answer(who: Contestant, case: ClipCase, models: Models) -> GBuffer | Tensor:
    """The maps of a clip, or its pictures (T, 3, H, W), scene-linear."""
    if who.task == "video_inverse":
        return _maps(who, case, models)
    if who.way == "unchanged":
        return case.photo.rgb
    if who.way == "flat":
        return _mean(case.truth.maps["rgb"].clamp(0, 1), case.truth).expand_as(case.truth.maps["rgb"])
    if who.task == "video_forward":
        return _rendered(who, case.surfaces, case, models)
    assert case.relit is not None
    found = _decomposed(who, case, models).with_maps(rgb=None, irradiance=None, shading=None, residual=None)
    # The camera is not under test, and without its pose a light in world axes is meaningless.
    return _rendered(who, replace(found, camera=case.truth.camera), case.relit, models)


def _maps(who: Contestant, case: ClipCase, models: Models) -> GBuffer:
    if who.way == "truth":
        return case.truth
    if who.way == "flat":
        truth = case.truth
        flat = {name: _mean(truth.maps[name], truth).expand_as(truth.maps[name]) for name in _FLAT & truth.maps.keys()}
        return GBuffer(depth=torch.ones_like(truth.maps["depth"]), camera=truth.camera).with_maps(**flat)
    return _decomposed(who, case, models)


_FLAT = {"base_color", "normal", "roughness", "metallic"}


def _mean(values: Tensor, truth: GBuffer) -> Tensor:
    """(1, C, 1, 1) over the surfaces of the whole clip."""
    weight = (truth.maps["mask"] > 0.9).to(values)
    return (values * weight).sum((0, 2, 3), keepdim=True) / weight.sum().clamp(min=1)


def _decomposed(who: Contestant, case: ClipCase, models: Models) -> GBuffer:
    """By a network alone: nothing is held steady after it."""
    renderer = models.inverse(who)
    options = ClipOptions.of(renderer.card, "none" if who.way == "alone" else "attention")
    steps = models.conditions.video_steps if renderer.card.is_video else who.steps
    inverse = ClipInverse(renderer, replace(options, steady=False), steps=steps, seed=models.seed)
    return GBuffer.concatenate(list(inverse.stream(case.photo)))


def _rendered(who: Contestant, surfaces: GBuffer, case: ClipCase, models: Models) -> Tensor:
    forward = models.forward(who)
    if isinstance(forward, NeuralRenderer) and forward.card.is_video:
        forward = replace(forward, options=replace(forward.options, steps=models.conditions.video_steps))
    together = isinstance(forward, NeuralRenderer) and who.way != "alone"
    options = ClipOptions.of(forward.card) if together else ClipOptions(temporal="none")
    steps = render_steps(
        (surfaces.frame(i) for i in range(len(surfaces))),
        part_renderer(forward, options),
        lambda start, stop: (case.light, case.yaw[start:stop]),
        options,
        None,
    )
    return torch.cat([passes.beauty for passes, _ in steps if passes is not None])


def _score(who: Contestant, answer: GBuffer | Tensor, case: ClipCase, models: Models) -> Scores:
    if isinstance(answer, GBuffer):
        return clip_scores(answer, case.truth, known_motion(case.truth))
    target = case.relit if who.task == "video_relight" else case
    assert target is not None
    frames = range(len(target.truth))
    return mean_scores([picture_scores(answer[i : i + 1], target.truth.frame(i), target.shadowed) for i in frames])


CLIPS = Discipline(_answer, _score)
