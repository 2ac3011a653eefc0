"""How contestants make the views of a set from its first one, and how views are scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from unrender.evaluate.claims.contest import Discipline
from unrender.evaluate.claims.contestant import Contestant
from unrender.evaluate.claims.models import Models
from unrender.evaluate.metrics.errors import psnr
from unrender.evaluate.multiview import REPROJECTION, ViewMeasures, reprojection_psnr, shuffled_order, view_scores
from unrender.evaluate.report import Figure, Scores
from unrender.files.posed import PosedPictures
from unrender.files.shards import Clip
from unrender.multiview import CameraPath, ViewOptions
from unrender.multiview.planner import view_distances
from unrender.multiview.rendered import RenderedSet, rendered_sets
from unrender.multiview.subject import Subject
from unrender.scene.camera import Camera
from unrender.scene.color import linear_to_srgb
from unrender.scene.frames import Frames
from unrender.scene.trajectory import look_at

LAST_TO_FIRST = replace(REPROJECTION, name="last-to-first PSNR")
LAST = Figure("rgb", "PSNR of the last view", "dB", "sRGB", "all", higher_is_better=True)

_CLEAR = 1.8  # radii from the subject's middle, outside of its cube whatever the direction
_APART = 0.05  # radians, in which two cameras are in the same place
_MEASURES = ViewMeasures(split_half=False)


def view_sets(clips: Iterable[Clip]) -> Iterator[RenderedSet]:
    """The sets of clips that a generator can be asked for: three views at least, and no camera in the subject."""
    for one in rendered_sets(clips):
        camera = one.views.camera
        assert camera is not None
        place = (camera.pose[:, :3, 3] - one.subject.pose[:3, 3]) @ one.subject.pose[:3, :3] / one.subject.radius
        if len(camera) > 2 and bool((place.abs() >= 1).any(1).all()) and nearest_to_first(one):
            yield one


def long_path(one: RenderedSet, count: int) -> CameraPath:
    """`count` cameras from the first of a set round the subject to the one nearest to it, the long way: by all others,
    in the order of their azimuth. The first and the last are the set's own, those between look at the subject."""
    camera, last = _camera(one), nearest_to_first(one)
    pose = torch.linalg.inv(one.subject.pose) @ camera.pose
    x, y, z = (pose[:, :3, 3] / one.subject.radius).unbind(1)
    turned = torch.atan2(x, z)
    turned = torch.remainder(turned - turned[0], 2 * math.pi)
    sense = 1.0 if float(turned[last]) >= math.pi else -1.0
    turned = torch.remainder(sense * turned, 2 * math.pi)
    order = [i for i in turned.argsort().tolist() if turned[i] < turned[last]] + [last]
    keys = torch.stack((turned, torch.atan2(y, torch.hypot(x, z)), torch.stack((x, y, z)).norm(dim=0)), 1)[order]
    at = torch.linspace(0, float(keys[-1, 0]), count)
    after = torch.searchsorted(keys[:, 0].contiguous(), at).clamp(1, len(keys) - 1)
    part = (at - keys[after - 1, 0]) / (keys[after, 0] - keys[after - 1, 0]).clamp(min=1e-6)
    _, height, away = torch.lerp(keys[after - 1], keys[after], part.clamp(0, 1)[:, None]).unbind(1)
    azimuth, away = torch.atan2(x[0], z[0]) + sense * at, away.clamp(min=_CLEAR) * one.subject.radius
    flat = away * height.cos()
    eye = torch.stack((flat * azimuth.sin(), away * height.sin(), flat * azimuth.cos()), 1)
    between = one.subject.pose @ look_at(eye, torch.zeros(3))
    poses = torch.cat((camera.pose[:1], between[1:-1], camera.pose[last : last + 1]))
    return _path(Camera(camera.intrinsics[:1].expand(count, -1, -1), poses, camera.size), one.subject)


def nearest_to_first(one: RenderedSet) -> int:
    """The number of the view whose camera is nearest to the first one's, but not in the same place."""
    camera = _camera(one)
    pose = torch.linalg.inv(one.subject.pose) @ camera.pose
    apart = view_distances(Camera(camera.intrinsics, pose, camera.size))[0]
    return int(apart.where(apart > _APART, torch.inf).argmin())


def _answer(who: Contestant, one: RenderedSet, models: Models) -> Tensor:
    """Views (T, 3, H, W) linear, or the last view (1, 3, H, W) of a path."""
    rgb = one.views.maps["rgb"].clamp(0, 1)
    if who.task == "view_path":
        return _last(who, one, models)
    if who.way == "given":
        return rgb[:1].expand_as(rgb)
    if who.way in ("truth", "shuffled"):
        return rgb if who.way == "truth" else rgb[shuffled_order(len(rgb))]
    if who.way == "alone":
        return torch.cat([rgb[:1], *(_pair(who, one, models, i) for i in range(1, len(rgb)))])
    return _generate(who, one, models, _path(_camera(one), one.subject))


def _last(who: Contestant, one: RenderedSet, models: Models) -> Tensor:
    last = nearest_to_first(one)
    if who.way in ("truth", "given"):
        return one.views.maps["rgb"][[last if who.way == "truth" else 0]].clamp(0, 1)
    if who.way == "alone":
        return _pair(who, one, models, last)
    return _generate(who, one, models, long_path(one, models.conditions.path_views))[-1:]


def _pair(who: Contestant, one: RenderedSet, models: Models, number: int) -> Tensor:
    """One view from the given one alone, from noise that no other such view has."""
    camera, which = _camera(one), [0, number]
    chosen = Camera(camera.intrinsics[which], camera.pose[which], camera.size)
    return _generate(who, one, models, _path(chosen, one.subject), number)[1:]


def _generate(who: Contestant, one: RenderedSet, models: Models, path: CameraPath, number: int = 0) -> Tensor:
    given = {0: Frames(one.views.maps["rgb"][:1].clamp(0, 1))}
    options = ViewOptions(steps=who.steps, seed=models.seed + number)
    return models.views(who)(one.caption, path, given, options).frames.rgb


def _path(camera: Camera, subject: Subject) -> CameraPath:
    return CameraPath(camera, subject, tuple(f"{number:04d}.png" for number in range(1, len(camera) + 1)))


def _score(who: Contestant, answer: Tensor, one: RenderedSet, models: Models) -> Scores:
    truth, depth, camera = one.views.maps["rgb"].clamp(0, 1), one.views.maps["depth"], _camera(one)
    if who.task == "view_path":
        return _last_scores(answer, one)
    posed = PosedPictures(Frames(truth), camera, (), depth, one.seen)
    given = torch.arange(len(truth)) == 0
    return view_scores(answer, camera, depth, posed, given, _MEASURES)


def _last_scores(answer: Tensor, one: RenderedSet) -> Scores:
    """Of the last view of a path: against the truth, and against what the first one shows of the same surfaces."""
    last, truth = nearest_to_first(one), linear_to_srgb(one.views.maps["rgb"].clamp(0, 1))
    encoded = truth.clone()
    encoded[last] = linear_to_srgb(answer[0].clamp(0, 1))
    whole = torch.ones_like(truth[0, :1], dtype=torch.bool)
    pairs = [(0, last), (last, 0)]
    return {
        LAST: min(psnr(encoded[last], truth[last], whole), 100.0),
        LAST_TO_FIRST: reprojection_psnr(encoded, one.views.maps["depth"], _camera(one), pairs),
    }


def _camera(one: RenderedSet) -> Camera:
    assert one.views.camera is not None
    return one.views.camera


VIEWS = Discipline(_answer, _score)
