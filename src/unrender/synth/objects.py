"""Random objects: each family is a function from a random generator to a closed mesh.

A family's mesh has +Y up and is about 1 to 2 units large, at any position; `random_object` centres and scales it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unrender.raytrace.mesh import Array, Mesh, merge, unit
from unrender.synth import furniture, solids
from unrender.synth.shapes import displaced_sphere, lathe, rounded_box, smooth_profile, tube, waves

Random = np.random.Generator


def sphere(rng: Random) -> Mesh:
    """A ball of radius 1."""
    return displaced_sphere(lambda d: np.ones(d.shape[:-1]))


def ellipsoid(rng: Random) -> Mesh:
    """A ball with half axes of 0.4 to 1."""
    mesh = sphere(rng)
    return Mesh(mesh.vertices * rng.uniform(0.4, 1.0, 3), mesh.uv, mesh.faces)


def box(rng: Random) -> Mesh:
    """A box with half sides of 0.3 to 1 and rounded edges, sharp to soft."""
    half = rng.uniform(0.3, 1.0, 3)
    return rounded_box(half, half.min() * rng.choice([0.02, 0.06, 0.15, 0.35]) * rng.uniform(0.7, 1.3))


def cylinder(rng: Random) -> Mesh:
    """An upright cylinder, radius 0.3 to 0.8, height 0.4 to 2, with rounded rims."""
    r, h = rng.uniform(0.3, 0.8), rng.uniform(0.4, 2.0)
    return lathe(smooth_profile(np.array([[0, 0], [r, 0], [r, h], [0, h]]), r * rng.uniform(0.03, 0.25)))


def cone(rng: Random) -> Mesh:
    """An upright cone with a blunt top."""
    r, h, top = rng.uniform(0.4, 0.9), rng.uniform(0.8, 1.8), rng.uniform(0.02, 0.3)
    return lathe(smooth_profile(np.array([[0, 0], [r, 0], [top, h], [0, h]]), rng.uniform(0.03, 0.1)))


def torus(rng: Random) -> Mesh:
    """A lying ring of radius 1, 0.12 to 0.4 thick to its middle."""
    angle = np.linspace(0, 2 * np.pi, 97)
    minor = rng.uniform(0.12, 0.4)
    ring = tube(np.stack((np.cos(angle), np.sin(angle), 0 * angle), -1), np.full(97, minor), 40, closed=True)
    return Mesh(ring.vertices[:, [0, 2, 1]], ring.uv, ring.faces[:, ::-1])


def capsule(rng: Random) -> Mesh:
    """An upright cylinder between two half balls."""
    r, h = rng.uniform(0.3, 0.6), rng.uniform(0.3, 1.5)
    a = np.linspace(-np.pi / 2, np.pi / 2, 40)
    profile = np.stack((r * np.cos(a), r * np.sin(a) + np.where(a > 0, h, 0)), -1)
    return lathe(profile)


def superquadric(rng: Random) -> Mesh:
    """Between a star and a box: |x/a|^p + |y/b|^p + |z/c|^p = 1 with p of 1 to 6 (Barr 1981)."""
    power = rng.choice([rng.uniform(1.0, 1.8), rng.uniform(2.5, 6.0)])
    scale = rng.uniform(0.5, 1.0, 3)
    return displaced_sphere(lambda d: (np.abs(d / scale) ** power).sum(-1) ** (-1 / power), 120, 192)


def vase(rng: Random) -> Mesh:
    """A hollow vessel whose radius wanders as it rises."""
    h = rng.uniform(1.2, 2.2)
    t = np.linspace(0, 1, 24)
    knots = rng.uniform(0.25, 0.75, 6)
    r = np.interp(t, np.linspace(0, 1, 6), knots)
    r = np.convolve(np.pad(r, 4, mode="edge"), np.hanning(11)[1:-1] / np.hanning(11).sum(), mode="valid")
    return _vessel(np.stack((r, t * h), -1), rng.uniform(0.03, 0.07))


def bowl(rng: Random) -> Mesh:
    """A hollow part of an ellipsoid, open at the top."""
    a = np.linspace(rng.uniform(0.15, 0.4), np.pi / 2 * rng.uniform(0.75, 1.0), 20)
    outer = np.stack((np.sin(a), rng.uniform(0.5, 1.0) * (np.cos(a[0]) - np.cos(a))), -1)
    return _vessel(outer, rng.uniform(0.04, 0.09))


def plate(rng: Random) -> Mesh:
    """A flat round plate with a raised rim."""
    rim, rise = rng.uniform(0.5, 0.7), rng.uniform(0.1, 0.25)
    outer = np.array([[rim * 0.8, 0], [rim, 0.02], [1.0, rise]])
    return _vessel(smooth_profile(outer, 0.15, 6), rng.uniform(0.04, 0.06))


def bottle(rng: Random) -> Mesh:
    """A hollow body, a shoulder and a neck."""
    body, neck = rng.uniform(0.35, 0.5), rng.uniform(0.1, 0.18)
    shoulder, high = rng.uniform(1.0, 1.5), rng.uniform(0.4, 0.8)
    outer = np.array([[body, 0], [body, shoulder], [neck, shoulder + 0.35], [neck, shoulder + 0.35 + high]])
    return _vessel(smooth_profile(outer, rng.uniform(0.1, 0.3), 10), 0.04)


def mug(rng: Random) -> Mesh:
    """A cup with a handle, straight, tapered or round."""
    h, foot, rim = rng.uniform(0.8, 1.3), rng.uniform(0.35, 0.55), rng.uniform(0.48, 0.65)
    t = np.linspace(0, 1, 16)
    belly = rng.choice([0.0, rng.uniform(0.03, 0.2)])
    radius = foot + (rim - foot) * t ** rng.uniform(0.4, 1.3) + belly * np.sin(np.pi * t)
    body = _vessel(np.stack((radius, t * h), -1), rng.uniform(0.04, 0.07))
    a = np.linspace(-1, 1, 40) * np.pi * 0.5
    low, high = h * rng.uniform(0.15, 0.35), h * rng.uniform(0.7, 0.88)
    middle, half = (low + high) / 2, (high - low) / 2
    inner = np.interp(middle + half * np.sin(a), t * h, radius) - 0.03
    reach = rng.uniform(0.25, 0.42)
    path = np.stack((inner + reach * np.cos(a) ** rng.uniform(0.5, 1.0), middle + half * np.sin(a), 0 * a), -1)
    handle = tube(path, np.full(40, rng.uniform(0.045, 0.08)))
    stretch = np.array([1, 1, rng.uniform(1.0, 1.6)])
    return merge([body, Mesh(handle.vertices * stretch, handle.uv, handle.faces)])


def rock(rng: Random) -> Mesh:
    """An ellipsoid with bumps on several scales."""
    field = waves(rng, rng.uniform(1.5, 3.0), int(rng.integers(2, 6)))
    amount, scale = rng.uniform(0.08, 0.3), rng.uniform(0.6, 1.0, 3)
    mesh = displaced_sphere(lambda d: 1 + amount * np.tanh(field(d)), 128, 192)
    return Mesh(mesh.vertices * scale, mesh.uv, mesh.faces)


def head(rng: Random) -> Mesh:
    """A bust-like blob: ellipsoids under a smooth minimum, marched along rays from outside."""
    j = rng.uniform(0.9, 1.1, 12)
    ellipsoids = np.array(
        [  # centre, radii
            [0, 0.25, -0.1, 0.55 * j[2], 0.62, 0.66],  # skull
            [0, -0.25, 0.15, 0.4 * j[3], 0.45, 0.45 * j[4]],  # jaw
            [0, 0.0, 0.62 * j[0], 0.09, 0.17 * j[5], 0.16],  # nose
            [0.52 * j[1], 0.02, -0.05, 0.06, 0.16, 0.1],  # ears
            [-0.52 * j[1], 0.02, -0.05, 0.06, 0.16, 0.1],
            [0.2, 0.22, 0.45, 0.17, 0.06, 0.1],  # brows
            [-0.2, 0.22, 0.45, 0.17, 0.06, 0.1],
            [0, -0.75, -0.1, 0.3 * j[6], 0.5, 0.3],  # neck
            [0, -0.22, 0.55, 0.16, 0.05, 0.08],  # mouth
            [0, -1.15, -0.1, 0.75 * j[7], 0.25, 0.4],  # shoulders
        ]
    )
    centres, radii = ellipsoids[:, :3].astype(np.float32), ellipsoids[:, 3:].astype(np.float32)

    def radius(direction: Array) -> Array:
        # |(t d - c) / r|^2 as a polynomial of t, for each direction and ellipsoid: a third of the time.
        d = direction[..., None, :].astype(np.float32)
        a, b = ((d / radii) ** 2).sum(-1), (d * (centres / radii**2)).sum(-1)
        c = ((centres / radii) ** 2).sum(-1)
        along = np.full(direction.shape[:-1], 2.0, np.float32)
        for _ in range(24):
            t = along[..., None]
            parts = (np.sqrt(np.maximum((t * a - 2 * b) * t + c, 0)) - 1) * radii.min(-1)
            distance = -0.05 * np.log(np.exp(np.clip(parts, -1, 2) / -0.05).sum(-1))
            along = along - 0.9 * distance
        return np.clip(along, 0.1, 2.0)

    return displaced_sphere(radius, 96, 128)


def _vessel(outer: Array, thickness: float) -> Mesh:
    """A hollow lathe open at the top: foot, outer wall (radius, height) upward, rounded lip, inner wall back down."""
    tangent = np.gradient(outer, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    inward = np.stack((-tangent[:, 1], tangent[:, 0]), -1)
    inner = outer + thickness * inward
    inner = np.maximum(inner, [0.02, thickness])[::-1]
    lip = (outer[-1] + inner[0]) / 2 + thickness * 0.5 * tangent[-1]
    profile = np.concatenate(([[0, 0]], outer, [lip], inner, [[0, inner[-1, 1]]]))
    keep = np.concatenate(([True], np.linalg.norm(np.diff(profile, axis=0), axis=1) > 1e-4))
    return lathe(smooth_profile(profile[keep], thickness * 0.45, 4))


FAMILIES: dict[str, tuple[Callable[[Random], Mesh], float]] = {
    "ball": (sphere, 1.2),
    "ellipsoid": (ellipsoid, 0.7),
    "box": (box, 2.0),
    "cylinder": (cylinder, 1.0),
    "cone": (cone, 0.6),
    "torus": (torus, 0.7),
    "capsule": (capsule, 0.5),
    "superquadric": (superquadric, 0.8),
    "vase": (vase, 1.0),
    "bowl": (bowl, 1.0),
    "plate": (plate, 0.6),
    "bottle": (bottle, 0.9),
    "mug": (mug, 2.2),
    "rock": (rock, 1.2),
    "bust": (head, 1.2),
    "polyhedron": (solids.polyhedron, 0.6),
    "crystal": (solids.crystal, 0.5),
    "pebble": (solids.pebble, 0.6),
    "prism": (solids.prism, 0.7),
    "star": (solids.star, 0.5),
    "gear": (solids.gear, 0.4),
    "pipe": (solids.pipe, 0.5),
    "carved block": (solids.carved, 0.9),
    "bracket": (solids.bracket, 0.4),
    "cratered stone": (solids.cratered, 0.6),
    "fluted column": (solids.fluted, 0.7),
    "table": (furniture.table, 0.6),
    "stool": (furniture.stool, 0.4),
    "chair": (furniture.chair, 0.6),
    "shelf": (furniture.shelf, 0.4),
    "lamp": (furniture.lamp, 0.4),
}
"""Every family by its name in captions, with its sampling weight."""


FURNITURE = ("table", "stool", "chair", "shelf", "lamp")
"""The families that stand upright, and are larger than others."""


def random_object(rng: Random, among: Sequence[str] = ()) -> tuple[str, Mesh]:
    """A family's name, out of all or those of `among`, and a mesh of it with bounding sphere 1 round the origin."""
    names = list(among or FAMILIES)
    weights = np.array([FAMILIES[name][1] for name in names])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    return name, unit(FAMILIES[name][0](rng))


def random_primitive(rng: Random) -> tuple[str, Mesh]:
    """A cube, a ball or a cylinder with bounding sphere 1 round the origin, as in DiffusionRenderer's data."""
    kind = int(rng.integers(3))
    if kind == 0:
        return "cube", unit(rounded_box(np.ones(3), rng.choice([0.01, 0.05, 0.15])))
    return ("ball", sphere(rng)) if kind == 1 else ("cylinder", unit(cylinder(rng)))
