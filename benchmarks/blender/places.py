"""Runs inside Blender 3.x: what `things.py` makes, put on grounds and tables, and into rooms with windows."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import things

WALL = 0.15  # metres


def objects(rng: Random, scene: Any, size: tuple[int, int]) -> None:
    """One to five things on a ground or a table, before the sky or a wall."""
    ground = things.material(rng, metal=0.05, scale=2.0)
    things.box((60, 60, 0.1), (0, 0, -0.05), ground)
    height = 0.0
    if rng.random() < 0.4:
        height = rng.uniform(0.4, 0.8)
        top = things.material(rng, metal=0.05, scale=3.0)
        things.box((rng.uniform(1.6, 2.4), rng.uniform(1.2, 2), 0.06), (0, 0, height - 0.03), top, bevel=0.01)
        for x, y in ((-0.6, -0.5), (0.6, -0.5), (-0.6, 0.5), (0.6, 0.5)):
            things.box((0.06, 0.06, height - 0.06), (x, y, (height - 0.06) / 2), top)
    count = rng.choice((1, 2, 3, 4, 5))
    placed: list[tuple[float, float, float]] = []
    for _ in range(count):
        extent = rng.uniform(0.25, 0.6) * (1.5 if count == 1 else 1.0)
        for _ in range(50):
            x, y = rng.uniform(-0.6, 0.6), rng.uniform(-0.45, 0.45)
            if all(math.hypot(x - a, y - b) > 0.55 * (extent + c) for a, b, c in placed):
                things.thing(rng, extent, (x, y, height))
                placed.append((x, y, extent))
                break
    azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.triangular(5, 65, 25))
    if rng.random() < 0.35:
        distance = rng.uniform(0.9, 1.8)
        wall = things.box((20, 0.1, 8), (0, 0, 4), things.material(rng, metal=0.0, scale=2.0))
        wall.location = (-distance * math.cos(azimuth), -distance * math.sin(azimuth), 4)
        wall.rotation_euler = (0, 0, azimuth + math.pi / 2 + rng.uniform(-0.4, 0.4))
    fov = rng.uniform(28, 55)
    reach = rng.uniform(0.8, 1.3) / math.tan(math.radians(fov) / 2)
    direction = (math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation))
    target = (rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1), height + rng.uniform(0.1, 0.3))
    things.camera(scene, tuple(t + reach * d for t, d in zip(target, direction, strict=True)), target, fov, size)


def room(rng: Random, scene: Any, size: tuple[int, int]) -> None:
    """A furnished room whose light comes in through one to three windows, and in a third of them where a wall lacks."""
    width, depth, height = rng.uniform(3.2, 5.5), rng.uniform(3.5, 6), rng.uniform(2.5, 3.1)
    walls = things.material(rng, metal=0.0, scale=1.0)
    things.box((width, depth, WALL), (0, 0, -WALL / 2), things.material(rng, metal=0.0, scale=2.0))
    things.box((width + 2 * WALL, depth + 2 * WALL, WALL), (0, 0, height + WALL / 2), walls)
    open_back = rng.random() < 0.34
    sides = ["left", "right", "far"]
    windowed = rng.sample(sides, rng.choice((1, 1, 2, 3)))
    for side in [*sides, *([] if open_back else ["back"])]:
        across = width if side in ("far", "back") else depth
        _wall(
            rng,
            side,
            across,
            (width, depth, height),
            walls,
            side in windowed or (side == "back" and rng.random() < 0.4),
        )
    for _ in range(rng.randint(2, 4)):
        _furniture(rng, width, depth)
    for _ in range(rng.randint(1, 3)):
        at = (rng.uniform(-0.35, 0.35) * width, rng.uniform(-0.2, 0.4) * depth, 0)
        things.thing(rng, rng.uniform(0.3, 0.7), at)
    for _ in range(rng.randint(0, 3)):
        frame = things.material(rng, metal=0.1, scale=3.0)
        at = (rng.uniform(-0.35, 0.35) * width, depth / 2 - 0.02, rng.uniform(1.3, 1.9))
        things.box((rng.uniform(0.3, 0.9), 0.04, rng.uniform(0.3, 0.7)), at, frame)
    stands = (rng.uniform(-0.3, 0.3) * width, -depth / 2 + 0.25, rng.uniform(1.1, 1.8))
    target = (rng.uniform(-0.25, 0.25) * width, rng.uniform(0.1, 0.45) * depth, rng.uniform(0.6, 1.3))
    things.camera(scene, stands, target, rng.uniform(55, 75), size)


def _wall(
    rng: Random, side: str, across: float, room_size: tuple[float, float, float], look: Any, window: bool
) -> None:
    """One wall, of four pieces around a window where there is one."""
    width, depth, height = room_size
    turned = side in ("left", "right")
    place = {"left": -width / 2, "right": width / 2, "far": depth / 2, "back": -depth / 2}[side]
    place += math.copysign(WALL / 2, place)

    def piece(a0: float, a1: float, z0: float, z1: float) -> None:
        if a1 - a0 < 1e-3 or z1 - z0 < 1e-3:
            return
        middle, extent = (a0 + a1) / 2, a1 - a0
        shape = (WALL, extent, z1 - z0) if turned else (extent, WALL, z1 - z0)
        at = (place, middle, (z0 + z1) / 2) if turned else (middle, place, (z0 + z1) / 2)
        things.box(shape, at, look)

    half = across / 2
    if not window:
        piece(-half, half, 0, height)
        return
    wide = rng.uniform(0.3, 0.75) * across
    left = rng.uniform(-half + 0.1, half - 0.1 - wide)
    sill, top = rng.choice((0.0, 0.8, 1.0)), height - rng.uniform(0.15, 0.5)
    piece(-half, left, 0, height)
    piece(left + wide, half, 0, height)
    piece(left, left + wide, 0, sill)
    piece(left, left + wide, top, height)


def _furniture(rng: Random, width: float, depth: float) -> None:
    look = things.material(rng, metal=0.05, scale=3.0)
    x, y = rng.uniform(-0.35, 0.35) * width, rng.uniform(-0.1, 0.4) * depth
    kind = rng.choice(("table", "sofa", "shelf", "chest"))
    if kind == "table":
        height, long, wide = rng.uniform(0.45, 0.75), rng.uniform(0.8, 1.6), rng.uniform(0.6, 0.9)
        things.box((long, wide, 0.05), (x, y, height), look, bevel=0.01)
        for a, b in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
            at = (x + a * (long / 2 - 0.06), y + b * (wide / 2 - 0.06), height / 2)
            things.box((0.06, 0.06, height), at, look)
        things.thing(rng, rng.uniform(0.15, 0.35), (x, y, height + 0.025))
    elif kind == "sofa":
        long = rng.uniform(1.2, 2)
        things.box((long, 0.8, 0.4), (x, y, 0.2), look, bevel=0.06)
        things.box((long, 0.22, 0.85), (x, y + 0.38, 0.425), look, bevel=0.06)
        for side in (-1, 1):
            things.box((0.2, 0.85, 0.6), (x + side * long / 2, y, 0.3), look, bevel=0.06)
    elif kind == "shelf":
        side = rng.choice((-1, 1))
        for i in range(4):
            things.box((0.3, 1.0, 0.03), (side * (width / 2 - 0.16), y, 0.3 + 0.45 * i), look)
            for j in range(rng.randint(1, 5)):
                book = things.material(rng, metal=0.0, scale=8.0)
                tall = rng.uniform(0.15, 0.32)
                at = (side * (width / 2 - 0.16), y - 0.4 + 0.09 * j, 0.315 + 0.45 * i + tall / 2)
                things.box((0.2, 0.06, tall), at, book)
    else:
        things.box((rng.uniform(0.5, 1.2), 0.5, rng.uniform(0.5, 1)), (x, y, 0.4), look, bevel=0.02)
