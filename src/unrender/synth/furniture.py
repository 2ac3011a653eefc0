"""Random simple furniture of boards, posts and lathed parts.

Proportions are those of a room in metres, more or less; parts touch or intersect, and each is closed.
"""

from __future__ import annotations

import numpy as np

from unrender.raytrace.mesh import Array, Mesh, merge
from unrender.synth.shapes import lathe, rounded_box, smooth_profile

Random = np.random.Generator


def table(rng: Random) -> Mesh:
    """A board, square or round, on four legs or one foot."""
    high, thick = rng.uniform(0.4, 0.8), rng.uniform(0.03, 0.06)
    wide, deep = rng.uniform(0.35, 0.8), rng.uniform(0.3, 0.5)
    if rng.random() < 0.35:
        top = _disc(wide, thick, high)
        reach = (wide * 0.6, wide * 0.6)
    else:
        top = board((0, high - thick / 2, 0), (wide, thick / 2, deep))
        reach = (wide * 0.9, deep * 0.88)
    if rng.random() < 0.3:
        stem = _post((0, 0), 0, high - thick / 2, rng.uniform(0.03, 0.07))
        return merge([top, stem, _disc(min(reach) * 0.8, 0.04, 0.04)])
    return merge([top, *_legs(rng, reach, high - thick / 2)])


def stool(rng: Random) -> Mesh:
    """A round or square seat on three or four legs with a ring of bars."""
    high, wide = rng.uniform(0.4, 0.75), rng.uniform(0.17, 0.25)
    thick = rng.uniform(0.03, 0.08)
    if rng.random() < 0.6:
        seat, reach = _disc(wide, thick, high), wide * 0.68
    else:
        seat, reach = board((0, high - thick / 2, 0), (wide, thick / 2, wide)), wide * 0.85
    legs = _legs(rng, (reach, reach), high - thick / 2)
    bar, level = rng.uniform(0.012, 0.018), high * rng.uniform(0.2, 0.5)
    bars = [board((0, level, s * reach), (reach, bar, bar)) for s in (-1, 1)]
    bars += [board((s * reach, level, 0), (bar, bar, reach)) for s in (-1, 1)]
    return merge([seat, *legs, *bars])


def chair(rng: Random) -> Mesh:
    """A seat on four legs and a back of slats or of one board."""
    high, wide, deep = rng.uniform(0.4, 0.5), rng.uniform(0.19, 0.25), rng.uniform(0.19, 0.24)
    back = high + rng.uniform(0.35, 0.55)
    thick = rng.uniform(0.03, 0.07)
    seat = board((0, high, 0), (wide, thick / 2, deep))
    leg = rng.uniform(0.015, 0.03)
    parts = [seat]
    for x in (-1, 1):
        parts.append(board((x * (wide - leg), high / 2, deep - leg), (leg, high / 2, leg)))
        parts.append(board((x * (wide - leg), back / 2, -deep + leg), (leg, back / 2, leg)))
    if rng.random() < 0.5:
        height = rng.uniform(0.08, 0.16)
        parts.append(board((0, back - height, -deep + leg), (wide, height, leg * 0.6)))
    else:
        levels = np.linspace(high + 0.12, back - 0.04, int(rng.integers(2, 5)))
        parts += [board((0, y, -deep + leg), (wide - leg, 0.025, leg * 0.5)) for y in levels]
    return merge(parts)


