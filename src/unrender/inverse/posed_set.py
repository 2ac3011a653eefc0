"""The pictures of one thing from known places, taken apart so that their materials agree.

A network sees one picture at a time, or lets the pictures attend to one another, and still says of a surface now this
colour and now that. Where cameras are known, surfaces can be told again: relative depths are brought to one scale by
what all views say of the same points, and base colour, roughness and metallic are then moved towards what the views
have in common. Only the slowly varying part of them is moved: a view keeps the detail that it alone has seen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import grid_sample

from unrender.errors import UserError
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.meeting import meeting_point

Renderer = Callable[[Frames], GBuffer]

AGREED = ("base_color", "diffuse_albedo", "roughness", "metallic")
_COLOURS = ("base_color", "diffuse_albedo")
_DARKEST = 0.01  # of colours, whose logarithms agree


@dataclass(frozen=True)
class Agreement:
    """How views are brought to agree.

    Attributes:
        blurs: standard deviations, as parts of the long side, of what is moved in each round, coarse first.
        surface: relative difference of depths at which two views half see one surface.
        steps: of the search for the depths' scales.
        points: of each view, that the search looks at.
    """

    blurs: tuple[float, ...] = (0.25, 0.12, 0.06, 0.03, 0.03, 0.02)
    surface: float = 0.06
    steps: int = 150
    points: int = 400


DEFAULT = Agreement()


def invert_set(render: Renderer, frames: Frames, camera: Camera, agreement: Agreement = DEFAULT) -> GBuffer:
    """The G-buffer (T, C, H, W) of T posed pictures, with their cameras; depth, where the renderer gives any, is
    brought to the cameras' scale and is metric.

    Args:
        render: gives the G-buffer of pictures, all at once or each alone.
        frames: the pictures.
        camera: of each.

    Raises:
        UserError: fewer than two pictures, another number of cameras, or a renderer that gives no depth.
    """
    if len(frames) != len(camera) or len(frames) < 2:
        raise UserError(f"{len(frames)} pictures and {len(camera)} cameras; expected two or more, one for each")
    return agree(replace(render(frames), camera=camera), camera, agreement)


@torch.no_grad()
def agree(gbuffer: GBuffer, camera: Camera, agreement: Agreement = DEFAULT) -> GBuffer:
    """A G-buffer of T views with materials that agree.

    Raises:
        UserError: it has no depth, by which surfaces are told.
    """
    gbuffer.require("depth", by="a set of views that agree")
    depth = gbuffer.depth
    assert depth is not None
    if gbuffer.depth_kind == "relative":
        depth = align_depths(gbuffer, camera, agreement)
    pairs = correspondences(depth, gbuffer.normal, camera, agreement.surface)
    changed = {
        name: _agreed(name, values, pairs, agreement.blurs) for name, values in gbuffer.maps.items() if name in AGREED
    }
    return replace(gbuffer.with_maps(**changed, depth=depth), depth_kind="metric")


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Where the surfaces of each view are seen in the others.

    Attributes:
        at: (T, T, H, W, 2) for view i and view j, as `grid_sample` takes it.
        weight: (T, T, H, W) how sure it is that both see one surface; 0 for i = j.
    """

    at: Tensor
    weight: Tensor


def correspondences(depth: Tensor, normal: Tensor | None, camera: Camera, surface: float) -> Correspondences:
    """By planar depth (T, 1, H, W) and, where they are known, normals in camera space."""
    count = len(depth)
    world = _world_points(depth, camera)
    turned = None if normal is None else torch.einsum("tij,tjhw->tihw", camera.pose[:, :3, :3], normal)
    inverse = torch.where(depth.isfinite(), 1 / depth.clamp(min=1e-6), 0.0)
    ats, weights = [], []
    for j in range(count):
        at, distance = _look(world, camera, j)
        seen = grid_sample(inverse[j : j + 1].expand(count, -1, -1, -1), at, align_corners=False)[:, 0]
        off = (distance * seen - 1) / surface
        weight = 1 / (1 + off.square().square())
        inside = (at.abs() < 1).all(-1) & (distance > 0) & depth[:, 0].isfinite() & (seen > 0)
        if turned is not None:
            other = grid_sample(turned[j : j + 1].expand(count, -1, -1, -1), at, align_corners=False)
            weight = weight * ((turned * functional.normalize(other, dim=1)).sum(1)).clamp(min=0)
        weight = weight * inside
        weight[j] = 0
        ats.append(at)
        weights.append(weight)
    return Correspondences(torch.stack(ats, 1), torch.stack(weights, 1))


