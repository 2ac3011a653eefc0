"""Random solids with edges: bevelled and twisted prisms, polyhedra, and what booleans (manifold3d) cut out of them."""

from __future__ import annotations

import numpy as np
from manifold3d import CrossSection, Manifold

from unrender.raytrace.mesh import Array, Mesh, box_mapped, with_creases
from unrender.synth.shapes import displaced_sphere, lathe, waves

Random = np.random.Generator

_CIRCLE = 72  # corners of a round tool
_GOLDEN = (1 + 5**0.5) / 2
_POLYHEDRA = (
    [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]],  # tetrahedron
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]],  # octahedron
    [[0, s, t * _GOLDEN][k:] + [0, s, t * _GOLDEN][:k] for s in (-1, 1) for t in (-1, 1) for k in range(3)],
    [[-1, -1, -1], [1, -1, -1], [1, -1, 1], [-1, -1, 1], [0, 1.2, 0]],  # pyramid
    [[-1, -1, -1], [1, -1, -1], [1, -1, 1], [-1, -1, 1], [-1, 0.6, -1], [-1, 0.6, 1]],  # wedge
)


def polyhedron(rng: Random) -> Mesh:
    """A tetrahedron, octahedron, icosahedron, pyramid or wedge, its edges rounded a little."""
    corners = np.array(_POLYHEDRA[rng.integers(len(_POLYHEDRA))], float)
    corners = corners / np.linalg.norm(corners, axis=1).max() * rng.uniform(0.7, 1.0, 3)
    return _mesh(_rounded_hull(corners, rng.uniform(0.02, 0.12)))


