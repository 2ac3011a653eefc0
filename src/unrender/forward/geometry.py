"""Relative depth made positive depth, up to one scale, by asking it to agree with the normals."""

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.gbuffer import GBuffer, concatenate
from unrender.scene.strips import in_strips

ROUNDS = 12
MIN_NORMAL_AGREEMENT = 0.9  # cosine between neighbours' normals; less is taken for an edge
NEAREST = 0.05  # the least the calibrated depth may be, as a part of its median
MIN_POSITIVE = 0.98
PIXELS = 1 << 19  # of a frame that scale and shift are found by
STRIDE = 2  # pixels between the ends of a tangent: short ones are lost in the noise of depth


def calibrate_depth(gbuffer: GBuffer) -> GBuffer:
    """The G-buffer with relative depth d replaced by s d + t > 0, planar depth up to one scale.

    A surface point is P(u, v) = (s d + t) ray(u, v). Its tangents, taken between neighbouring pixels, must be at right
    angles to the normal, which is linear in (s, t) and homogeneous:

        s n . (d1 ray1 - d0 ray0) + t n . (ray1 - ray0) = 0

    Solved for the least squared angle between tangent and tangent plane over all pairs of pixels. Errors of the normals
    add to that in proportion to the squared length of the tangents, so the generalised eigenvector of both forms is
    free of their bias. Cauchy weights, found anew each round (iteratively reweighted least squares), take their say
    from depth edges. Where the picture does not determine the answer (a wall seen head on says nothing of its distance)
    the nearest point is put as far away as the scene is deep.

    Args:
        gbuffer: needs normal and depth; depth grows away from the camera, finite where there is a surface. Each frame
            is calibrated alone. Without a camera, `Camera.perspective` of its size is assumed.

    Returns:
        The G-buffer with depth of median 1 in every frame; `depth_kind` stays "relative", because the scale is free.

    Raises:
        UserError: where normal or depth is missing.
    """
    gbuffer.require("normal", "depth", by="depth calibration")
    assert gbuffer.depth is not None
    camera = gbuffer.camera_or_default()
    frames = []
    for i in range(len(gbuffer)):
        frame = gbuffer.frame(i)
        assert frame.normal is not None
        assert frame.depth is not None
        frames.append(frame.with_maps(depth=_calibrated(frame.depth, frame.normal, camera.frame(i))))
    return concatenate(frames)


def _calibrated(depth: Tensor, normal: Tensor, camera: Camera) -> Tensor:
    """Depth (1, 1, H, W) of one frame, calibrated by every few pixels of a large one."""
    step = max(1, round((depth.numel() / PIXELS) ** 0.5))
    rays = pixel_rays(camera.every(step)).to(depth)
    found = _scale_and_shift(depth[:, :, ::step, ::step], normal[:, :, ::step, ::step], rays)
    if found is None:
        return depth
    middle, spread, shift, scale = found

    def metric(depth: Tensor, normal: Tensor) -> Tensor:
        known = torch.isfinite(depth) & (normal.square().sum(1, keepdim=True) > 0.25)
        unit = torch.where(known, (depth - middle) / spread, 0.0)
        return torch.where(known, ((unit + shift) / scale).clamp(min=NEAREST), torch.inf)

    return in_strips(metric, depth, normal)


def _scale_and_shift(depth: Tensor, normal: Tensor, rays: Tensor) -> tuple[Tensor, Tensor, float, Tensor] | None:
    """What is taken from depth (1, 1, H, W) and what it is divided by, then what is added and what that is divided by;
    None where there is no depth."""
    known = torch.isfinite(depth) & (normal.square().sum(1, keepdim=True) > 0.25)
    if not known.any():
        return None
    values = depth[known]
    middle = values.median()
    spread = (values - middle).abs().mean().clamp(min=1e-6 * (1 + middle.abs()))
    # Solve in depth of mean 0 and spread 1, whatever the units it came in.
    unit = torch.where(known, (depth - middle) / spread, 0.0)
    pairs = [_tangents(unit, normal, rays, known, dim) for dim in (2, 3)]
    normals, tangents = (torch.cat(x) for x in zip(*pairs, strict=True))
    shift = _shift(normals, tangents, unit[known])
    return middle, spread, shift, (unit + shift)[known].median()


def _tangents(depth: Tensor, normal: Tensor, rays: Tensor, known: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """For every pair of pixels `STRIDE` apart along `dim`: the normal between them (E, 3), and the tangent, (E, 3, 2),
    as a linear map of (s, t). In float64."""
    size = max(depth.shape[dim] - STRIDE, 0)
    (d0, d1), (n0, n1), (r0, r1), (k0, k1) = (
        (x.narrow(dim, 0, size), x.narrow(dim, x.shape[dim] - size, size))
        for x in (depth, normal, rays.expand_as(normal), known)
    )
    keep = (k0 & k1 & ((n0 * n1).sum(1, keepdim=True) > MIN_NORMAL_AGREEMENT))[0, 0]
    between = functional.normalize(n0 + n1, dim=1)
    tangents = torch.stack((d1 * r1 - d0 * r0, r1 - r0), dim=-1)
    return between[0, :, keep].T.double(), tangents[0, :, keep].movedim(0, 1).double()


def _shift(normals: Tensor, tangents: Tensor, depth: Tensor) -> float:
    """t / s of least robust error, depth left positive; a guess from the spread of `depth` where there is none."""
    guess = max(float(depth.max() - depth.min()), 1e-3) - float(depth.min())
    if len(normals) < 2:
        return guess
    across = torch.einsum("ei,eik->ek", normals, tangents)
    vector = across.new_tensor([1.0, guess])
    for _ in range(ROUNDS):
        length = (tangents @ vector).norm(dim=1).clamp(min=1e-12)
        sine = (across @ vector).abs() / length
        width = 1.5 * sine.median().clamp(min=1e-6)
        weight = 1 / ((1 + (sine / width) ** 2) * length**2)
        error = torch.einsum("e,ej,ek->jk", weight, across, across)
        total = torch.einsum("e,eij,eik->jk", weight, tangents, tangents)
        root, failed = torch.linalg.cholesky_ex(total)
        if failed:
            return guess
        inverse = torch.linalg.inv(root)
        values, vectors = torch.linalg.eigh(inverse @ error @ inverse.T)
        vector = inverse.T @ vectors[:, 0]
        if values[0] > 0.5 * values[1] or abs(float(vector[0])) < 1e-6 * float(vector.abs().max()):
            return guess
        vector = vector / vector[0]
    # Depth must be positive almost everywhere; what is not is an error of the normals, and the guess is safer.
    positive = float((depth + vector[1] > 0).double().mean()) >= MIN_POSITIVE
    return float(vector[1]) if positive else guess
