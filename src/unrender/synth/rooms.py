"""Box rooms: a floor, a ceiling and four walls that face inward, windows, and area emitters (lamps)."""

from __future__ import annotations

import numpy as np

from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array, Mesh, merge, transformed
from unrender.synth.furniture import board, lamp_parts
from unrender.synth.materials import WIDE, paint, random_material
from unrender.synth.placement import Extent, about_y, posed
from unrender.synth.shapes import displaced_sphere, grid_faces
from unrender.synth.walls import Wall, wall_mesh, window_bars
from unrender.synth.world import Thing

Random = np.random.Generator


def random_room(rng: Random, taken: list[Extent], eye: Array, *, test: bool) -> tuple[list[Thing], str, Array]:
    """A room round things that stand on y = 0, and round the `eye` (3,).

    Args:
        rng: the random generator.
        taken: the extents of the things; lamps keep clear of them.
        eye: the camera's position, at least 0.3 from every wall.
        test: whether patterns are those held out of training.

    Returns:
        Its surfaces and lamps, words for it, and the outward normal times area of each window, (N, 3).
    """
    low = np.minimum(np.min([e.low for e in taken], 0)[[4, 8, 0]], eye) - rng.uniform(0.3, 1.5, 3)
    high = np.maximum(np.max([e.high for e in taken], 0)[[4, 8, 0]], eye) + rng.uniform(0.3, 1.5, 3)
    height = float(max(high[1], rng.uniform(0.3, 0.5) * max(high[0] - low[0], high[2] - low[2]), 1.8))
    low[1], high[1] = 0.0, height
    parts, words, openings = room_shell(rng, low, high, test=test)
    if rng.random() < 0.65:
        parts += room_lamps(rng, (low, high), eye, taken, paint(rng))
    return parts, words, openings


def room_shell(rng: Random, low: Array, high: Array, *, test: bool) -> tuple[list[Thing], str, Array]:
    """Floor, ceiling and walls with windows of a room from `low` to `high`, (3,) each; words for it, and the outward
    normal times area of each window, (N, 3)."""
    floor = random_material(rng, WIDE, test=test, metal_share=0.02)
    wall = paint(rng) if rng.random() < 0.5 else random_material(rng, WIDE, test=test, metal_share=0.02)
    white = paint(rng)
    walls, frames, openings = _walls(rng, low, high)
    parts = [
        Thing(_slab(low, high, up=True), floor, name=f"{floor.name} floor"),
        Thing(_slab(low, high, up=False), white),
        Thing(walls, wall, name=f"{wall.name} walls"),
        Thing(frames, white),
    ]
    return parts, f"in a room with {wall.name} walls and a {floor.name} floor", openings


def _slab(low: Array, high: Array, *, up: bool) -> Mesh:
    """The floor, facing up, or the ceiling, facing down; one texture long along the longer side."""
    x, z = np.meshgrid(np.linspace(low[0], high[0], 2), np.linspace(low[2], high[2], 2))
    vertices = np.stack((x, np.full(x.shape, low[1] if up else high[1]), z), -1).reshape(-1, 3)
    uv = (vertices[:, [0, 2]] - low[[0, 2]]) / max(high[0] - low[0], high[2] - low[2])
    faces = grid_faces(2, 2)
    return Mesh(vertices, uv, faces[:, ::-1] if up else faces)


def _walls(rng: Random, low: Array, high: Array) -> tuple[Mesh, Mesh, Array]:
    """All four walls as one mesh, the bars in their windows, and each window's outward normal times area, (N, 3)."""
    size = high - low
    thickness = rng.uniform(0.08, 0.25)
    lit = rng.permutation(4)[: int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))]
    sill, top = (0.02, rng.uniform(0.8, 0.95)) if rng.random() < 0.25 else rng.uniform([0.2, 0.75], [0.4, 0.95])
    bars = int(rng.integers(0, 3)), int(rng.integers(0, 3))
    walls, frames, openings = [], [], []
    for side in range(4):
        length = float(size[0] if side % 2 == 0 else size[2])
        holes = _windows(rng, length, sill * size[1], top * size[1]) if side in lit else ()
        wall = Wall(length, float(size[1]), thickness, holes)
        # Side 0 is at the greatest z and faces -z; the others follow in turn.
        center = (low + high) / 2
        depth = float(size[2] if side % 2 == 0 else size[0]) / 2
        turn = about_y(np.pi + side * np.pi / 2)
        pose = posed(turn, 1.0, turn @ np.array([-length / 2, 0.0, -depth]) + [center[0], 0.0, center[2]])
        walls.append(transformed(wall_mesh(wall), pose))
        frames += [transformed(bar, pose) for hole in holes for bar in window_bars(hole, bars, thickness)]
        openings += [turn @ [0.0, 0.0, -(right - left) * (upper - bottom)] for left, bottom, right, upper in holes]
    return merge(walls), merge(frames), np.array(openings)


