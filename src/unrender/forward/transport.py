"""Light is linear: the matrix from the texels of a small environment map to the pixels of a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.forward import brdf
from unrender.forward.surface import shading_points, tangent_frame, to_local
from unrender.scene.environment import texel_directions, texel_solid_angles
from unrender.scene.gbuffer import GBuffer

CHUNK_PAIRS = 1 << 20  # pixels times directions in flight


def transport_matrix(gbuffer: GBuffer, light_size: tuple[int, int], *, points: int = 2) -> Tensor:
    """How much of every texel's radiance reaches every pixel, without shadows: (3, P, N).

    The pixels of the first frame are `torch.einsum("cpn,cn->cp", matrix, radiance.flatten(1))` for a light of radiance
    (3, *light_size): the diffuse and specular lobes of the BRDF, integrated over each texel and weighted by the pixel's
    mask. Rows of pixels with no surface are zero. Differentiable in the material.

    Args:
        gbuffer: one frame, needs base_color and normal; size it down first, P = height * width.
        light_size: (height, width) of the environment map, N = height * width texels, constant within each.
        points: midpoints per side of a texel; more for smooth surfaces, whose lobes are narrower than a texel.
    """
    gbuffer.require("base_color", "normal", by="the transport matrix")
    camera = gbuffer.camera_or_default()
    surface = shading_points(gbuffer.frame(0), camera.frame(0))
    height, width = light_size
    fine = (height * points, width * points)
    directions = texel_directions(fine).reshape(-1, 3).T.to(surface.normal)
    solid_angle = texel_solid_angles(fine).expand(fine).reshape(-1).to(surface.normal)
    step = max(1, CHUNK_PAIRS // directions.shape[1])
    rows = []
    for start in range(0, len(surface), step):
        part = surface.part(start, start + step)
        frame = tangent_frame(part.normal)
        local = to_local(frame, directions[:, None].expand(3, len(part), -1))
        view = to_local(frame, part.view)[..., None]
        lobes = brdf.evaluate(view, local, part.roughness[:, None], part.metallic[:, None])
        neutral, colored = (
            _sum_points(lobe * solid_angle, light_size, points) for lobe in (lobes.neutral, lobes.diffuse + lobes.tint)
        )
        rows.append((neutral + part.base_color[..., None] * colored) * part.coverage[:, None])
    pixels = gbuffer.size[0] * gbuffer.size[1]
    matrix = surface.normal.new_zeros(3, pixels, height * width)
    return matrix.index_copy(1, surface.pixel, torch.cat(rows, dim=1)) if rows else matrix


def _sum_points(values: Tensor, light_size: tuple[int, int], points: int) -> Tensor:
    """(P, fine texels) summed over the points of each texel, (P, N)."""
    height, width = light_size
    return values.reshape(len(values), height, points, width, points).sum((2, 4)).reshape(len(values), -1)