def align_depths(gbuffer: GBuffer, camera: Camera, agreement: Agreement = DEFAULT) -> Tensor:
    """Relative depth (T, 1, H, W) brought to the cameras' scale: a scale and a shift for each view, found where points
    of each view have, in the others, the depth and the colour that these say."""
    relative, there = gbuffer.depth, _covered(gbuffer)
    assert relative is not None
    safe = relative.where(relative.isfinite(), 1.5)
    given = gbuffer.base_color if gbuffer.base_color is not None else gbuffer.rgb
    middle = [one[:, mask[0]].median() if mask.any() else one.median() for one, mask in zip(safe, there, strict=True)]
    views = _Views(
        safe,
        torch.stack(middle),
        _distances(camera),
        None if given is None else given.clamp(min=_DARKEST).log(),
        there.float(),
        _points(there, agreement.points),
        camera,
    )
    # From near to far, depth may be half of the cameras' mean distance, or twice.
    found = [_search(views, spread, agreement.steps) for spread in (0.5, 1.0, 2.0)]
    best = min(found, key=lambda pair: pair[0])[1]
    return views.metric(best).masked_fill(~relative.isfinite(), torch.inf)


@dataclass(frozen=True, eq=False)
class _Views:
    """What the search for the scales of T relative depths looks at.

    Attributes:
        relative: (T, 1, H, W) depths, finite.
        middle: (T,) their medians.
        away: (T,) how far the cameras are from what they look at.
        colour: (T, 3, H, W) logarithms of base colours; None where there are none.
        mask: (T, 1, H, W) 1 where there is a surface.
        pick: (T, P) numbers of the pixels that are looked at.
        camera: of each.
    """

    relative: Tensor
    middle: Tensor
    away: Tensor
    colour: Tensor | None
    mask: Tensor
    pick: Tensor
    camera: Camera

    def metric(self, unknown: Tensor) -> Tensor:
        """Depth (T, 1, H, W) by logarithms (T, 2) of scales and of shifts, both in cameras' distances: the middle of a
        picture is about as far as what it shows."""
        scale, shift = ((value.exp() * self.away)[:, None, None, None] for value in unknown.unbind(1))
        depth = (self.relative - self.middle[:, None, None, None]) * scale + shift
        return depth.clamp(min=0.02 * self.away[:, None, None, None])

    def disagreement(self, depth: Tensor) -> Tensor:
        """How far points of each view are off in the others: in depth and colour where they are seen, and by whether
        there is anything at all."""
        count, chosen = len(depth), self.pick[:, None].expand(-1, 3, -1)
        rays = pixel_rays(self.camera).flatten(2).gather(2, chosen)
        points = depth.flatten(2).gather(2, self.pick[:, None]) * rays
        pose = self.camera.pose
        world = torch.einsum("tij,tjp->tpi", pose[:, :3, :3], points) + pose[:, None, :3, 3]
        total = depth.new_zeros(())
        for j in range(count):
            at, distance = (each[:, :, 0] for each in _look(world[:, :, None], self.camera, j))
            inside = ((at.abs() < 1).all(-1) & (distance > 0)).float() * (torch.arange(count) != j)[:, None]
            looked = torch.cat((depth[j], self.mask[j], *(() if self.colour is None else (self.colour[j],))))[None]
            seen = grid_sample(looked.expand(count, -1, -1, -1), at[:, :, None], align_corners=False)[..., 0]
            off = (distance / seen[:, 0].clamp(min=1e-6)).clamp(min=1e-3).log()
            wrong = 1 - 1 / (1 + (off / 0.1).square())
            if self.colour is not None:
                differs = (seen[:, 2:] - self.colour.flatten(2).gather(2, chosen)).square().mean(1)
                wrong = wrong + 0.5 * (1 - 1 / (1 + differs / 0.3))
            covered = seen[:, 1]
            cost = covered * wrong + (1 - covered)
            total = total + (inside * cost).sum() / inside.sum().clamp(min=1)
        return total / count


@torch.enable_grad()
def _search(views: _Views, spread: float, steps: int) -> tuple[float, Tensor]:
    """The least disagreement that a walk from one scale finds, and where."""
    away = views.away
    start = torch.stack((torch.full_like(away, math.log(spread)), torch.zeros_like(away)), 1)
    unknown = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([unknown], lr=0.03)
    losses = []
    for _ in range(steps):
        loss = views.disagreement(views.metric(unknown)) + 0.02 * (unknown - start).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return sum(losses[-10:]) / len(losses[-10:]), unknown.detach()