def _windows(rng: Random, length: float, bottom: float, top: float) -> tuple[tuple[float, float, float, float], ...]:
    """One to three equal windows, which take 40 to 80 % of the wall's length."""
    count = int(rng.integers(1, 4))
    width = length * rng.uniform(0.4, 0.8) / count
    gap = (length - count * width) / (count + 1)
    return tuple((left := gap + i * (width + gap), bottom, left + width, top) for i in range(count))


def room_lamps(rng: Random, room: tuple[Array, Array], eye: Array, taken: list[Extent], white: Material) -> list[Thing]:
    """Panels under the ceiling, balls that hang from it, or a lamp on the floor where there is room for one; of a room
    from the first to the second corner, both (3,)."""
    low, high = room
    warm = np.array([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.3, 1.0)])
    if rng.random() < 0.35:
        stand, shade = lamp_parts(rng)
        pose = _room_to_stand(rng, merge([stand, shade]), (low, high), eye, taken)
        if pose is None:
            return []
        lit = Thing(shade, white, pose, emission=_radiance(rng, shade, 1.5, warm))
        return [Thing(stand, white, pose), lit]
    parts, hung = [], rng.random() < 0.5
    top = float(max((extent.high[8] for extent in taken), default=0.0))
    for _ in range(int(rng.integers(1, 4))):
        share = rng.uniform(0.2, 0.8, 2)
        x, z = (float(value) for value in low[[0, 2]] + share * (high - low)[[0, 2]])
        if hung:
            radius = rng.uniform(0.06, 0.11)
            y = rng.uniform(min(top + radius + 0.05, high[1] - radius), high[1] - radius)
            if np.linalg.norm(np.array([x, y, z]) - eye) < 0.5:
                continue
            ball = displaced_sphere(lambda d: np.ones(d.shape[:-1]), 24, 32)
            lamp = transformed(ball, posed(np.eye(3), radius, (x, y, z)))
            cord = (high[1] - y) / 2
            parts.append(Thing(board((x, y + cord, z), (0.008, cord, 0.008)), white))
        else:
            half = rng.uniform(0.1, 0.5, 2)
            lamp = board((x, float(high[1]) - 0.02, z), (half[0], 0.02, half[1]))
        parts.append(Thing(lamp, white, emission=_radiance(rng, lamp, float(high[1]), warm)))
    return parts


def _room_to_stand(rng: Random, mesh: Mesh, room: tuple[Array, Array], eye: Array, taken: list[Extent]) -> Array | None:
    """A pose on the floor clear of all things, walls and the eye; None where a few tries find none."""
    extent = Extent.of(mesh.vertices)
    reach = float(np.abs(mesh.vertices[:, [0, 2]]).max()) + 0.05
    for _ in range(20):
        x, z = rng.uniform(room[0][[0, 2]] + reach, room[1][[0, 2]] - reach)
        moved = extent.moved(np.array([x, 0.0, z]))
        near = np.hypot(x - eye[0], z - eye[2]) < reach + 0.4
        if not near and moved.high[8] < room[1][1] and all(moved.apart(other) for other in taken):
            return posed(np.eye(3), 1.0, (float(x), 0.0, float(z)))
    return None


def _radiance(rng: Random, lamp: Mesh, distance: float, tint: Array) -> tuple[float, float, float]:
    """The radiance of a lamp for an irradiance of 0.3 to 3 at `distance`: the mean projected area of a convex body is a
    quarter of its surface (Cauchy)."""
    a, b, c = (lamp.vertices[lamp.faces[:, i]] for i in range(3))
    area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
    red, green, blue = (float(value) for value in tint * rng.uniform(0.3, 3.0) * distance**2 / (area / 4))
    return red, green, blue
