"""Rendered sets of views (`unrender synth --cameras K`), each with the subject that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.files.shards import Clip
from unrender.multiview.subject import Subject
from unrender.scene.camera import unproject
from unrender.scene.gbuffer import GBuffer, concatenate

MARGIN = 1.1
"""How much larger than a subject its cube is."""


@dataclass(frozen=True, eq=False)
class RenderedSet:
    """The first frame of a clip, and the same moment from its other cameras.

    Attributes:
        views: T frames with rgb, depth, camera and, where the clip has it, instance.
        subject: the cube about its named things.
        seen: (T, 1, H, W) in {0, 1}, where one of them is seen.
        caption: in words.
    """

    views: GBuffer
    subject: Subject
    seen: Tensor
    caption: str


def rendered_sets(clips: Iterable[Clip]) -> Iterator[RenderedSet]:
    """The sets of clips with other cameras; those that show nothing of a named thing are left out."""
    for clip in clips:
        if not clip.views:
            continue
        views = concatenate([_bare(clip.gbuffer.frame(0)), *(_bare(view.frame(0)) for view in clip.views)])
        if views.depth is None or views.camera is None or views.rgb is None:
            continue
        named = torch.tensor(
            [False, *(bool(name) and "ground" not in name and "wall" not in name for name in clip.things)]
        )
        seen = views.depth.isfinite()
        if views.instance is not None:
            number = views.instance.round().long().clamp(0, len(named) - 1)
            seen = seen & named[number]
        subject = _subject(views, seen)
        if subject is not None:
            yield RenderedSet(views, subject, seen.float(), clip.caption)


def _subject(views: GBuffer, seen: Tensor) -> Subject | None:
    """The cube about what is seen; None where too little is."""
    depth, camera = views.maps["depth"], views.camera
    assert camera is not None
    points = unproject(depth.where(depth.isfinite(), 1.0), camera).permute(0, 2, 3, 1)
    world = torch.einsum("tij,thwj->thwi", camera.pose[:, :3, :3], points) + camera.pose[:, None, None, :3, 3]
    kept = world[seen[:, 0]]
    if len(kept) < 64:
        return None
    low, high = (torch.quantile(kept[:: max(1, len(kept) // 100_000)], part, dim=0) for part in (0.005, 0.995))
    pose = torch.eye(4)
    pose[:3, 3] = (low + high) / 2
    return Subject(pose, MARGIN * float((high - low).max()) / 2)


def _bare(gbuffer: GBuffer) -> GBuffer:
    """What sets are made of."""
    return GBuffer(
        rgb=gbuffer.rgb, depth=gbuffer.depth, instance=gbuffer.instance, camera=gbuffer.camera, depth_kind="metric"
    )
