"""G-buffer and light to picture with no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.forward import monte_carlo, screen_space, split_sum
from unrender.forward.geometry import calibrate_depth
from unrender.forward.light_sampling import LightSampler
from unrender.forward.prefilter import PrefilteredLight
from unrender.forward.surface import RenderPasses, coverage_of, shading_points, world_rotation
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.environment import EnvironmentMap, require_equirectangular, sample
from unrender.scene.gbuffer import GBuffer
from unrender.scene.strips import strips

Quality = Literal["split_sum", "monte_carlo", "screen_space", "auto"]
DRAWN = {"monte_carlo": 64, "screen_space": 16, "auto": 16}
"""Directions a pixel where nobody says how many."""


@dataclass(frozen=True)
class DeferredRenderer:
    """Renders a G-buffer under an environment map, with no network.

    Attributes:
        quality: "split_sum", fast; "monte_carlo", the reference for light that meets nothing on its way;
            "screen_space", the split sum with shadows, occlusion and one bounce as far as the depth map knows; "auto",
            the best at hand: "screen_space" where there is depth, else "split_sum".
        samples: directions per pixel where directions are drawn, at least 2; None for `DRAWN`.
        seed: of the drawn directions; the same seed gives the same picture.
        background: whether the environment is seen where there is no surface; black otherwise.
    """

    quality: Quality = "split_sum"
    samples: int | None = None
    seed: int = 0
    background: bool = True

    def __post_init__(self) -> None:
        if self.quality not in get_args(Quality):
            raise UserError(f"no deferred quality {self.quality!r}; expected {', '.join(get_args(Quality))}")
        if self.samples is not None and self.samples < 2:
            raise UserError(f"{self.samples} samples per pixel; expected at least 2, one from light and one from BRDF")

    def __call__(self, gbuffer: GBuffer, light: EnvironmentMap, yaw: float | Tensor = 0.0) -> RenderPasses:
        """The picture of `gbuffer` under `light` turned by `yaw` degrees about +Y (see `conventions`).

        Args:
            gbuffer: needs base_color and normal, and depth for "screen_space" (relative depth is calibrated, see
                `geometry.calibrate_depth`); roughness is taken as 0.5 and metallic as 0 where they are absent.
                Its camera gives the view and turns normals into the world; without one a level camera is assumed.
            light: one frame, or one for every frame of the G-buffer.
            yaw: degrees, one number or one per frame (T,); exact, and cheaper than a rotated map.

        Returns:
            RenderPasses of (T, 3, H, W), scene-linear.

        Raises:
            UserError: where a map is missing, the light is not twice as wide as high, or light and G-buffer have
                different numbers of frames.
        """
        gbuffer.require("base_color", "normal", by="the deferred renderer")
        require_equirectangular(light)
        if len(light) not in (1, len(gbuffer)):
            raise UserError(f"a light of {len(light)} frames for a G-buffer of {len(gbuffer)}; expected 1 or as many")
        camera = gbuffer.camera_or_default()
        yaws = torch.as_tensor(yaw, dtype=torch.float32).expand(len(gbuffer)).tolist()
        frames = [self._frame(gbuffer.frame(i), light.frame(i), camera.frame(i), yaws[i]) for i in range(len(gbuffer))]
        diffuse, specular, background = (_stacked(group) for group in zip(*frames, strict=True))
        return RenderPasses({"diffuse": diffuse, "specular": specular}, background)

    def _frame(
        self, gbuffer: GBuffer, light: EnvironmentMap, camera: Camera, yaw: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self.quality != "monte_carlo":
            return self._split_sum(gbuffer, light, camera, yaw)
        surface = shading_points(gbuffer, camera, yaw)
        sampler = LightSampler.of(light.radiance[0])
        diffuse, specular = monte_carlo.shade(surface, sampler, self._drawn, self.seed)
        picture = surface.picture(diffuse)
        background = backdrop(gbuffer, light, camera, yaw) if self.background else torch.zeros_like(picture)
        return picture, surface.picture(specular), background

    @property
    def _drawn(self) -> int:
        return DRAWN[self.quality] if self.samples is None else self.samples

    def _split_sum(
        self, gbuffer: GBuffer, light: EnvironmentMap, camera: Camera, yaw: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Strip by strip, as each pixel is shaded by itself, in far more numbers than it has."""
        shading = self.shading(gbuffer, light, camera, yaw)
        parts = list(strips(gbuffer.size))
        first = shading.rows(parts[0])
        if len(parts) == 1:
            return first
        diffuse, specular, background = (values.new_empty(3, *gbuffer.size) for values in first)
        for rows in parts:
            shaded = first if rows is parts[0] else shading.rows(rows)
            diffuse[:, rows], specular[:, rows], background[:, rows] = shaded
        return diffuse, specular, background

    def shading(self, gbuffer: GBuffer, light: EnvironmentMap, camera: Camera, yaw: float) -> RowShading:
        """What the rows of one frame are shaded by, one after the other; of no renderer that draws all of its light.
        Arguments and errors as in `__call__`."""
        if self.quality == "monte_carlo":
            raise UserError("deferred:monte_carlo renders whole pictures; expected split_sum or screen_space")
        prefiltered = PrefilteredLight.of(light.radiance[0])
        obstruction = None
        if self.quality == "screen_space" or (self.quality == "auto" and gbuffer.depth is not None):
            gbuffer.require("depth", by="screen-space ray tracing")
            gbuffer = gbuffer if gbuffer.depth_kind == "metric" else calibrate_depth(gbuffer)
            obstruction = screen_space.obstruct(gbuffer, prefiltered, camera, yaw, self._drawn, self.seed)
        return RowShading(replace(gbuffer, camera=camera), light, yaw, prefiltered, obstruction, self.background)