def shelf(rng: Random) -> Mesh:
    """Sides, boards and sometimes a back, low or tall."""
    wide, deep, high = rng.uniform(0.3, 0.6), rng.uniform(0.13, 0.22), rng.uniform(0.5, 1.7)
    thick = rng.uniform(0.01, 0.02)
    parts = [board((s * (wide - thick), high / 2, 0), (thick, high / 2, deep)) for s in (-1, 1)]
    levels = np.linspace(0.05, high - thick, max(2, round(high / rng.uniform(0.28, 0.45)) + 1))
    parts += [board((0, y, 0), (wide, thick, deep)) for y in levels]
    if rng.random() < 0.6:
        parts.append(board((0, high / 2, -deep), (wide, high / 2, thick / 2)))
    # Things in it.
    for y in levels[:-1]:
        x, room = -wide + 3 * thick, levels[1] - levels[0] - 2 * thick
        while rng.random() < 0.75 and x < wide - 0.15:
            half = rng.uniform(0.012, 0.03)
            height = room * rng.uniform(0.5, 0.85)
            parts.append(board((x + half, y + thick + height / 2, 0), (half, height / 2, deep * rng.uniform(0.5, 0.8))))
            x += 2 * half + rng.choice([0.002, 0.05])
    return merge(parts)


def lamp(rng: Random) -> Mesh:
    """A lamp on a stand, unlit."""
    stand, shade = lamp_parts(rng)
    return merge([stand, shade])


def lamp_parts(rng: Random) -> tuple[Mesh, Mesh]:
    """A stand on the floor or a table, and the shade on it, in one space."""
    high, foot = rng.uniform(0.45, 1.5), rng.uniform(0.12, 0.2)
    stem = rng.uniform(0.012, 0.03)
    stand = merge([_disc(foot, 0.03, 0.03), _post((0, 0), 0, high, stem)])
    low, top, tall = rng.uniform(0.14, 0.24), rng.uniform(0.07, 0.2), rng.uniform(0.16, 0.3)
    if rng.random() < 0.3:
        a = np.linspace(-np.pi / 2, np.pi / 2, 32)
        return stand, lathe(np.stack((low * np.cos(a), high + low * (1 + np.sin(a)) - 0.02), 1), 64)
    outline = np.array([[0, high], [low, high], [top, high + tall], [0, high + tall]])
    return stand, lathe(smooth_profile(outline, 0.02), 64)


def board(center: tuple[float, float, float], half: tuple[float, float, float]) -> Mesh:
    """A box with slightly rounded edges, a texture once along its longest side."""
    size = np.array(half, float)
    mesh = rounded_box(size, float(size.min()) * 0.15, 2 * float(size.max()))
    return Mesh(mesh.vertices + np.array(center), mesh.uv, mesh.faces)


def _disc(radius: float, thick: float, top: float) -> Mesh:
    outline = np.array([[0, top - thick], [radius, top - thick], [radius, top], [0, top]])
    mesh = lathe(smooth_profile(outline, thick * 0.25), 64)
    # Mapped flat from above, so that the texture is not pinched in the middle.
    return Mesh(mesh.vertices, mesh.vertices[:, [0, 2]] / (2 * radius) + 0.5, mesh.faces)


def _post(spot: tuple[float, float], low: float, high: float, radius: float) -> Mesh:
    outline = np.array([[0, low], [radius, low], [radius, high], [0, high]])
    mesh = lathe(smooth_profile(outline, radius * 0.2, 3), 24)
    return Mesh(mesh.vertices + np.array([spot[0], 0, spot[1]]), mesh.uv, mesh.faces)


def _legs(rng: Random, reach: tuple[float, float], high: float) -> list[Mesh]:
    """Four legs at (+-x, +-z), square, round or splayed."""
    thick = rng.uniform(0.018, 0.04)
    splay = rng.uniform(0.0, 0.15) if rng.random() < 0.4 else 0.0
    if rng.random() < 0.5:
        leg = board((0, high / 2, 0), (thick, high / 2, thick))
    else:
        leg = _post((0, 0), 0, high, thick)
    return [_leaning(leg, x, z, reach, high, splay) for x in (-1, 1) for z in (-1, 1)]


def _leaning(leg: Mesh, x: int, z: int, reach: tuple[float, float], high: float, splay: float) -> Mesh:
    down: Array = 1 - leg.vertices[:, 1:2] / high
    outward = np.array([x * reach[0], 0, z * reach[1]]) * (1 + splay * down)
    return Mesh(leg.vertices + outward, leg.uv, leg.faces)
