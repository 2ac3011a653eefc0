"""How contestants put an object into a photo, and how composites are scored."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.score_distillation import DistillationOptions, Kind, ScoreDistillation
from unrender.errors import UserError
from unrender.evaluate import pictures
from unrender.evaluate.claims.contest import Discipline
from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.insertions.lights import constant_light, mirrored_light
from unrender.evaluate.claims.insertions.pairs import InsertionCase
from unrender.evaluate.claims.models import Models
from unrender.evaluate.report import Scores
from unrender.insert import (
    GUIDED,
    Fit,
    FitOptions,
    InsertionPlan,
    InsertionScene,
    InsertOptions,
    ShownScene,
    build_scene,
    fit_shading,
    fit_shown,
    insert_stream,
    show_scene,
)
from unrender.insert.look import look_at
from unrender.insert.placement import loaded
from unrender.relight.light_estimate import estimate_light
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

PSNR, _, SSIM, RMSE, _, SI_RMSE = (replace(figure, mask="object and shadow") for figure in pictures.FIGURES[:6])
OBJECT_PSNR = replace(PSNR, mask="object")
LPIPS = replace(pictures.LPIPS, mask="object and shadow, else black")


_SEEN = "what is seen of a pair"


def guided_fit(way: str, steps: int) -> FitOptions:
    """How a guided contestant fits in so many steps. With fewer than DiPIR's, the rate is higher by the root of their
    ratio, so that what single draws of noise want moves a light as far in all."""
    rate = GUIDED.rate * math.sqrt(max(1.0, GUIDED.steps / steps))
    return replace(GUIDED, steps=steps, rate=rate, tones=way != "no-tones", separate=way != "no-fusion")


@dataclass(frozen=True, eq=False)
class _Seen:
    """What all contestants see of a pair, found once, by the embedded inverse renderer.

    Attributes:
        case: the pair.
        scene: with the object placed.
        maps: the photo's G-buffer, with the true camera.
        shown: what models of a size are shown of it.
    """

    case: InsertionCase
    scene: InsertionScene
    maps: GBuffer
    shown: dict[int, ShownScene] = field(default_factory=dict)

    @staticmethod
    def of(case: InsertionCase, models: Models) -> _Seen:
        """Of a pair; kept beside the models until another one is asked for."""
        kept = models.loaded.get(_SEEN)
        if kept is None or kept.case is not case:
            maps = replace(look_at(case.photo, models.embedded()), camera=case.placement.camera)
            scene = build_scene(case.photo, loaded(str(case.asset)), case.placement, lambda: maps)
            kept = models.loaded[_SEEN] = _Seen(case, scene, maps)
        return kept

    @cached_property
    def shading(self) -> Fit:
        """The light fitted to the photo's shading, which guidance starts from."""
        return fit_shading(self.scene, self.case.photo, self.maps, FitOptions())

    def guided(self, guidance: ScoreDistillation, options: FitOptions) -> Fit:
        """The light by a model that guides."""
        light = self.shading.light
        if guidance.side not in self.shown:
            self.shown[guidance.side] = show_scene(guidance, self.scene, self.case.photo, light)
        return fit_shown(guidance, self.shown[guidance.side], light, options)


def _answer(who: Contestant, case: InsertionCase, models: Models) -> Tensor:
    """The composite (1, 3, H, W), linear."""
    if who.way == "unchanged":
        return case.photo.rgb
    seen = _Seen.of(case, models)
    light = _light(who, seen)
    if light is not None:
        fit = Fit.known(light)
    elif who.way == "shading":
        fit = seen.shading
    else:
        fit = seen.guided(_guidance(who, case, models), guided_fit(who.way, models.conditions.guided_steps))
    plan = InsertionPlan.of(seen.scene, fit, case.photo)
    options = InsertOptions(samples=models.conditions.samples, seed=models.seed)
    return next(insert_stream([case.photo], plan, options)).composite


def _light(who: Contestant, seen: _Seen) -> EnvironmentMap | None:
    """The light of a contestant that is given one."""
    photo = seen.case.photo
    if who.way == "true":
        return seen.case.light
    if who.way == "constant":
        return constant_light(photo)
    if who.way == "mirrored":
        return mirrored_light(photo, seen.scene.camera)
    if who.way == "estimated":
        return estimate_light(photo, seen.maps)
    return None


def _guidance(who: Contestant, case: InsertionCase, models: Models) -> ScoreDistillation:
    """The model that guides, taught the photo where its way says so."""
    kind: Kind = "sds" if who.way.startswith("sds") else "lds"
    base, teacher = models.place(who.models[0]), models.teacher
    if teacher is None:
        raise UserError(f"{who.name}: nothing teaches the model the photo; expected Models(teacher=...)")
    adapters = None
    if who.way != "sds":
        adapters = teacher.adapters(base, case.photo, case.class_name, preserved=who.way != "no-preservation")
    return ScoreDistillation.from_pretrained(
        base,
        teacher.prompt(case.class_name),
        adapters=adapters,
        options=DistillationOptions(kind, seed=models.seed),
        inference=InferenceOptions(models.inference.device, "float32"),
    )


def _score(who: Contestant, answer: Tensor, case: InsertionCase, models: Models) -> Scores:
    made, truth = (Frames(rgb.clamp(0, 1)) for rgb in (answer, case.truth))
    region = case.region.float()
    values: list[Any] = list(pictures.score(made, replace(truth, mask=region), models.lpips).values())
    scores: Scores = dict(zip((PSNR, SSIM, RMSE, SI_RMSE), (values[i] for i in (0, 2, 3, 5)), strict=True))
    scores[OBJECT_PSNR] = next(iter(pictures.score(made, replace(truth, mask=case.mask)).values()))
    if models.lpips is not None:
        scores[LPIPS] = values[-1]
    return scores


PAIRS = Discipline(_answer, _score)
