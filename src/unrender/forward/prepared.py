"""The split sum of one picture under many lights: what does not depend on the light is worked out once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from unrender.conventions import direction_to_uv
from unrender.errors import UserError
from unrender.forward import brdf, split_sum
from unrender.forward.deferred import backdrop
from unrender.forward.prefilter import LEVELS, PrefilteredLight
from unrender.forward.surface import RenderPasses, shading_points
from unrender.scene.environment import EnvironmentMap, require_equirectangular
from unrender.scene.gbuffer import GBuffer

MIRROR = 1.0
"""Level of the prefiltered light below which the sharp map is looked at, too."""


@dataclass(frozen=True, eq=False, repr=False)
class PreparedSplitSum:
    """`DeferredRenderer("split_sum")` for one G-buffer, several times as fast from the second light on.

    Albedos, and where in the light each pixel looks, are kept; a light that is turned moves these places sideways, and
    one that was rendered under before is not blurred again. Called as a renderer is, with the G-buffer it was made of.

    Attributes:
        gbuffer: one frame; needs base_color and normal.
        background: whether the environment is seen where there is no surface; black otherwise.
    """

    gbuffer: GBuffer
    background: bool = True
    _kept: dict[str, Tensor] = field(default_factory=dict)
    _light: list[tuple[Tensor, PrefilteredLight]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.gbuffer) != 1:
            raise UserError(f"a G-buffer of {len(self.gbuffer)} frames; expected one frame to be prepared")
        surface = shading_points(self.gbuffer, self.gbuffer.camera_or_default().frame(0))
        response = split_sum.look_up_response(surface.cos_view, surface.roughness)
        sideways = brdf.unit(surface.view - surface.cos_view * surface.normal)
        direction = torch.cos(response.angle) * surface.normal - torch.sin(response.angle) * sideways
        neutral = (1 - surface.metallic) * response.dielectric + surface.metallic * response.fresnel
        tinted = surface.base_color * (surface.metallic * response.metal)
        kept = {
            "pixel": surface.pixel,
            "diffuse": surface.base_color * ((1 - surface.metallic) * response.diffuse) * surface.coverage,
            "specular": (neutral + tinted) * surface.coverage,
            "level": response.level,
        }
        for name, where in (("normal", surface.normal), ("mirror", direction)):
            kept[f"{name}_u"], kept[f"{name}_v"] = direction_to_uv(where.T)
        kept["sharp"] = (response.level < MIRROR).nonzero()[:, 0]
        self._kept.update(kept)

    def __call__(self, gbuffer: GBuffer, light: EnvironmentMap, yaw: float | Tensor = 0.0) -> RenderPasses:
        """The picture under `light` turned by `yaw` degrees, as `DeferredRenderer` gives it.

        Raises:
            UserError: another G-buffer, or a light of another shape or of several frames.
        """
        mine = self.gbuffer.normal
        assert mine is not None
        if gbuffer.normal is None or gbuffer.normal.data_ptr() != mine.data_ptr() or gbuffer.size != self.gbuffer.size:
            raise UserError("another G-buffer than the one that was prepared; expected that")
        require_equirectangular(light)
        if len(light) != 1:
            raise UserError(f"a light of {len(light)} frames for one picture; expected 1")
        kept, blurred, turned = self._kept, self._prefiltered(light.radiance), float(yaw) / 360
        normal_u = (kept["normal_u"] + turned) % 1
        diffuse = kept["diffuse"] * _look_up(blurred.diffuse, normal_u, kept["normal_v"])
        mirror_u = (kept["mirror_u"] + turned) % 1
        reflected = _look_up_stack(blurred.glossy, mirror_u, kept["mirror_v"], kept["level"])
        if len(at := kept["sharp"]):
            below = MIRROR - kept["level"][at]
            sharp = _look_up(blurred.sharp, mirror_u[at], kept["mirror_v"][at])
            reflected[:, at] = torch.lerp(reflected[:, at], sharp, below)
        passes = {"diffuse": self._picture(diffuse), "specular": self._picture(kept["specular"] * reflected)}
        behind = torch.zeros_like(passes["diffuse"])
        if self.background:
            behind = backdrop(self.gbuffer, light, self.gbuffer.camera_or_default().frame(0), float(yaw))[None]
        return RenderPasses(passes, behind)

    def _prefiltered(self, radiance: Tensor) -> PrefilteredLight:
        """The light blurred, kept for the next call with the same one."""
        for known, blurred in tuple(self._light):  # another thread may put another one there
            if known.data_ptr() == radiance.data_ptr() and known.shape == radiance.shape:
                return blurred
        blurred = PrefilteredLight.of(radiance[0])
        self._light[:] = [(radiance, blurred)]
        return blurred

    def _picture(self, values: Tensor) -> Tensor:
        height, width = self.gbuffer.size
        if values.shape[1] == height * width:
            return values.reshape(1, 3, height, width)
        flat = values.new_zeros(3, height * width).index_copy(1, self._kept["pixel"], values)
        return flat.reshape(1, 3, height, width)


def _look_up(texels: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(3, N) of a map (3, H, W) at (N,) places, as `environment.sample` looks them up."""
    padded, x = _wrapped(texels[None], u)
    grid = torch.stack((x, v * 2 - 1), dim=-1)[None, None]
    return functional.grid_sample(padded, grid, padding_mode="border", align_corners=False)[0, :, 0]


def _look_up_stack(stack: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Tensor:
    """(3, N) of a stack (3, LEVELS, H, W) at (N,) places and levels in [0, LEVELS], as `PrefilteredLight.look_up`."""
    padded, x = _wrapped(stack, u)
    z = (2 * (level.clamp(min=1) - 1) + 1) / LEVELS - 1
    grid = torch.stack((x, v * 2 - 1, z), dim=-1)[None, None, None]
    return functional.grid_sample(padded[None], grid, padding_mode="border", align_corners=False)[0, :, 0, 0]


def _wrapped(texels: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """A map with one more column on either side, so that the seam is an ordinary place, and where u is in it."""
    width = texels.shape[-1]
    padded = torch.cat((texels[..., -1:], texels, texels[..., :1]), dim=-1)
    return padded, (u * width + 1) * (2 / (width + 2)) - 1
