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
    away = _distances(camera)
    pick = _points(there, agreement.points)
    given = gbuffer.base_color if gbuffer.base_color is not None else gbuffer.rgb
    colour = None if given is None else given.clamp(min=_DARKEST).log()
    centre = torch.stack(
        [safe[i][:, mask[0]].median() if mask.any() else safe[i].median() for i, mask in enumerate(there)]
    )
    best: tuple[float, Tensor] | None = None
    for spread in (0.5, 1.0, 2.0):  # depth from near to far, in mean distances of the cameras
        start = torch.stack((torch.full_like(away, math.log(spread)), torch.zeros_like(away)), 1)
        loss, found = _search(start, safe, centre, away, colour, there, pick, camera, agreement.steps)
        if best is None or loss < best[0]:
            best = (loss, found)
    assert best is not None
    return _metric(safe, best[1], centre, away).masked_fill(~relative.isfinite(), torch.inf)


def _distances(camera: Camera) -> Tensor:
    """(T,) how far from the cameras the thing is that they look at; where their axes meet nowhere, as far as they are
    apart."""
    middle, place = meeting_point(camera), camera.pose[:, :3, 3]
    if middle is None:
        return (place - place.mean(0)).norm(dim=1).max().clamp(min=1e-3).expand(len(place)) * 2
    return (place - middle.float()).norm(dim=1)


def _metric(relative: Tensor, unknown: Tensor, centre: Tensor, away: Tensor) -> Tensor:
    """Relative depth with scales and shifts (T, 2): the middle of the picture is about as far as the subject."""
    scale = unknown[:, 0].exp() * away
    shift = away * unknown[:, 1].exp()
    depth = (relative - centre[:, None, None, None]) * scale[:, None, None, None] + shift[:, None, None, None]
    return depth.clamp(min=0.02 * away[:, None, None, None])


@torch.enable_grad()
def _search(
    start: Tensor,
    relative: Tensor,
    centre: Tensor,
    away: Tensor,
    colour: Tensor | None,
    there: Tensor,
    pick: Tensor,
    camera: Camera,
    steps: int,
) -> tuple[float, Tensor]:
    unknown = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([unknown], lr=0.03)
    losses = []
    rays = pixel_rays(camera).flatten(2)
    mask = there.float()
    for _ in range(steps):
        depth = _metric(relative, unknown, centre, away)
        loss = _disagreement(depth, colour, mask, rays, pick, camera)
        loss = loss + 0.02 * (unknown - start).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return sum(losses[-10:]) / 10, unknown.detach()


def _disagreement(
    depth: Tensor, colour: Tensor | None, mask: Tensor, rays: Tensor, pick: Tensor, camera: Camera
) -> Tensor:
    """How far points of each view are off in the others: in depth and colour where they are seen, and by whether there
    is anything at all."""
    count = len(depth)
    chosen = pick[:, None].expand(-1, 3, -1)
    points = depth.flatten(2).gather(2, pick[:, None]) * rays.gather(2, chosen)
    world = torch.einsum("tij,tjp->tpi", camera.pose[:, :3, :3], points) + camera.pose[:, None, :3, 3]
    total = depth.new_zeros(())
    for j in range(count):
        at, distance = _look(world[:, :, None], camera, j)
        at, distance = at[:, :, 0], distance[:, :, 0]
        inside = ((at.abs() < 1).all(-1) & (distance > 0)).float()
        inside = inside * (torch.arange(count) != j)[:, None]
        looked = torch.cat((depth[j], mask[j], *(() if colour is None else (colour[j],))))[None]
        seen = grid_sample(looked.expand(count, -1, -1, -1), at[:, :, None], align_corners=False)[..., 0]
        off = (distance / seen[:, 0].clamp(min=1e-6)).clamp(min=1e-3).log()
        wrong = 1 - 1 / (1 + (off / 0.1).square())
        if colour is not None:
            mine = colour.flatten(2).gather(2, chosen)
            differs = (seen[:, 2:] - mine).square().mean(1)
            wrong = wrong + 0.5 * (1 - 1 / (1 + differs / 0.3))
        covered = seen[:, 1]
        cost = covered * wrong + (1 - covered)
        total = total + (inside * cost).sum() / inside.sum().clamp(min=1)
    return total / count


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