def _distances(camera: Camera) -> Tensor:
    """(T,) how far from the cameras the thing is that they look at; where their axes meet nowhere, as far as they are
    apart."""
    middle, place = meeting_point(camera), camera.pose[:, :3, 3]
    if middle is None:
        return (place - place.mean(0)).norm(dim=1).max().clamp(min=1e-3).expand(len(place)) * 2
    return (place - middle.float()).norm(dim=1)


def _agreed(name: str, values: Tensor, pairs: Correspondences, blurs: tuple[float, ...]) -> Tensor:
    """One map (T, C, H, W), its slowly varying part moved to what the views have in common."""
    colour = name in _COLOURS
    current = values.clamp(min=_DARKEST).log() if colour else values
    start, longest = current, max(values.shape[2:])
    for blur in blurs:
        others = torch.stack(
            [
                grid_sample(current[j : j + 1].expand(len(values), -1, -1, -1), pairs.at[:, j], align_corners=False)
                for j in range(len(values))
            ],
            1,
        )
        away = others - current[:, None]
        tolerance = 0.5 if colour else 0.25
        trust = pairs.weight[:, :, None] / (1 + (away.abs().amax(2, keepdim=True) / tolerance).square())
        total = trust.sum(1)
        # The mean of all views that see the point, its own among them.
        wanted = (trust * away).sum(1) / (1 + total)
        sure = total / (1 + total)
        moved = _blurred(wanted * sure, blur * longest) / _blurred(sure, blur * longest).clamp(min=1e-3)
        current = current + moved
    if not colour:
        return current.clamp(0, 1)
    return (values.clamp(min=0) * (current - start).exp()).clamp(0, 1)


def _blurred(values: Tensor, sigma: float) -> Tensor:
    """(T, C, H, W) under a Gaussian; what lies outside counts nothing."""
    reach = max(1, math.ceil(2.5 * sigma))
    ticks = torch.arange(-reach, reach + 1).to(values)
    window = torch.exp(-0.5 * (ticks / max(sigma, 1e-3)).square())
    window = (window / window.sum()).expand(values.shape[1], 1, -1)
    across = functional.conv2d(values, window[:, :, None], padding=(0, reach), groups=values.shape[1])
    return functional.conv2d(across, window[:, :, :, None], padding=(reach, 0), groups=values.shape[1])


def _world_points(depth: Tensor, camera: Camera) -> Tensor:
    """(T, H, W, 3) of planar depth; far away where there is nothing."""
    points = depth.where(depth.isfinite(), 1e4) * pixel_rays(camera)
    world = torch.einsum("tij,tjhw->thwi", camera.pose[:, :3, :3], points)
    return world + camera.pose[:, None, None, :3, 3]


def _look(world: Tensor, camera: Camera, view: int) -> tuple[Tensor, Tensor]:
    """World points (T, H, W, 3) in one view: (T, H, W, 2) as `grid_sample` takes it, and planar depth (T, H, W)."""
    pose, k = camera.pose[view], camera.intrinsics[view]
    x, y, z = ((world - pose[:3, 3]) @ pose[:3, :3]).unbind(-1)
    depth = -z
    safe = torch.where(depth.abs() < 1e-6, 1e-6, depth)
    height, width = camera.size
    u, v = k[0, 2] + k[0, 0] * x / safe, k[1, 2] - k[1, 1] * y / safe
    return torch.stack((u / width, v / height), dim=-1) * 2 - 1, depth


def _covered(gbuffer: GBuffer) -> Tensor:
    """(T, 1, H, W) bool."""
    depth = gbuffer.depth
    assert depth is not None
    return depth.isfinite() if gbuffer.mask is None else depth.isfinite() & (gbuffer.mask > 0.5)


def _points(there: Tensor, count: int) -> Tensor:
    """(T, count) numbers of pixels that are covered, evenly from all of them; of all pixels where none is."""
    chosen = []
    for mask in there.flatten(1):
        found = mask.nonzero()[:, 0]
        found = found if len(found) else torch.arange(len(mask))
        chosen.append(found[torch.linspace(0, len(found) - 1, count).long()])
    return torch.stack(chosen)
