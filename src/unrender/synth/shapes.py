"""Random closed surfaces with texture coordinates: lathes, tubes, rounded boxes and displaced spheres, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unrender.raytrace.mesh import Array, Mesh, merge


def grid_faces(rows: int, columns: int) -> Array:
    """Two triangles for each cell of a rows x columns grid of vertices, (2 (rows - 1) (columns - 1), 3)."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns - 1), indexing="ij")
    a = (i * columns + j).ravel()
    b, c, d = a + 1, a + columns, a + columns + 1
    return np.concatenate((np.stack((a, b, d), 1), np.stack((a, d, c), 1)))


def lathe(profile: Array, segments: int = 96) -> Mesh:
    """Turns a profile (N, 2) of (radius, height) about +Y; outside is left of the profile seen with radius to the
    right, that is: a profile that climbs the outer wall faces outward."""
    steps = np.concatenate(([0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))))
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    radius, height = profile[:, :1], profile[:, 1:]
    vertices = np.stack(
        np.broadcast_arrays(radius * np.sin(angle), height, radius * np.cos(angle)),
        -1,
    )
    u, v = np.meshgrid(angle / (2 * np.pi), 1 - steps / steps[-1])
    # A full turn reads the texture twice as wide as high.
    return Mesh(vertices.reshape(-1, 3), np.stack((u, v), -1).reshape(-1, 2), grid_faces(len(profile), segments + 1))


def smooth_profile(points: Array, radius: float = 0.02, samples: int = 4) -> Array:
    """Rounds the inner corners of a polyline (N, 2) by arcs about `radius` long on each side (quadratic Bezier)."""
    out = [points[:1]]
    t = np.linspace(0, 1, samples)[:, None]
    for before, corner, after in zip(points[:-2], points[1:-1], points[2:], strict=True):
        near, far = before - corner, after - corner
        reach = min(radius, 0.45 * np.linalg.norm(near), 0.45 * np.linalg.norm(far))
        a = corner + near / np.linalg.norm(near) * reach
        b = corner + far / np.linalg.norm(far) * reach
        out.append((1 - t) ** 2 * a + 2 * t * (1 - t) * corner + t**2 * b)
    out.append(points[-1:])
    return np.concatenate(out)


def tube(path: Array, radius: Array, segments: int = 24, closed: bool = False) -> Mesh:
    """A round tube about a planar path (N, 3) in the plane z = 0 with radius (N,); `closed` joins its ends."""
    tangent = np.gradient(path, axis=0)
    if closed:
        tangent[0] = tangent[-1] = path[1] - path[-2]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    out_of_plane = np.array([0.0, 0.0, 1.0])
    side = np.cross(tangent, out_of_plane)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    ring = np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * out_of_plane
    vertices = path[:, None] + radius[:, None, None] * ring
    u, v = np.meshgrid(angle / (2 * np.pi), np.linspace(0, 1, len(path)))
    faces = grid_faces(len(path), segments + 1)[:, ::-1]
    return Mesh(vertices.reshape(-1, 3), np.stack((v, u), -1).reshape(-1, 2), faces)


def displaced_sphere(radius: Callable[[Array], Array], rows: int = 80, columns: int = 128) -> Mesh:
    """A star-shaped surface: `radius` takes unit directions (..., 3) and gives distances (...)."""
    theta = np.linspace(np.pi, 0, rows)[:, None]
    phi = np.linspace(0, 2 * np.pi, columns + 1)
    direction = np.stack(
        np.broadcast_arrays(np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)), -1
    )
    vertices = direction * radius(direction)[..., None]
    u, v = np.meshgrid(phi / (2 * np.pi), theta[:, 0] / np.pi)
    return Mesh(vertices.reshape(-1, 3), np.stack((u, v), -1).reshape(-1, 2), grid_faces(rows, columns + 1))


def rounded_box(half: Array, bevel: float, texture: float | None = None) -> Mesh:
    """A box of half extents (3,) whose edges are rounded with radius `bevel`; a texture covers each side, or
    `texture` units both ways, which are to be no less than the longest side."""
    parts = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            ta, tb = _bevelled_ticks(half[a], bevel), _bevelled_ticks(half[b], bevel)
            pa, pb = np.meshgrid(ta, tb, indexing="ij")
            point = np.zeros((*pa.shape, 3))
            point[..., a], point[..., b], point[..., axis] = pa, pb, sign * half[axis]
            core = np.clip(point, -(half - bevel), half - bevel)
            outward = point - core
            vertices = core + bevel * outward / np.linalg.norm(outward, axis=-1, keepdims=True)
            across, along = (2 * half[a], 2 * half[b]) if texture is None else (texture, texture)
            uv = np.stack((pa / across, pb / along), -1) + 0.5
            faces = grid_faces(len(ta), len(tb))
            parts.append(Mesh(vertices.reshape(-1, 3), uv.reshape(-1, 2), faces[:, ::-1] if sign > 0 else faces))
    return merge(parts)


def plain_box(center: tuple[float, float, float], half: tuple[float, float, float]) -> Mesh:
    """A box of twelve triangles with sharp edges, each side a whole texture wide: for the many bars of windows, where
    `rounded_box` would be a thousand times as much as one sees."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    parts = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            point = np.zeros((4, 3))
            point[:, (axis + 1) % 3], point[:, (axis + 2) % 3], point[:, axis] = corners[:, 0], corners[:, 1], sign
            faces = np.array([[0, 1, 2], [0, 2, 3]] if sign > 0 else [[0, 2, 1], [0, 3, 2]])
            parts.append(Mesh(point * half + center, (corners + 1) / 2, faces))
    return merge(parts)


def _bevelled_ticks(half: float, bevel: float) -> Array:
    inner = half - bevel
    edge = inner + bevel * np.tan(np.linspace(0, np.pi / 4, 6)[1:])
    return np.concatenate((-edge[::-1], np.linspace(-inner, inner, 3), edge))


def plane(half_x: float, half_z: float) -> Mesh:
    """A rectangle in y = 0 facing +Y, one texture wide along its longer side; the one open surface here."""
    ticks = np.linspace(-1, 1, 9)
    z, x = np.meshgrid(ticks, ticks, indexing="ij")
    vertices = np.stack((half_x * x, 0 * x, half_z * z), -1).reshape(-1, 3)
    uv = vertices[:, [0, 2]] / (2 * max(half_x, half_z)) + 0.5
    return Mesh(vertices, uv, grid_faces(9, 9)[:, ::-1])


def waves(rng: np.random.Generator, frequency: float, octaves: int) -> Callable[[Array], Array]:
    """Smooth random scalar field over R^3, about [-1, 1]: sums of sines in random directions, halved each octave."""
    terms = []
    for octave in range(octaves):
        for _ in range(5):
            direction = rng.normal(size=3)
            direction *= frequency * 2.0**octave * rng.uniform(0.6, 1.4) / np.linalg.norm(direction)
            terms.append((direction, rng.uniform(0, 2 * np.pi), 0.5**octave))
    scale = 1 / np.sqrt(sum(a * a for _, _, a in terms))

    def field(points: Array) -> Array:
        # Written out: BLAS would start threads for each of these small products.
        x, y, z = np.moveaxis(points, -1, 0)
        return scale * sum(a * np.sin(x * w[0] + y * w[1] + z * w[2] + phase) for w, phase, a in terms)

    return field
