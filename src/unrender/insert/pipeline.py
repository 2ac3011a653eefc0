"""From a picture and an asset to a composite: a scene, a light, and the pictures of every frame."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Literal

import torch
from torch import Tensor

from unrender.diffusion.score_distillation import ScoreDistillation
from unrender.errors import UserError
from unrender.files.natural import LightLike, as_clip, as_light
from unrender.insert.composite import composite
from unrender.insert.fit import Fit, FitOptions, fit_light
from unrender.insert.guidance import LightGuidance
from unrender.insert.guided import GUIDED, fit_guided, trace_scene
from unrender.insert.look import look_at
from unrender.insert.placement import ANYWHERE, Asset, Placement, build_scene, loaded
from unrender.insert.plane import support_mask
from unrender.insert.render import SAMPLES, Rendered, TracedScene, ground_albedo, render_frame
from unrender.insert.scene import InsertionScene
from unrender.insert.shading import fit_shading
from unrender.insert.tracking import follow_plane, stands_still
from unrender.relight.light_estimate import estimate_light
from unrender.relight.options import Inverse
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles
from unrender.scene.frames import Frames, single_frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.records import same, summary

Guidance = LightGuidance | ScoreDistillation
"""What a light is fitted by in place of the photo's shading alone: any loss, or a diffusion model."""


@dataclass(frozen=True)
class InsertOptions:
    """How to insert.

    Attributes:
        exposure: of a light that is given. "auto" leaves it as it is before scene-referred pictures; a display picture
            tells no units, and the light is scaled until the ground is as bright under it as the picture shows it. A
            number makes it so many stops brighter.
        samples: paths a pixel of the final pictures.
        seed: of the random numbers.
        fit: of the light, where none is given.
        guided: of the light by a diffusion model, which begins with what `fit` found.
    """

    exposure: float | Literal["auto"] = "auto"
    samples: int = SAMPLES
    seed: int = 0
    fit: FitOptions = field(default_factory=FitOptions)
    guided: FitOptions = GUIDED

    def __post_init__(self) -> None:
        if self.exposure != "auto" and not abs(self.exposure) <= 100:
            raise UserError(f"InsertOptions.exposure is {self.exposure}; expected 'auto', or stops from -100 to 100")
        if self.samples < 1:
            raise UserError(f"InsertOptions.samples is {self.samples}; expected 1 or more")


DEFAULTS = InsertOptions()


@dataclass(frozen=True)
class InsertionPlan:
    """All that is decided before a frame is rendered.

    Attributes:
        scene: objects, stand-in, camera.
        fit: the light and the tone curves; of a light that was given, that light.
        ground: (3,) albedo of what the objects stand on, see `ground_albedo`.
    """

    scene: InsertionScene
    fit: Fit
    ground: Tensor

    @staticmethod
    def of(scene: InsertionScene, fit: Fit, photo: Frames) -> InsertionPlan:
        """The plan of a scene under the light of `fit`, on the ground that `photo` (T = 1) then has."""
        return InsertionPlan(scene, fit, ground_albedo(scene, fit.light, photo))


@dataclass(frozen=True, eq=False, repr=False)
class InsertedFrame:
    """One frame with the objects in it.

    Attributes:
        background: T = 1, the frame as it was.
        rendered: the objects and their shadows, before tone curves.
        composite: (1, 3, H, W) linear.
    """

    background: Frames
    rendered: Rendered
    composite: Tensor

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)


@dataclass(frozen=True)
class Insertion:
    """A picture or clip with the objects in it.

    Attributes:
        plan: scene and light.
        frames: one for each frame of the background.
    """

    plan: InsertionPlan
    frames: tuple[InsertedFrame, ...]

    @property
    def composite(self) -> Tensor:
        """(T, 3, H, W) linear."""
        return torch.cat([frame.composite for frame in self.frames])


def insert(
    background: Frames | Tensor | str | PathLike[str],
    assets: Asset | Sequence[Asset],
    light: LightLike | None = None,
    *,
    placement: Placement = ANYWHERE,
    options: InsertOptions = DEFAULTS,
    guidance: Guidance | None = None,
    inverse: Inverse | None = None,
) -> Insertion:
    """Puts objects into a picture or clip: `plan_insertion`, then `insert_stream`, held whole. Arguments and errors as
    there; `background` may also be a path, and `light` a path or the name of a shipped one."""
    clip = as_clip(background)
    first = next(iter(single_frames(clip)))
    given = None if light is None else as_light(light)
    look = functools.cache(lambda: look_at(first, inverse))
    plan = plan_insertion(
        first, assets, given, placement=placement, options=options, guidance=guidance, inverse=lambda *_: look()
    )
    if placement.follow and placement.camera is None:
        plan = follow_camera(plan, clip, look)
    return Insertion(plan, tuple(insert_stream(clip, plan, options)))


