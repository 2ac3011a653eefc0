"""How contestants answer for pictures, and how their answers are scored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unrender.evaluate import maps
from unrender.evaluate.claims.contest import Discipline, Progress
from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.judging import Answer
from unrender.evaluate.claims.models import Models
from unrender.evaluate.forward import FIGURES, picture_scores
from unrender.evaluate.metrics.scale import align_scale
from unrender.evaluate.report import Figure, Scores
from unrender.evaluate.scenes import Scene
from unrender.forward.surface import coverage
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

CYCLE_FIGURES = tuple(replace(figure, alignment="scale") for figure in FIGURES)
"""Figures of photo -> maps -> photo: no map has the exposure, so the result is scaled to the photo by least squares."""

REAL_FIGURES = tuple(replace(figure, mask="surface of all") for figure in CYCLE_FIGURES)
"""The same of real photos, over pixels that all contestants take for surface (coverage above 0.9)."""


def measure_photos(
    contestants: Sequence[Contestant], photos: Sequence[Frames], models: Models, progress: Progress
) -> dict[Contestant, Answer]:
    """Cycle figures of real photos: decomposed, and rendered again from the maps and their irradiance; see
    `REAL_FIGURES`."""
    rows: dict[Contestant, list[Scores]] = {one: [] for one in contestants}
    seconds: dict[Contestant, list[float]] = {one: [] for one in contestants}
    for photo in photos:
        pictures, covered = {}, torch.ones_like(photo.rgb[:, :1])
        for one in contestants:
            start = time.perf_counter()
            gbuffer = models.inverse(one)(photo, seed=models.seed)
            pictures[one] = models.neural(one)(_as_maps(gbuffer)).beauty
            seconds[one].append(time.perf_counter() - start)
            covered = torch.minimum(covered, coverage(gbuffer))
            progress()
        truth = GBuffer(rgb=photo.rgb, mask=covered)
        for one, picture in pictures.items():
            rows[one].append(_cycle_scores(picture, truth, REAL_FIGURES))
    return {one: Answer(rows[one], seconds[one], models.trained(one)) for one in contestants}


def _answer(who: Contestant, scene: Scene, models: Models) -> GBuffer | Tensor:
    """Maps, or a picture (1, 3, H, W) scene-linear."""
    if who.task == "inverse":
        return _decompose(who, Frames(scene.truth.maps["rgb"].clamp(0, 1)), models) if who.models else _flat(scene)
    if who.task == "forward":
        return models.forward(who)(scene.surfaces, scene.light).beauty
    if who.task == "maps_cycle":
        picture = models.neural(who)(_as_maps(scene.truth)).beauty
        return _decompose(who, Frames(picture.clamp(0, 1)), models)
    gbuffer = _decompose(who, Frames(scene.truth.maps["rgb"].clamp(0, 1)), models)
    if who.task == "photo_cycle":
        return models.neural(who)(_as_maps(gbuffer)).beauty
    # The camera is not under test, and without its pose a light in world axes is meaningless.
    shown = replace(_without_light(gbuffer), camera=scene.truth.camera)
    return models.forward(who)(shown, _target(who, scene).light).beauty


def _score(who: Contestant, answer: GBuffer | Tensor, scene: Scene, models: Models) -> Scores:
    if isinstance(answer, GBuffer):
        return maps.score(answer, scene.truth)
    if who.task == "photo_cycle":
        return _cycle_scores(answer, scene.truth, CYCLE_FIGURES)
    target = _target(who, scene)
    return picture_scores(answer, target.truth, target.shadowed)


def _cycle_scores(picture: Tensor, truth: GBuffer, figures: Sequence[Figure]) -> Scores:
    """`figures`, such as `CYCLE_FIGURES`, of a photo that was rendered again from its maps."""
    photo, mask = truth.maps["rgb"].clamp(0, 1), truth.maps["mask"][0] > 0.9
    scores = picture_scores(align_scale(picture[0], photo[0], mask)[None], truth, shadowed=False)
    return {named: scores[figure] for figure, named in zip(FIGURES, figures, strict=True)}


def _target(who: Contestant, scene: Scene) -> Scene:
    """The contestant's target: the scene itself, or under its other light."""
    if who.task != "relight":
        return scene
    assert scene.relit is not None
    return scene.relit


def _decompose(who: Contestant, photo: Frames, models: Models) -> GBuffer:
    return models.inverse(who)(photo, steps=who.steps, ensemble_size=who.ensemble_size, seed=models.seed)


def _without_light(gbuffer: GBuffer) -> GBuffer:
    """Without the maps from which a forward renderer could copy the photo or its light."""
    return gbuffer.with_maps(rgb=None, irradiance=None, shading=None, residual=None)


def _as_maps(gbuffer: GBuffer) -> GBuffer:
    """The input of a forward renderer in a cycle: the maps with their irradiance; no light, no photo to copy."""
    return gbuffer.with_maps(rgb=None, shading=None, residual=None)


def _flat(scene: Scene) -> GBuffer:
    """One depth for all, and the true mean normal of the picture."""
    normal = maps.mean_normal(scene.truth)[None, :, None, None].expand(1, 3, *scene.truth.size)
    return GBuffer(normal=normal, depth=torch.ones(1, 1, *scene.truth.size))


PICTURES = Discipline(_answer, _score, warm_up=True)
