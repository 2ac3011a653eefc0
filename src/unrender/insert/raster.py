"""Meshes to G-buffers with a depth buffer: for a look at objects where a path tracer would take longer to begin."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from unrender.raytrace.textured_mesh import TexturedMesh
from unrender.scene.camera import Camera, project
from unrender.scene.gbuffer import GBuffer

NEAREST = 1e-3
"""Planar depth under which a triangle is left out."""

BATCH = 1 << 17
"""Places that are asked at once: what of them is worked on stays in a cache."""


def rasterise(mesh: TexturedMesh, camera: Camera) -> GBuffer:
    """Base colour, normal, depth, roughness, metallic and mask of a mesh as a camera of one frame sees it.

    Each pixel is seen by its centre. Textures are read by the nearest texel, without their bumps; opacity is in the
    mask."""
    height, width = camera.size
    places = torch.from_numpy(mesh.vertices).float()
    pixels, depth = (values[0] for values in project(places, camera))
    faces = torch.from_numpy(mesh.faces.astype("int64"))
    faces = faces[(depth[faces] > NEAREST).all(1)]
    front = torch.full((height * width,), torch.inf)
    seen = torch.full((height * width,), -1)
    parts = torch.zeros(height * width, 3)
    for face, place, weights in _covered(pixels[faces], camera.size):
        inverse = weights / depth[faces[face]]  # perspective: what is linear in the picture is 1 / depth
        total = inverse.sum(1)
        front.scatter_reduce_(0, place, 1 / total, "amin")
        nearest = (1 / total <= front[place]).nonzero()[:, 0]
        seen[place[nearest]] = face[nearest]
        parts[place[nearest]] = inverse[nearest] / total[nearest, None]
    there = (seen >= 0).nonzero()[:, 0]
    corners, share = faces[seen[there]], parts[there, :, None]

    def picture(values: Tensor, nothing: float = 0.0) -> Tensor:
        flat = torch.full((values.shape[1], height * width), nothing)
        return flat.index_copy(1, there, values.T.float()).reshape(1, -1, height, width)

    normal = functional.normalize((torch.from_numpy(mesh.normals).float()[corners] * share).sum(1), dim=1)
    uv = (torch.from_numpy(mesh.uv).float()[corners] * share).sum(1)
    rows, columns = mesh.roughness.shape
    column, row = (uv[:, 0] * columns).long().clamp(0, columns - 1), (uv[:, 1] * rows).long().clamp(0, rows - 1)

    def texels(texture: object) -> Tensor:
        return torch.as_tensor(texture).reshape(rows, columns, -1)[row, column]

    opaque = torch.ones(len(there), 1) if mesh.opacity is None else texels(mesh.opacity)
    return GBuffer(
        base_color=picture(texels(mesh.base_color)),
        normal=picture(normal @ camera.pose[0, :3, :3].float()),
        depth=picture(front[there, None], torch.inf),
        roughness=picture(texels(mesh.roughness)),
        metallic=picture(texels(mesh.metallic)),
        mask=picture(opaque),
        camera=camera,
        depth_kind="metric",
    )


def _covered(corners: Tensor, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The pixels whose centres triangles (F, 3, 2) cover: index of the triangle (N,), of the pixel (N,), and the
    barycentric weights there (N, 3). Triangles of about one size are asked together."""
    height, width = size
    limit = corners.new_tensor([width, height])
    low = (corners.amin(1) - 0.5).ceil().clamp(min=0)
    high = torch.minimum((corners.amax(1) - 0.5).floor(), limit - 1)
    side = (high - low + 1).amax(1)
    empty = ((high < low).any(1)) | ~corners.isfinite().all(2).all(1)
    steps = torch.where(empty, -1, side.clamp(min=1).log2().ceil().long())
    for step in steps.unique().tolist():
        if step < 0:
            continue
        window = 1 << step
        cells = torch.arange(window**2)
        down, across = cells // window, cells % window
        for chosen in (steps == step).nonzero()[:, 0].split(max(1, BATCH // window**2)):
            x, y = low[chosen, :1] + across, low[chosen, 1:] + down
            a, b, c = corners[chosen, :, :, None].unbind(1)
            whole = _area(a, b, *c.unbind(1))
            weights = [_area(*edge, x + 0.5, y + 0.5) / whole for edge in ((b, c), (c, a), (a, b))]
            inside = (x <= high[chosen, :1]) & (y <= high[chosen, 1:]) & (whole != 0)
            for weight in weights:
                inside &= weight >= 0
            face, cell = inside.nonzero(as_tuple=True)
            spot = (y * width + x)[face, cell].long()
            yield chosen[face], spot, torch.stack([weight[face, cell] for weight in weights], -1)


def _area(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Twice the signed area of the triangles of corners a, b (F, 2, 1) and (x, y), both (F, N)."""
    return (b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])
