"""How contestants put an object into a photo, and how composites are scored."""

from __future__ import annotations

import math
from dataclasses import replace
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
from unrender.insert import GUIDED, FitOptions, InsertOptions, insert
from unrender.relight.light_estimate import estimate_light
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames

PSNR, _, SSIM, RMSE, _, SI_RMSE = (replace(figure, mask="object and shadow") for figure in pictures.FIGURES[:6])
OBJECT_PSNR = replace(PSNR, mask="object")
LPIPS = replace(pictures.LPIPS, mask="object and shadow, else black")


def guided_fit(way: str, steps: int) -> FitOptions:
    """How a guided contestant fits in so many steps. With fewer than DiPIR's, the rate is higher by the root of their
    ratio, so that what single draws of noise want moves a light as far in all."""
    rate = GUIDED.rate * math.sqrt(max(1.0, GUIDED.steps / steps))
    return replace(GUIDED, steps=steps, rate=rate, tones=way != "no-tones", separate=way != "no-fusion")


def _answer(who: Contestant, case: InsertionCase, models: Models) -> Tensor:
    """The composite (1, 3, H, W), linear."""
    if who.way == "unchanged":
        return case.photo.rgb
    options = InsertOptions(samples=models.conditions.samples, seed=models.seed)
    light, guidance = _light(who, case, models), None
    if light is None and who.way != "shading":
        guidance = _guidance(who, case, models)
        options = replace(options, guided=guided_fit(who.way, models.conditions.guided_steps))
    return insert(
        case.photo,
        str(case.asset),
        light,
        placement=case.placement,
        options=options,
        guidance=guidance,
        inverse=models.embedded(),
    ).composite


def _light(who: Contestant, case: InsertionCase, models: Models) -> EnvironmentMap | None:
    """The light of a contestant that is given one."""
    camera = case.placement.camera
    assert camera is not None
    if who.way == "true":
        return case.light
    if who.way == "constant":
        return constant_light(case.photo)
    if who.way == "mirrored":
        return mirrored_light(case.photo, camera)
    if who.way == "estimated":
        maps = models.embedded()(case.photo, None)
        return estimate_light(case.photo, replace(maps, camera=camera))
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
