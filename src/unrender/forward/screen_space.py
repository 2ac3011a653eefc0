"""Light that meets something on its way, as far as the depth map knows: shadows, occlusion and one bounce.

The same Monte Carlo estimate as the reference, but every direction is first marched through the depth map. Where it
meets a surface, the colour that this surface shows the camera takes the place of the environment; so shadows, ambient
occlusion, mirror images and colour bleeding are one mechanism. This is the screen-space ray tracing (SSRT) that
DiffusionRenderer (Liang et al. 2025) measures itself against; the marching follows McGuire & Mara 2014, Efficient GPU
Screen-Space Ray Tracing: steps even in the image, inverse depth interpolated, and a thickness for what is seen of a
surface only from the front.

What the camera does not see neither blocks nor reflects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrender.forward import monte_carlo, split_sum
from unrender.forward.light_sampling import LightSampler
from unrender.forward.prefilter import PrefilteredLight
from unrender.forward.surface import ShadingPoints, world_rotation
from unrender.scene.camera import Camera, unproject
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

STEPS = 32
THICKNESS = 0.1  # how far behind its front a surface still blocks, as a part of its depth
LIFT = 1.5  # rays start this many pixels above their surface
FIRST_BOUNCE_SHARE = 4  # the picture that is seen in reflections has a quarter of the samples


def shade(
    surface: ShadingPoints, scene: DepthScene, light: EnvironmentMap, samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Diffuse and specular radiance towards the camera, each (3, N); arguments as `monte_carlo.shade`."""
    sampler = LightSampler.of(light.radiance[0])
    diffuse, specular = split_sum.shade(surface, PrefilteredLight.of(light.radiance[0]))
    incoming = scene.incoming(surface, diffuse + specular)
    diffuse, specular = monte_carlo.shade(surface, sampler, max(2, samples // FIRST_BOUNCE_SHARE), seed + 1, incoming)
    return monte_carlo.shade(surface, sampler, samples, seed, scene.incoming(surface, diffuse + specular))


@dataclass(frozen=True)
class DepthScene:
    """The visible front of a scene, for rays to run into.

    Attributes:
        points: (3, H * W) camera-space points lifted off their surfaces, where rays start.
        front: (H * W,) planar depth behind which a ray is behind the surface, inf where there is none.
        projection: (3, 3) camera axes to (x depth, y depth, depth), x and y in pixels.
        to_camera: (3, 3) world of the light to camera axes.
        size: (height, width).
    """

    points: Tensor
    front: Tensor
    projection: Tensor
    to_camera: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, gbuffer: GBuffer, camera: Camera, yaw: float) -> DepthScene:
        """The scene of a G-buffer of one frame with positive planar depth."""
        gbuffer.require("normal", "depth", by="screen-space ray tracing")
        assert gbuffer.normal is not None
        assert gbuffer.depth is not None
        depth = gbuffer.depth.detach()
        k = camera.intrinsics[0].to(depth)
        flip = torch.diag(depth.new_tensor([1.0, -1.0, -1.0]))  # camera looks along -Z and rows run down
        lift = LIFT / k[0, 0] * depth * gbuffer.normal.detach()
        points = (unproject(depth, camera) + lift).nan_to_num(posinf=0.0, neginf=0.0)
        front = depth * 1.001 + 0.5 * _slope(depth)
        height, width = gbuffer.size
        return cls(
            points=points.reshape(3, height * width),
            front=front.reshape(-1),
            projection=k @ flip,
            to_camera=world_rotation(camera, yaw).T.to(depth),
            size=(height, width),
        )

    def incoming(self, surface: ShadingPoints, shaded: Tensor) -> monte_carlo.Incoming:
        """What arrives at `surface`: `shaded` (3, N), its own radiance, from where a ray meets it; else the light."""
        height, width = self.size
        picture = shaded.new_zeros(3, height * width).index_copy(1, surface.pixel, shaded)

        def arrives(part: ShadingPoints, direction: Tensor, radiance: Tensor) -> Tensor:
            shape = radiance.shape
            above = ((direction * part.normal[..., None]).sum(0) > 0).reshape(-1).nonzero()[:, 0]
            origin = part.pixel[:, None].expand(shape[1:]).reshape(-1)[above]
            met = self.trace(origin, direction.reshape(3, -1)[:, above])
            hit = (met >= 0).nonzero()[:, 0]
            seen = picture.index_select(1, met[hit])
            return radiance.reshape(3, -1).index_copy(1, above[hit], seen).reshape(shape)

        return arrives

    @torch.no_grad()
    def trace(self, origin: Tensor, direction: Tensor) -> Tensor:
        """The pixel (R,) that each ray meets first, or -1; `origin` (R,) pixels, unit world `direction` (3, R)."""
        start = self.projection @ self.points.index_select(1, origin)
        run = self.projection @ (self.to_camera @ direction)
        end = start + self._reach(start, run) * run
        height, width = self.size
        x, y, near = start[0] / start[2], start[1] / start[2], 1 / start[2]
        dx, dy, d_near = end[0] / end[2] - x, end[1] / end[2] - y, 1 / end[2] - near
        # Every ray begins its steps elsewhere, which turns bands into noise.
        jitter = torch.rand(len(origin), generator=torch.Generator().manual_seed(0)).to(x)
        met = torch.full_like(origin, -1)
        before = start[2]
        for step in range(1, STEPS + 1):
            s = ((step - jitter) / STEPS) ** 2  # short steps first: contact is where shadows are sharp
            depth = 1 / (near + s * d_near)
            column = (x + s * dx).long().clamp(0, width - 1)
            pixel = (y + s * dy).long().clamp(0, height - 1) * width + column
            front = self.front[pixel]
            behind = depth - front
            inside = (behind > 0) & (behind < THICKNESS * front + (depth - before).clamp(min=0))
            met = torch.where(inside & (met < 0) & (pixel != origin), pixel, met)
            before = depth
        return met

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

    def along(dim: int) -> Tensor:
        pad = (1, 1, 0, 0) if dim == 3 else (0, 0, 1, 1)
        gap = functional.pad(torch.diff(known, dim=dim).abs(), pad, value=torch.inf)
        return torch.minimum(gap.narrow(dim, 0, known.shape[dim]), gap.narrow(dim, 1, known.shape[dim]))

    return (along(2) + along(3)).nan_to_num(posinf=0.0)
