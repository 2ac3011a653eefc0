"""Streets of façades under the sky, and open ground with rocks, cliffs, plants, people and vehicles. In metres."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unrender.raytrace.material import Material
from unrender.raytrace.mesh import Array, Mesh, merge, transformed
from unrender.scene.camera import Camera
from unrender.synth.framing import camera_at
from unrender.synth.interiors import Furnishing
from unrender.synth.materials import SMALL, WIDE, paint, random_material
from unrender.synth.objects import rock
from unrender.synth.patterns import fbm
from unrender.synth.pieces import Piece, Use
from unrender.synth.placement import about_y, posed
from unrender.synth.shapes import grid_faces, plain_box, plane
from unrender.synth.sources import Sources
from unrender.synth.walls import Wall, wall_mesh, window_bars
from unrender.synth.wear import random_finish
from unrender.synth.world import Composition, Thing

Random = np.random.Generator

_FAR = 150.0  # half the side of the ground: past it is the sky
_PATCH = 9.0  # metres that one texture of a ground is long


def street(rng: Random, size: tuple[int, int], sources: Sources, *, test: bool) -> Composition:
    """A street between one or two rows of houses, with people, vehicles and trees; or a house front, seen across."""
    wide, length = rng.uniform(5, 14), rng.uniform(20, 60)
    scenery = [_ground(rng, test=test)]
    pavement = random_material(rng, SMALL, test=test, metal_share=0.0)
    for side in (-1, 1) if rng.random() < 0.75 else (1,):
        scenery += _row_of_houses(rng, side * wide / 2, length, test=test)
        curb = plain_box((side * (wide / 2 - 0.9), 0.04, 0), (0.9, 0.06, length / 2))
        scenery.append(Thing(curb, pavement, name="pavement"))
    if rng.random() < 0.5:  # closed at its end
        scenery += _row_of_houses(rng, 0.0, wide + 6, test=test, back=length / 2)
    eye, ahead = _street_view(rng, wide, length)
    setting = Furnishing(rng, sources, test)
    uses: tuple[Use, ...] = ("vehicle", "person", "plant", "outdoors")
    for _ in range(int(rng.integers(4, 14))):
        drawn = setting.draw(uses[int(rng.choice(4, p=[0.35, 0.3, 0.2, 0.15]))])
        if drawn is None or max(drawn.size[0], drawn.size[2]) > 0.7 * wide:
            continue
        x = rng.uniform(-0.5, 0.5) * (wide - max(drawn.size[0], drawn.size[2]) - 0.4)
        on_pavement = 0.1 if abs(x) + 0.5 * drawn.size[0] > wide / 2 - 1.8 else 0.0
        turn = about_y(rng.choice([0, np.pi]) + rng.normal(0, 0.15) if rng.random() < 0.7 else rng.uniform(0, 6.28))
        near = drawn.size.max() + rng.gamma(1.5, 3.5) + 0.8
        setting.put(drawn, turn, np.array([x, on_pavement, eye[2] - near if ahead[2] < eye[2] else eye[2] + near]))
    return _scene(setting, scenery, camera_at(rng, size, eye, ahead, rng.uniform(35, 75)), "in a street")


def _street_view(rng: Random, wide: float, length: float) -> tuple[Array, Array]:
    """Where the camera stands, and what it looks at, (3,) each: along the street, or across at a front."""
    eye = np.array([rng.uniform(-0.35, 0.35) * wide, rng.uniform(1.2, 2.2), rng.uniform(0.1, 0.5) * length])
    if rng.random() < 0.15:
        eye[1] = rng.uniform(3, 9)
    ahead = np.array([rng.uniform(-0.5, 0.5) * wide, rng.uniform(0.8, 3.5), eye[2] - rng.uniform(5, 20)])
    if rng.random() < 0.25:  # across, at a front
        ahead = np.array([np.sign(rng.uniform(-1, 1)) * wide / 2, rng.uniform(1, 4), eye[2] + rng.uniform(-3, 3)])
        eye[0] = -0.4 * ahead[0]
    return eye, ahead


def open_ground(rng: Random, size: tuple[int, int], sources: Sources, *, test: bool) -> Composition:
    """Open ground under the sky, sometimes before a cliff, with rocks, plants, people and what stands outdoors."""
    scenery = [_ground(rng, test=test)]
    kind = rng.random()
    if kind < 0.35:
        scenery.append(_cliff(rng, test=test))
    elif kind < 0.55:
        scenery += _row_of_houses(rng, 0.0, 20.0, test=test, back=rng.uniform(4, 14))
    setting = Furnishing(rng, sources, test)
    for _ in range(int(rng.integers(2, 9))):
        use: Use = str(rng.choice(["plant", "outdoors", "person", "vehicle"], p=[0.35, 0.25, 0.25, 0.15]))  # ty: ignore[invalid-assignment]
        stone = rng.random() < 0.3
        drawn = _stone(rng, test=test) if stone else setting.draw(use)
        if drawn is not None:
            x, z = rng.uniform(-4, 4), rng.uniform(-2.5, 3)
            setting.put(drawn, about_y(rng.uniform(0, 2 * np.pi)), np.array([x, 0.0, z]))
    eye = np.array([rng.uniform(-2, 2), rng.uniform(0.5, 2.2), rng.uniform(5, 10)])
    target = np.array([rng.uniform(-2, 2), rng.uniform(0.2, 2.0), -1.0])
    if rng.random() < 0.5 and setting.things:
        thing = setting.things[int(rng.integers(len(setting.things)))].placed
        center, radius = (thing.min(0) + thing.max(0)) / 2, np.linalg.norm(np.ptp(thing, axis=0)) / 2
        turn = rng.uniform(-0.9, 0.9)
        toward = np.array([np.sin(turn), rng.uniform(-0.05, 0.6), np.cos(turn)])
        eye, target = center + toward * radius * rng.uniform(2.2, 4.0), center
        eye[1] = max(eye[1], 0.25)
    return _scene(setting, scenery, camera_at(rng, size, eye, target, rng.uniform(35, 65)), "outdoors")


def _scene(setting: Furnishing, scenery: list[Thing], camera: Camera, place: str) -> Composition:
    names = ", ".join(thing.name for thing in setting.things[:6])
    return Composition((*scenery, *setting.things), camera, f"{names} {place}".strip(), under_sky=True)


def _ground(rng: Random, *, test: bool) -> Thing:
    """Ground as far as one sees, its texture repeated by mirroring, so that no seam shows."""
    material = random_material(rng, WIDE, test=test, metal_share=0.0)
    count = 2 * int(_FAR / _PATCH)
    ticks = np.linspace(-_FAR, _FAR, count + 1)
    z, x = np.meshgrid(ticks, ticks, indexing="ij")
    vertices = np.stack((x, np.zeros_like(x), z), -1).reshape(-1, 3)
    odd = np.indices(x.shape) % 2
    uv = np.stack((odd[1], odd[0]), -1).reshape(-1, 2).astype(float)
    return Thing(
        Mesh(vertices, uv, grid_faces(count + 1, count + 1)[:, ::-1]), material, name=f"{material.name} ground"
    )


def _row_of_houses(rng: Random, x: float, length: float, *, test: bool, back: float = 0.0) -> list[Thing]:
    """House fronts side by side at `x`, which face the middle of the street; or, where that is 0, across it, `back`
    metres off, facing +Z."""
    parts, start = [], -length / 2
    pose = posed(about_y(-np.sign(x) * np.pi / 2), 1.0, [x, 0, -back])
    while start < length / 2:
        wide = min(rng.uniform(5, 14), length / 2 - start + 1)
        front, panes, frames = _house(rng, wide)
        moved = posed(np.eye(3), 1.0, [start, 0, 0])
        coat = paint(rng) if rng.random() < 0.4 else random_material(rng, SMALL, test=test, metal_share=0.0)
        glass = _glass(rng, test=test)
        for mesh, material, name in ((front, coat, f"{coat.name} house"), (panes, glass, ""), (frames, paint(rng), "")):
            parts.append(Thing(transformed(mesh, moved), material, pose, name=name))
        start += wide
    return parts


def _house(rng: Random, wide: float) -> tuple[Mesh, Mesh, Mesh]:
    """A front from x = 0 to `wide` in z = 0 that faces +Z, with its sides and roof; its panes; its window frames."""
    floors, across = int(rng.integers(1, 6)), max(1, int(wide / rng.uniform(1.6, 3.2)))
    storey = rng.uniform(2.6, 3.6)
    high = floors * storey + rng.uniform(0.3, 1.0)
    gap, tall = wide / across, storey * rng.uniform(0.35, 0.7)
    half, sill = gap * rng.uniform(0.2, 0.4), storey * rng.uniform(0.15, 0.3)
    holes = tuple(
        (
            (i + 0.5) * gap - half,
            storey * floor + sill * (floor > 0),
            (i + 0.5) * gap + half,
            storey * floor + sill + tall,
        )
        for floor in range(floors)
        for i in range(across)
        if rng.random() < 0.93
    )
    deep = rng.uniform(0.08, 0.35)
    front = wall_mesh(Wall(wide, high, deep, holes))
    body = rng.uniform(5, 9)
    roof = plain_box(
        (wide / 2, high + 0.1, -body / 2), (wide / 2 + rng.uniform(0, 0.4), 0.12, body / 2 + rng.uniform(0, 0.4))
    )
    sides = [
        Mesh(
            np.array([[x, 0, 0], [x, high, 0], [x, high, -body], [x, 0, -body]], float),
            np.eye(4)[:, :2] * 0.5 + 0.25,
            np.array([[0, 1, 2], [0, 2, 3]] if x == 0 else [[0, 2, 1], [0, 3, 2]]),
        )
        for x in (0.0, wide)
    ]
    bars = int(rng.integers(0, 2)), int(rng.integers(0, 2))
    frames = [bar for hole in holes for bar in window_bars(hole, bars, deep)]
    panes = plane(wide / 2, high / 2)
    upright = Mesh(panes.vertices[:, [0, 2, 1]] * [1, -1, 1] + [wide / 2, high / 2, -deep], panes.uv, panes.faces)
    spare = [plain_box((wide / 2, high - 0.02, 0.05), (wide / 2, 0.05, 0.06))]
    return merge([front, roof, *sides]), upright, merge(frames + spare)


def _glass(rng: Random, *, test: bool) -> Material:
    """Dark, glossy panes: what is behind them is not seen."""
    pane = random_material(rng, 16, test=test, metal_share=0.0)
    return replace(
        pane,
        base_color=np.clip(pane.base_color * np.float32(rng.uniform(0.03, 0.4)), 0.005, 1).astype(np.float32),
        roughness=np.full_like(pane.roughness, rng.uniform(0.05, 0.25)),
        bump=np.zeros_like(pane.bump),
        name="glass",
    )


def _stone(rng: Random, *, test: bool) -> Piece:
    mesh = rock(rng)
    high = rng.uniform(0.2, 2.0)
    extent = np.ptp(mesh.vertices, axis=0)
    foot = mesh.vertices.min(0) + extent * [0.5, 0.12, 0.5]
    return Piece(
        "rock",
        Mesh((mesh.vertices - foot) * high / extent[1], mesh.uv, mesh.faces),
        random_finish(rng, SMALL, test=test, metal_share=0.06),
    )


def _cliff(rng: Random, *, test: bool) -> Thing:
    """A wall of rock: an upright sheet whose relief goes from ledges to grains."""
    rows = 97
    wide, high = rng.uniform(10, 24), rng.uniform(4, 14)
    coarse = fbm(rng, rows - 1, rng.uniform(1.6, 2.4), rng.uniform(1, 3), stretch=rng.choice([0.5, 1.0, 2.0]))
    ledges = np.round(coarse * rng.integers(3, 9)) / 6 if rng.random() < 0.5 else coarse
    depth = rng.uniform(1.0, 4.0) * (0.6 * coarse + 0.4 * ledges) + 0.25 * fbm(rng, rows - 1, 1.2, 6.0)
    depth = np.pad(depth, ((0, 1), (0, 1)), mode="wrap")
    t = np.linspace(0, 1, rows)
    v, u = np.meshgrid(t, t, indexing="ij")
    lean = rng.uniform(-0.1, 0.4) * high
    vertices = np.stack(((u - 0.5) * wide, (1 - v) * (high + 0.5) - 0.5, depth - lean * (1 - v)), -1).reshape(-1, 3)
    mesh = Mesh(vertices, np.stack((u, v), -1).reshape(-1, 2), grid_faces(rows, rows)[:, ::-1])
    material = random_finish(rng, WIDE, test=test, metal_share=0.06)
    turn = about_y(rng.normal(0, 0.3))
    return Thing(mesh, material, posed(turn, 1.0, [0, 0, -rng.uniform(7.5, 14)]), name=f"{material.name} cliff")
