"""Which views are generated together, and which known ones they see: the autoregressive schedule of ViewDiff, section
3.3, for any path. It knows nothing of networks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.scene.camera import Camera

Strategy = Literal["anchored", "nearest", "interpolating"]


@dataclass(frozen=True)
class ViewBatch:
    """Views that are denoised together.

    Attributes:
        new: which views are generated, in the order of the path.
        known: which views, known by then, they see.
    """

    new: tuple[int, ...]
    known: tuple[int, ...] = ()


def plan_views(
    camera: Camera,
    given: Collection[int] = (),
    *,
    batch: int = 10,
    together: int = 30,
    strategy: Strategy = "anchored",
) -> list[ViewBatch]:
    """The batches that generate every view that is not given, once each; all that a batch sees was generated before it
    or given.

    The first batch are anchors, spread over the whole path: nothing that is generated later is far from all of them.

    anchored       along the path; each batch sees what was given, all anchors, and the half nearest to it of each of
                   the two batches before it (ViewDiff's schedule)
    nearest        along the path; each batch sees what was given and the nearest known views
    interpolating  from coarse to fine: each batch takes the views that are farthest from all known ones, and sees what
                   was given and the nearest known views

    Args:
        camera: T frames, in the subject's frame.
        given: views whose pictures are there already.
        batch: most views that are generated together.
        together: most views of a batch, known ones included.

    Raises:
        UserError: a batch without room for a known view, or a given view that is not on the path.
    """
    if batch < 1 or together < batch or (together == batch and len(camera) > batch):
        raise UserError(
            f"batches of {batch} new views among {together}; expected 1 or more new ones, and room for known ones"
        )
    if any(not 0 <= view < len(camera) for view in given):
        raise UserError(f"given views {sorted(given)} of a path of {len(camera)}; expected numbers on the path")
    apart = view_distances(camera)
    known, left = sorted(set(given)), [view for view in range(len(camera)) if view not in set(given)]
    if not left:
        return []
    seen = _nearest(apart, range(len(camera)), known, together - min(batch, len(left)))
    anchors = _spread(apart, known, left, batch)
    plan = [ViewBatch(tuple(anchors), tuple(seen))]
    while left := [view for view in left if view not in plan[-1].new]:
        done = sorted({*known, *(view for one in plan for view in one.new)})
        new = sorted(_spread(apart, done, left, batch)) if strategy == "interpolating" else left[:batch]
        room = together - len(new)
        first = list(_nearest(apart, new, known, room))
        if strategy == "anchored":
            wanted = list(plan[0].new) + [
                view for one in plan[1:][-2:] for view in _nearest(apart, new, one.new, (len(one.new) + 1) // 2)
            ]
        else:
            wanted = _nearest(apart, new, done, room)
        more = [view for view in dict.fromkeys(wanted) if view not in first]
        more = _nearest(apart, new, more, room - len(first))
        plan.append(ViewBatch(tuple(new), tuple(sorted((*first, *more)))))
    return plan


def view_distances(camera: Camera) -> Tensor:
    """(T, T) how unlike two views are: the angle between their directions from the subject, in radians, and the
    logarithm of the ratio of their distances."""
    place = camera.pose[:, :3, 3].double()
    direction = functional.normalize(place, dim=1)
    angle = 2 * torch.asin(((direction[:, None] - direction[None]).norm(dim=-1) / 2).clamp(max=1))
    away = place.norm(dim=1).clamp(min=1e-9).log()
    return torch.hypot(angle, away[:, None] - away[None])


def same_views(camera: Camera) -> list[int]:
    """For each view the first one with the same camera: a closed path comes back to where it began."""
    about = torch.cat((camera.pose.flatten(1), camera.intrinsics.flatten(1) / max(camera.size)), dim=1).double()
    alike = (about[:, None] - about[None]).abs().amax(-1) < 1e-5
    return [int(row.nonzero()[0]) for row in alike]


def _nearest(apart: Tensor, to: Sequence[int], among: Collection[int], count: int) -> list[int]:
    """Of `among` the `count` that are nearest to any of `to`."""
    among = list(among)
    if count <= 0 or not among:
        return []
    distance = apart[among][:, list(to)].amin(1)
    return sorted(among[i] for i in distance.argsort(stable=True)[:count].tolist())


def _spread(apart: Tensor, known: Sequence[int], left: Sequence[int], count: int) -> list[int]:
    """Of `left` the `count` that lie as far as can be from `known` and from one another, taken one by one."""
    chosen: list[int] = []
    seen = list(known)
    while len(chosen) < min(count, len(left)):
        if not seen:
            chosen.append(left[0])
        else:
            rest = [view for view in left if view not in chosen]
            chosen.append(rest[int(apart[rest][:, seen].amin(1).argmax())])
        seen.append(chosen[-1])
    return sorted(chosen)