@dataclass(frozen=True)
class RowShading:
    """One frame under a light, to be shaded some rows at a time.

    Attributes:
        gbuffer: with its camera; its depth is positive.
        light: of one frame.
        yaw: degrees that it is turned by.
        prefiltered: the light, as lobes see it.
        obstruction: what is in its way; None for nothing.
        background: whether the light is seen past the surfaces.
    """

    gbuffer: GBuffer
    light: EnvironmentMap
    yaw: float
    prefiltered: PrefilteredLight
    obstruction: screen_space.Obstruction | None
    background: bool

    def rows(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Diffuse and specular radiance and the background of some rows, each (3, rows, W)."""
        gbuffer, light, yaw = self.gbuffer, self.light, self.yaw
        camera = gbuffer.camera_or_default()
        view = camera.cropped(rows.start, 0, (rows.stop - rows.start, camera.size[1]))
        part = replace(gbuffer, camera=view, **{name: value[:, :, rows] for name, value in gbuffer.maps.items()})
        surface = shading_points(part, view, yaw)
        if self.obstruction is None:
            shaded = split_sum.shade(surface, self.prefiltered)
        else:
            factors = split_sum.factors(surface, self.prefiltered)
            shaded = self.obstruction.shade(part, surface, view, factors, rows.start)
        diffuse, specular = (surface.picture(values) for values in shaded)
        return diffuse, specular, backdrop(part, light, view, yaw) if self.background else torch.zeros_like(diffuse)


def _stacked(frames: Sequence[Tensor]) -> Tensor:
    """Pictures (3, H, W) as (T, 3, H, W); one is not copied."""
    return frames[0][None] if len(frames) == 1 else torch.stack(list(frames))


def backdrop(gbuffer: GBuffer, light: EnvironmentMap, camera: Camera, yaw: float) -> Tensor:
    """The environment seen past the surfaces of one frame, (3, H, W), weighted by what they leave uncovered."""
    open_sky = 1 - coverage_of(gbuffer)
    pixel = open_sky.reshape(-1).nonzero()[:, 0]
    rays = pixel_rays(camera)[0].to(open_sky).reshape(3, -1)[:, pixel]
    seen = sample(light.radiance, (world_rotation(camera, yaw).to(rays) @ rays).T)[0]
    height, width = gbuffer.size
    flat = seen.new_zeros(3, height * width).index_copy(1, pixel, seen * open_sky.reshape(-1)[pixel])
    return flat.reshape(3, height, width)


def backdrops(gbuffer: GBuffer, light: EnvironmentMap, camera: Camera, yaws: Sequence[float]) -> Tensor:
    """`backdrop` of every frame, (T, 3, H, W)."""
    frames = range(len(gbuffer))
    return torch.stack([backdrop(gbuffer.frame(i), light.frame(i), camera.frame(i), yaws[i]) for i in frames])
