"""Collision checks for motion: how far a thing may move, and where a camera may be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unrender.raytrace.mesh import Array
from unrender.synth.world import World

_FLUSH = 0.02  # of a thing's height: a surface within that distance of its lowest point supports it

_INDOORS = 0.06  # of a room's sides: the camera's least distance from walls


def reaches(world: World) -> list[float]:
    """How far each of `world.groups` may move sideways, in the scene's units, whatever the others do meanwhile.

    Circles about the groups, as seen from above, stay disjoint, off walls, and on the ground that supports them. Within
    its reach a group may also turn about the vertical axis of its circle. Negative where it may do neither: another
    group leans on it, or its ground is uneven. Infinite where nothing is near and nothing below.
    """
    bodies = [together(world, group) for group in world.groups]
    scenery = [thing.placed[thing.mesh.faces] for thing in world.things if not thing.group]
    return [_reach(body, bodies[:i] + bodies[i + 1 :], scenery) for i, body in enumerate(bodies)]


def together(world: World, group: Sequence[int]) -> Array:
    """The vertices (V, 3) of the things of a `group` in the world at the first frame."""
    return np.concatenate([world.things[index].placed for index in group])


def circle(points: Array) -> tuple[Array, float]:
    """Centre (2,) as (x, z) and radius of a circle round `points` (V, 3) seen from above."""
    flat = points[:, [0, 2]]
    center = (flat.min(0) + flat.max(0)) / 2
    return center, float(np.linalg.norm(flat - center, axis=1).max())


def pivot(world: World) -> Array:
    """The centre (3,) of the things, or of all scenery where there is nothing else."""
    indices = [index for group in world.groups for index in group] or range(len(world.things))
    points = together(world, indices)
    return (points.min(0) + points.max(0)) / 2


def stands_clear(world: World, eyes: Array, reach: Sequence[float]) -> bool:
    """Whether a camera may pass through the points `eyes` (N, 3), coming from where the world's camera stands.

    It must not go through scenery, nor behind scenery that would hide what it looks at, nor out of a room by a window,
    nor nearer to a group of things (which may come to meet it by its `reach`) than it was, unless that leaves room.
    """
    start, goal = world.camera.pose[0, :3, 3].double().numpy(), pivot(world)
    scenery = [thing.placed[thing.mesh.faces] for thing in world.things if not thing.group]
    triangles = np.concatenate(scenery) if scenery else np.zeros((0, 3, 3))
    beyond = eyes + 0.1 * (eyes - goal)
    if _crossed(np.broadcast_to(start, eyes.shape), eyes, triangles).any():
        return False
    in_sight = not _crossed(goal[None], start[None], triangles).any()
    if in_sight and _crossed(np.broadcast_to(goal, eyes.shape), beyond, triangles).any():
        return False
    if world.enclosed:
        low, high = triangles.reshape(-1, 3).min(0), triangles.reshape(-1, 3).max(0)
        margin = _INDOORS * (high - low)
        if ((eyes < np.minimum(low + margin, start)) | (eyes > np.maximum(high - margin, start))).any():
            return False
    for group, distance in zip(world.groups, reach, strict=True):
        points = together(world, group)
        center = (points.min(0) + points.max(0)) / 2
        radius = np.linalg.norm(points - center, axis=1).max() + min(max(distance, 0.0), 1.0)
        room = np.linalg.norm(start - center) - radius
        if (np.linalg.norm(eyes - center, axis=1) - radius < min(room, 0.1)).any():
            return False
    return True


def _reach(body: Array, others: Sequence[Array], scenery: Sequence[Array]) -> float:
    """How far `body` (V, 3) may go among `others`, (V, 3) each, and the triangles (F, 3, 3) of `scenery`."""
    center, radius = circle(body)
    low, high = body[:, 1].min(), body[:, 1].max()
    flush = max(_FLUSH * (high - low), 1e-3)
    free, carried, over = math.inf, -math.inf, False
    for other in others:
        other_center, other_radius = circle(other)
        if other[:, 1].min() <= high + flush and other[:, 1].max() >= low - flush:
            # Half the gap belongs to each body.
            free = min(free, (float(np.linalg.norm(center - other_center)) - radius - other_radius) / 2)
    for triangles in scenery:
        bottom, top = triangles[..., 1].min(1), triangles[..., 1].max(1)
        beside = triangles[(top > low + flush) & (bottom < high)][..., [0, 2]]
        free = min(free, _distance(center, beside) - radius)
        carriers = triangles[(top <= low + flush) & (bottom >= low - flush)][..., [0, 2]]
        carried = max(carried, _depth_inside(center, carriers) - radius)
        over |= bool(_contains(center, triangles[top <= low + flush][..., [0, 2]]).any())
    return min(free, carried) if over else free


def _contains(point: Array, triangles: Array) -> Array:
    """Which of the flat `triangles` (F, 3, 2), however wound, have `point` (2,) in them."""
    edges = np.roll(triangles, -1, 1) - triangles
    to = point - triangles
    side = edges[..., 0] * to[..., 1] - edges[..., 1] * to[..., 0]
    area = np.abs(_cross(edges[:, 0], edges[:, 1]))
    return ((side >= -1e-9).all(1) | (side <= 1e-9).all(1)) & (area > 1e-12)


def _distance(point: Array, triangles: Array) -> float:
    """How far `point` (2,) is from the nearest of the flat `triangles` (F, 3, 2): 0 inside, infinite without any."""
    if len(triangles) == 0:
        return math.inf
    if _contains(point, triangles).any():
        return 0.0
    return _to_segments(point, triangles.reshape(-1, 2), np.roll(triangles, -1, 1).reshape(-1, 2))


def _depth_inside(point: Array, triangles: Array) -> float:
    """How far `point` (2,) is from the border of the union of a mesh's flat `triangles` (F, 3, 2); -inf outside."""
    if not _contains(point, triangles).any():
        return -math.inf
    _, corner = np.unique(np.round(triangles.reshape(-1, 2), 6), axis=0, return_inverse=True)
    corner = corner.reshape(-1, 3)
    sides = np.sort(np.stack((corner, np.roll(corner, -1, 1)), -1).reshape(-1, 2), axis=1)
    _, place, times = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    border = times[place.reshape(-1)] == 1  # a side that no second triangle shares
    starts, ends = triangles.reshape(-1, 2), np.roll(triangles, -1, 1).reshape(-1, 2)
    return _to_segments(point, starts[border], ends[border]) if border.any() else math.inf


def _to_segments(point: Array, starts: Array, ends: Array) -> float:
    along = ends - starts
    part = ((point - starts) * along).sum(1) / np.maximum((along * along).sum(1), 1e-12)
    nearest = starts + np.clip(part, 0, 1)[:, None] * along
    return float(np.linalg.norm(nearest - point, axis=1).min())


def _crossed(starts: Array, ends: Array, triangles: Array) -> Array:
    """Which of the segments between `starts` and `ends` (N, 3) meet one of `triangles` (F, 3, 3).

    Moeller and Trumbore (1997), for all pairs at once.
    """
    along = (ends - starts)[:, None]
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    across = np.cross(along, second[None])
    determinant = (across * first).sum(-1)
    inverse = 1 / np.where(np.abs(determinant) < 1e-12, np.inf, determinant)
    to = starts[:, None] - triangles[None, :, 0]
    u = (to * across).sum(-1) * inverse
    turned = np.cross(to, first[None])
    v = (along * turned).sum(-1) * inverse
    distance = (second * turned).sum(-1) * inverse
    hit = (np.abs(determinant) >= 1e-12) & (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0) & (distance < 1)
    return hit.any(1)


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
