"""The visible front of a scene, for rays to run into.

The march follows McGuire & Mara 2014, Efficient GPU Screen-Space Ray Tracing: steps in the image, inverse depth
interpolated, and a thickness for what is seen of a surface only from the front. What the camera does not see neither
blocks nor reflects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrender.forward.surface import world_rotation
from unrender.scene.camera import Camera, unproject
from unrender.scene.gbuffer import GBuffer

STEPS = 24
REST = 8  # steps after which rays that have met something are put aside
THICKNESS = 0.1  # how far behind its front a surface still blocks, as a part of its depth
LIFT = 1.5  # rays start this many pixels above their surface
UNSUPPORTED, SUPPORTED = 0.3, 0.8  # cosine between a normal and that of the depth: trusted not at all, and wholly


@dataclass(frozen=True)
class DepthScene:
    """The visible front of a scene, for rays to run into.

    Attributes:
        points: (3, H * W) camera-space points lifted off their surfaces, where rays start.
        front: (H * W,) planar depth behind which a ray is behind the surface, inf where there is none.
        support: (H * W,) in [0, 1], how far the normals bear out the depth around each pixel.
        projection: (3, 3) camera axes to (x depth, y depth, depth), x and y in pixels.
        to_camera: (3, 3) world of the light to camera axes.
        size: (height, width).
    """

    points: Tensor
    front: Tensor
    support: Tensor
    projection: Tensor
    to_camera: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, gbuffer: GBuffer, camera: Camera, yaw: float) -> DepthScene:
        """The scene of a G-buffer of one frame with positive planar depth."""
        gbuffer.require("normal", "depth", by="screen-space ray tracing")
        assert gbuffer.normal is not None
        assert gbuffer.depth is not None
        depth, normal = gbuffer.depth.detach(), gbuffer.normal.detach()
        k = camera.intrinsics[0].to(depth)
        flip = torch.diag(depth.new_tensor([1.0, -1.0, -1.0]))  # camera looks along -Z and rows run down
        points = unproject(depth, camera).nan_to_num(posinf=0.0, neginf=0.0)
        lift = (LIFT / k[0, 0] * depth * normal).nan_to_num(posinf=0.0, neginf=0.0)
        height, width = gbuffer.size
        return cls(
            points=(points + lift).reshape(3, height * width),
            front=(depth * 1.001 + 0.5 * _slope(depth)).reshape(-1),
            support=_support(points, depth, normal).reshape(-1),
            projection=k @ flip,
            to_camera=world_rotation(camera, yaw).T.to(depth),
            size=(height, width),
        )

    @torch.no_grad()
    def trace(self, origin: Tensor, direction: Tensor, jitter: Tensor) -> Tensor:
        """The pixel (R,) that each ray meets first, or -1.

        Args:
            origin: (R,) pixels.
            direction: (3, R) unit, world.
            jitter: (R,) in [0, 1), part of a step that each ray begins earlier: bands become what can be smoothed.
        """
        start = self.projection @ self.points.index_select(1, origin)
        run = self.projection @ (self.to_camera @ direction)
        end = start + self._reach(start, run) * run
        x, y, near = start[0] / start[2], start[1] / start[2], 1 / start[2]
        dx, dy, d_near = end[0] / end[2] - x, end[1] / end[2] - y, 1 / end[2] - near
        # A run of no length in the image, towards the camera or away from it, meets nothing.
        ray = torch.isfinite(dx + dy + d_near).nonzero()[:, 0]
        met = torch.full_like(origin, -1)
        state = [value.index_select(0, ray) for value in (x, y, near, dx, dy, d_near, jitter, start[2])]
        own, found = origin.index_select(0, ray).int(), torch.full_like(ray, -1, dtype=torch.int32)
        for step in range(1, STEPS + 1):
            pixel = self._advance(state, step, own)
            found = torch.where(found < 0, pixel, found)
            if step % REST == 0:
                met[ray] = found.long()
                going = (found < 0).nonzero()[:, 0]
                state = [value.index_select(0, going) for value in state]
                ray, own, found = (value.index_select(0, going) for value in (ray, own, found))
        return met

    def _advance(self, state: list[Tensor], step: int, origin: Tensor) -> Tensor:
        """One step of all rays: the pixel in which each is inside a surface, or -1. The depth in `state` moves on."""
        height, width = self.size
        x, y, near, dx, dy, d_near, jitter, before = state
        s = ((step - jitter) / STEPS).square_()  # short steps first: contact is where shadows are sharp
        depth = torch.addcmul(near, s, d_near).reciprocal_()
        column = torch.addcmul(x, s, dx).int().clamp_(0, width - 1)
        pixel = torch.addcmul(y, s, dy).int().clamp_(0, height - 1).mul_(width).add_(column)
        front = self.front.index_select(0, pixel)
        behind = depth - front
        thickness = torch.add((depth - before).clamp_(min=0), front, alpha=THICKNESS)
        state[7] = depth
        return torch.where((behind > 0) & (behind < thickness) & (pixel != origin), pixel, -1)

    def _reach(self, start: Tensor, run: Tensor) -> Tensor:
        """How far (R,) rays go before they leave the picture, come too near the camera or pass the farthest depth."""
        height, width = self.size
        finite = self.front[torch.isfinite(self.front)]
        nearest, farthest = (finite.min(), finite.max()) if len(finite) else (1.0, 1.0)
        reach = torch.full_like(start[0], torch.inf)
        for f, change in (
            (start[0], run[0]),
            (width * start[2] - start[0], width * run[2] - run[0]),
            (start[1], run[1]),
            (height * start[2] - start[1], height * run[2] - run[1]),
            (start[2] - 0.1 * nearest, run[2]),
            (1.5 * farthest - start[2], -run[2]),
        ):
            reach = torch.minimum(reach, torch.where(change < 0, -f / change, torch.inf))
        return reach.clamp(min=0)


def _slope(depth: Tensor) -> Tensor:
    """(1, 1, H, W) change of depth to the next pixel, the smaller of both sides so that edges do not count."""
    known = depth.nan_to_num(posinf=0.0)
    return (_nearer_side(known, 2).abs() + _nearer_side(known, 3).abs()).nan_to_num(posinf=0.0)


def _support(points: Tensor, depth: Tensor, normal: Tensor) -> Tensor:
    """(1, 1, H, W) in [0, 1]: how far the normals of the depth itself agree with `normal`, the mean around each pixel.

    Estimated depth has steps and dents that throw shadows of nothing; estimated normals, found by themselves, do not
    share them.
    """
    known = depth.nan_to_num(posinf=0.0)
    right, down = (_along_nearer_side(points, known, dim) for dim in (3, 2))
    found = functional.normalize(torch.linalg.cross(down, right, dim=1), dim=1)
    agreement = (found * normal).sum(1, keepdim=True)
    there = (normal.square().sum(1, keepdim=True) > 0.25).to(depth)
    sure = ((agreement - UNSUPPORTED) / (SUPPORTED - UNSUPPORTED)).clamp(0, 1) * there
    around = [functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False) for x in (sure, there)]
    return around[0] / around[1].clamp(min=1e-6)


def _nearer_side(values: Tensor, dim: int) -> Tensor:
    """Differences (1, C, H, W) to the next or from the last pixel along `dim`, the smaller of the two in size."""
    gap = torch.diff(values, dim=dim)
    end = torch.full_like(values.narrow(dim, 0, 1), torch.inf)
    ahead, behind = torch.cat((gap, end), dim), torch.cat((end, gap), dim)
    return torch.where(ahead.abs() <= behind.abs(), ahead, behind)


def _along_nearer_side(points: Tensor, depth: Tensor, dim: int) -> Tensor:
    """Tangents (1, 3, H, W) between neighbouring points along `dim`, on the side where depth changes less."""
    nothing = torch.zeros_like(points.narrow(dim, 0, 1))
    gap, change = torch.diff(points, dim=dim), torch.diff(depth, dim=dim).abs()
    end = torch.full_like(depth.narrow(dim, 0, 1), torch.inf)
    ahead, behind = torch.cat((change, end), dim), torch.cat((end, change), dim)
    return torch.where(ahead <= behind, torch.cat((gap, nothing), dim), torch.cat((nothing, gap), dim))