def crystal(rng: Random) -> Mesh:
    """The hull of random points: many flat faces."""
    points = rng.normal(size=(int(rng.integers(8, 26)), 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return _mesh(_rounded_hull(points * rng.uniform(0.5, 1.0, 3), rng.uniform(0.005, 0.04)))


def pebble(rng: Random) -> Mesh:
    """A coarse random hull, subdivided into a smooth surface."""
    points = rng.normal(size=(int(rng.integers(8, 20)), 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    coarse = Manifold.hull_points(points * rng.uniform(0.45, 1.0, 3))
    return _mesh(coarse.smooth_out(180.0, 0.0).refine(8))


def prism(rng: Random) -> Mesh:
    """An upright prism on a regular polygon, straight, tapered or twisted."""
    outline = CrossSection([_ring(int(rng.integers(3, 9)), rng.uniform(0.45, 0.8))])
    bevel = rng.uniform(0.02, 0.08)
    outline = outline.offset(-bevel, circular_segments=32).offset(bevel, circular_segments=32)
    return _mesh(_extruded(rng, outline, rng.uniform(0.6, 1.9)))


def star(rng: Random) -> Mesh:
    """A prism on a star or a flower, straight, tapered or twisted."""
    points = int(rng.integers(4, 9))
    depth = rng.uniform(0.15, 0.5)
    angle = np.linspace(0, 2 * np.pi, points * 16, endpoint=False)
    if rng.random() < 0.5:
        radius = 0.8 * (1 - depth * (0.5 + 0.5 * np.cos(points * angle)))
    else:
        radius = 0.8 * (1 - depth * np.abs((angle * points / np.pi) % 2 - 1))
    outline = CrossSection([np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)])
    return _mesh(_extruded(rng, outline, rng.uniform(0.3, 1.6)))


def gear(rng: Random) -> Mesh:
    """A flat wheel with teeth and a hole, sometimes with holes round that."""
    teeth, depth = int(rng.integers(8, 25)), rng.uniform(0.08, 0.2)
    phase = np.linspace(0, 1, 8, endpoint=False) + np.arange(teeth)[:, None]
    radius = np.where((phase % 1 > 0.2) & (phase % 1 < 0.7), 1.0, 1 - depth).ravel()
    angle = phase.ravel() / teeth * 2 * np.pi
    outline = CrossSection([np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)])
    outline -= CrossSection.circle(rng.uniform(0.1, 0.3), _CIRCLE)
    if rng.random() < 0.5:
        count, size = int(rng.integers(3, 8)), rng.uniform(0.08, 0.16)
        for x, y in _ring(count, 0.55):
            outline -= CrossSection.circle(size, 32).translate((x, y))
    return _mesh(_upright(outline.extrude(rng.uniform(0.12, 0.4))))


def pipe(rng: Random) -> Mesh:
    """A tube with a thick wall, sometimes with windows in its side."""
    radius, height = rng.uniform(0.35, 0.7), rng.uniform(0.4, 1.8)
    wall = radius * rng.uniform(0.08, 0.35)
    body = _cylinder(radius, height) - _cylinder(radius - wall, height * 1.1)
    if rng.random() < 0.5:
        for turn in np.arange(int(rng.integers(1, 4))) * rng.uniform(40, 120):
            body -= _cylinder(rng.uniform(0.15, 0.4) * min(radius, height / 2), 3).rotate((90, turn, 0))
    return _mesh(body)


def carved(rng: Random) -> Mesh:
    """A box, cylinder or ball out of which balls, boxes and cylinders are cut, or which it is joined with."""
    half = rng.uniform(0.45, 0.8, 3)
    body = (
        _rounded_hull(np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half, 0.03),
        _cylinder(half[0], 2 * half[1]),
        Manifold.sphere(0.8, _CIRCLE),
    )[rng.choice(3, p=[0.5, 0.25, 0.25])]
    for _ in range(int(rng.integers(1, 5))):
        size = rng.uniform(0.2, 0.5)
        tool = (
            Manifold.sphere(size, _CIRCLE),
            Manifold.cube((2 * size, 2 * size, 2 * size), True),
            _cylinder(size * 0.7, 3.0),
        )[rng.integers(3)]
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        tool = tool.rotate(tuple(rng.uniform(0, 360, 3))).translate(tuple(direction * rng.uniform(0.45, 0.8)))
        if rng.random() < 0.8:
            rest = body - tool
            body = rest if rest.volume() > 0.4 * body.volume() else body
        else:
            body += tool
    return _mesh(max(body.decompose(), key=lambda part: part.volume()))


def bracket(rng: Random) -> Mesh:
    """An L, T, U or H of square bars with drilled holes."""
    bar, length = rng.uniform(0.12, 0.25), rng.uniform(0.7, 1.1)
    boxes = {
        "L": ((0, 0, 1, bar), (0, 0, bar, 1)),
        "T": ((-0.5, 1 - bar, 1, bar), (-bar / 2, 0, bar, 1)),
        "U": ((0, 0, 1, bar), (0, 0, bar, 0.8), (1 - bar, 0, bar, 0.8)),
        "H": ((0, 0, bar, 1), (0.7, 0, bar, 1), (0, 0.5 - bar / 2, 0.7, bar)),
    }[str(rng.choice(["L", "T", "U", "H"]))]
    outline = CrossSection()
    for x, y, width, height in boxes:
        outline += CrossSection.square((width, height)).translate((x, y))
    soft = bar * rng.uniform(0.05, 0.4)
    outline = outline.offset(-soft, circular_segments=32).offset(soft, circular_segments=32)
    deep = rng.uniform(0.3, 0.8)
    body = outline.extrude(deep)
    for x, y, width, height in boxes:
        hole = _cylinder(bar * 0.3, 4).rotate((0, 0, 90) if height > width else (0, 0, 0))
        body -= hole.translate((x + width * 0.6, y + height * 0.6, deep / 2))
    return _mesh(body.scale((length, length, length)))


def cratered(rng: Random) -> Mesh:
    """A ball or a rounded box, eroded by noise."""
    field = waves(rng, rng.uniform(2.5, 5.0), 2)
    fine = waves(rng, 9.0, 3)
    deep, level, power = rng.uniform(0.15, 0.4), rng.uniform(-0.3, 0.4), rng.choice([2.0, 4.0, 6.0])

    def radius(d: Array) -> Array:
        eaten = 1 / (1 + np.exp(-8 * (field(d) - level)))
        return (np.abs(d) ** power).sum(-1) ** (-1 / power) * (1 - deep * eaten) * (1 + 0.02 * fine(d))

    return displaced_sphere(radius, 128, 192)


def fluted(rng: Random) -> Mesh:
    """A closed vase or column with lobes, turning as they rise."""
    t = np.linspace(0, 1, 64)
    r = np.interp(t, np.linspace(0, 1, 6), rng.uniform(0.25, 0.7, 6))
    r = np.convolve(np.pad(r, 8, mode="edge"), np.hanning(19)[1:-1] / np.hanning(19).sum(), mode="valid")
    height = rng.uniform(0.8, 2.0)
    profile = np.concatenate(([[0, 0]], np.stack((r, t * height), 1), [[0, height]]))
    mesh = lathe(profile, 192)
    angle = np.arctan2(mesh.vertices[:, 0], mesh.vertices[:, 2])
    lobes, depth, turn = int(rng.integers(3, 17)), rng.uniform(0.03, 0.18), rng.uniform(-2.5, 2.5)
    wave = 1 - depth * (0.5 + 0.5 * np.cos(lobes * (angle + turn * mesh.vertices[:, 1] / height)))
    return Mesh(mesh.vertices * np.stack((wave, np.ones_like(wave), wave), 1), mesh.uv, mesh.faces)


def _rounded_hull(corners: Array, radius: float) -> Manifold:
    """The convex hull of balls of `radius` round `corners` (N, 3)."""
    ball = displaced_sphere(lambda d: np.full(d.shape[:-1], radius), 9, 16).vertices
    return Manifold.hull_points(np.concatenate([corner + ball for corner in corners]))


def _cylinder(radius: float, height: float) -> Manifold:
    """Upright, about the origin."""
    return _upright(Manifold.cylinder(height, radius, radius, _CIRCLE, True))


def _upright(body: Manifold) -> Manifold:
    """Rotates a body along +Z to +Y."""
    return body.rotate((-90, 0, 0))


def _extruded(rng: Random, outline: CrossSection, height: float) -> Manifold:
    twist = rng.uniform(-90, 90) if rng.random() < 0.35 else 0.0
    top = rng.uniform(0.3, 1.0) if rng.random() < 0.35 else 1.0
    layers = 24 if twist else 0
    return _upright(outline.extrude(height, layers, twist, (top, top)))


def _ring(count: int, radius: float) -> Array:
    angle = np.arange(count) * 2 * np.pi / count
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1)


def _mesh(body: Manifold) -> Mesh:
    triangles = body.to_mesh()
    vertices = np.asarray(triangles.vert_properties, np.float64)[:, :3]
    return with_creases(box_mapped(vertices, np.asarray(triangles.tri_verts, np.int64)))