def plan_insertion(
    photo: Frames,
    assets: Asset | Sequence[Asset],
    light: EnvironmentMap | None = None,
    *,
    placement: Placement = ANYWHERE,
    options: InsertOptions = DEFAULTS,
    guidance: Guidance | None = None,
    inverse: Inverse | None = None,
    report: Callable[[int, float], None] | None = None,
) -> InsertionPlan:
    """Places the objects and finds their light.

    Args:
        photo: the picture, or the first frame of the clip, T = 1.
        assets: files, names of shipped objects (`builtin.BUILTIN`), or objects.
        light: where it is known; else it starts from the relight room's estimate and is fitted.
        placement: where the objects go.
        options: how.
        guidance: what the light is fitted by; the photo's own shading (`fit_shading`) by default. A diffusion model
            goes on from what that finds (`fit_guided`), with two lights that become one and tone curves.
        inverse: takes the photo apart, where something has to be found in it; the embedded model by default.
        report: is called with each step of the last fit, and its loss.

    Raises:
        UserError: what `load_object` and `build_scene` raise; a guidance beside a light that is given.
    """
    if guidance is not None and light is not None:
        raise UserError("a guidance beside a light that is given; expected one of them")
    look = functools.cache(lambda: look_at(photo, inverse))
    scene = build_scene(photo, loaded(assets), placement, look)
    if light is not None:
        known = _exposed(light.frame(0), photo, scene, options, look)
        return InsertionPlan.of(scene, Fit.known(known), photo)
    gbuffer = replace(look(), camera=scene.camera.frame(0))
    if guidance is None:
        fit = fit_shading(scene, photo, gbuffer, options.fit, report)
    elif isinstance(guidance, ScoreDistillation):
        shaded = fit_shading(scene, photo, gbuffer, options.fit).light
        fit = fit_guided(guidance, scene, photo, shaded, options.guided, report)
    else:
        transport, picture = trace_scene(scene, photo)
        start = estimate_light(photo, gbuffer)
        fit = fit_light(guidance, start, options.fit, transport=transport, background=picture, report=report)
    return InsertionPlan.of(scene, fit, photo)


def follow_camera(plan: InsertionPlan, clip: Iterable[Frames], look: Callable[[], GBuffer]) -> InsertionPlan:
    """The plan with the camera of every frame, followed on the plane where that faces up in the first frame.

    Args:
        plan: its camera is that of the first frame.
        clip: is gone through from its first frame on.
        look: gives the G-buffer of the first frame; called only where the camera moves.

    Raises:
        UserError: what `follow_plane` raises.
    """
    if stands_still(clip):
        return plan
    path = follow_plane(clip, plan.scene.camera, plan.scene.plane, support_mask(look()))
    return replace(plan, scene=replace(plan.scene, camera=path))


def insert_stream(
    clip: Iterable[Frames], plan: InsertionPlan, options: InsertOptions = DEFAULTS
) -> Iterator[InsertedFrame]:
    """Renders the objects into every frame, one by one, under the plan's one light. Where the camera stands still they
    are rendered once.

    Raises:
        UserError: more frames than the camera has, or of another size.
    """
    traced, camera = TracedScene.of(plan.scene, plan.ground), plan.scene.camera
    rendered: Rendered | None = None
    for index, frame in enumerate(single_frames(clip)):
        if len(camera) > 1 and index >= len(camera):
            raise UserError(f"the clip has more frames than the camera, {len(camera)}; expected as many, or one")
        if frame.size != camera.size:
            raise UserError(f"frame {index + 1} is {frame.size}, and the first is {camera.size}; expected one size")
        if rendered is None or len(camera) > 1:
            rendered = render_frame(
                traced, plan.scene, plan.fit.light, frame=index, samples=options.samples, seed=options.seed
            )
        yield InsertedFrame(frame, rendered, composite(frame.rgb, rendered.layers.toned(plan.fit.tones)))


def _exposed(
    light: EnvironmentMap,
    photo: Frames,
    scene: InsertionScene,
    options: InsertOptions,
    look: Callable[[], GBuffer],
) -> EnvironmentMap:
    """The light that was given, in the units of the picture."""
    if options.exposure != "auto":
        return light.exposed(options.exposure)
    if photo.hdr:
        return light
    gbuffer = look()
    gbuffer.require("base_color", by="--exposure auto")
    assert gbuffer.base_color is not None
    ground = support_mask(gbuffer)
    if not bool(ground.any()):
        raise UserError("no ground is found to tell how bright the light is; give --exposure EV")
    directions = texel_directions(light.size)
    falling = (directions @ scene.plane.normal).clamp(min=0) * texel_solid_angles(light.size)
    irradiance = float(luminance((light.radiance[0] * falling).sum((1, 2)), 0))
    expected = luminance(gbuffer.base_color)[0, 0][ground] * irradiance / math.pi
    seen = luminance(photo.rgb)[0, 0][ground]
    gain = float((seen / expected.clamp(min=1e-6)).median())
    return replace(light, radiance=light.radiance * max(gain, 1e-6))
