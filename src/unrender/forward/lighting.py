"""What a network that is told a light is shown of it. Training and inference take it from here alike.

It is told a light in two ways: as a picture of the environment map in the camera's axes, which becomes tokens
(DiffusionRenderer, Liang et al. 2025), and by a first render of the surfaces under it (DiLightNet's radiance hints,
Zeng et al. 2024). Both are exposed alike, by `light_gain`; what the network answers is divided by that gain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.conventions import yaw_matrix
from unrender.diffusion.card import InputMap
from unrender.diffusion.codec import PERCENTILE, relative_depth
from unrender.forward.deferred import DeferredRenderer
from unrender.forward.surface import DEFAULT_METALLIC, DEFAULT_ROUGHNESS, coverage
from unrender.scene.camera import Camera
from unrender.scene.environment import EnvironmentMap, mean_radiance, texel_directions
from unrender.scene.gbuffer import GBuffer
from unrender.scene.tone import percentile_gain

LOG_BRIGHTEST = 10_000.0
"""Exposed radiance that is 1 in the logarithmic picture of a light; beyond it all are alike (DiffusionRenderer's)."""

_OVERSAMPLING = 8


@dataclass(frozen=True)
class ShownLight:
    """What a network is shown of a G-buffer of T frames under a light.

    Attributes:
        maps: see `given_maps`.
        first: (T, 3, H, W) the first render times `gain`, linear; a display's range is [0, 1].
        picture: (T, 9, h, w) the light times `gain`; see `light_picture`.
        gain: (T, 1, 1, 1) what brings the scene's radiance to a display's.
        covered: (T, 1, H, W) in [0, 1], how much of each pixel a surface fills.
    """

    maps: dict[str, Tensor]
    first: Tensor
    picture: Tensor
    gain: Tensor
    covered: Tensor

    def values_of(self, given: InputMap) -> Tensor | None:
        """What the network is given for one entry of its card, (T, 1 or 3, H, W) as the codec takes it; None where the
        G-buffer has no such map."""
        return self.first if given.radiance_hint else self.maps.get(given.codec.map)


def show_light(
    gbuffer: GBuffer, light: EnvironmentMap, yaw: float | Tensor = 0.0, size: tuple[int, int] = (16, 32)
) -> ShownLight:
    """All that a network is shown of `gbuffer` under `light` turned by `yaw` degrees about +Y (one number, or (T,)).

    Args:
        gbuffer: needs base_color and normal, at the size at which the network sees them.
        light: one frame, or one for every frame.
        size: (height, width) of the light's picture; `LightTokens.size`.

    Raises:
        UserError: a map is missing, or light and G-buffer have different numbers of frames.
    """
    covered, first = coverage(gbuffer), first_render(gbuffer, light, yaw)
    gain = light_gain(first, covered)
    camera = gbuffer.camera or Camera.perspective(gbuffer.size)
    poses = camera.pose.expand(len(gbuffer), 4, 4)
    return ShownLight(
        given_maps(gbuffer), first * gain, light_picture(light, poses, yaw, size, gain=gain), gain, covered
    )


def given_maps(gbuffer: GBuffer, *, irradiance: bool = False) -> dict[str, Tensor]:
    """The maps of a G-buffer as a lit network knows them, by name, each (T, 1 or 3, H, W): zero where there is no
    surface, as in training; `mask` is the coverage, `depth` relative by its percentiles and far where there is
    nothing. Roughness and metallic are the deferred renderer's where they are absent; what else is absent stays so.

    Args:
        irradiance: whether it is among them. Not where a light is told: a network is told a light or an irradiance,
            never both (`train.dropout`), and the irradiance of a G-buffer is that of the light before.
    """
    covered = coverage(gbuffer)
    there = (covered > 0).to(covered)
    maps = {
        "roughness": torch.full_like(covered, DEFAULT_ROUGHNESS),
        "metallic": torch.full_like(covered, DEFAULT_METALLIC),
    } | gbuffer.maps
    left_out = ("depth",) if irradiance else ("depth", "irradiance")
    shown = {name: values * there for name, values in maps.items() if name not in left_out}
    if gbuffer.depth is not None:
        shown["depth"] = relative_depth(torch.where(there > 0, gbuffer.depth, math.inf), covered)
    return shown | {"mask": covered}


def first_render(gbuffer: GBuffer, light: EnvironmentMap, yaw: float | Tensor = 0.0) -> Tensor:
    """The surfaces of a G-buffer under a light by the split sum, (T, 3, H, W), scene-linear, on black; see
    `DeferredRenderer`."""
    return DeferredRenderer(background=False)(gbuffer, light, yaw).surface


def light_gain(first: Tensor, covered: Tensor) -> Tensor:
    """The factor (T, 1, 1, 1) that exposes a scene as a camera would: the 90th percentile of the luminance of its first
    render (T, 3, H, W), over surfaces alone (`covered` (T, 1, H, W) above one half), comes to 0.6 (`codec.PERCENTILE`).

    Where nothing is covered by half, whatever is covered counts; 1 for a frame with no surface, or a black one.
    """
    gains = []
    for rgb, share in zip(first, covered[:, 0], strict=True):
        inside = share > 0.5 if bool((share > 0.5).any()) else share > 0
        seen = rgb[None, :, inside, None]
        gains.append(percentile_gain(seen, *PERCENTILE) if seen.numel() else first.new_ones(1, 1, 1, 1))
    return torch.cat(gains)


def light_picture(
    light: EnvironmentMap,
    poses: Tensor,
    yaw: float | Tensor = 0.0,
    size: tuple[int, int] = (16, 32),
    *,
    gain: Tensor | None = None,
) -> Tensor:
    """A light as a network is shown it, (T, 9, h, w): its radiance L on two curves, and the directions of the texels.

    - channels 0 to 2: L / (1 + L) (Reinhard et al. 2002, eq. 3), what a display would show;
    - channels 3 to 5: log(1 + L) / log(1 + `LOG_BRIGHTEST`), clipped to 1, how bright the sun is;
    - channels 6 to 8: the unit direction of the texel in camera axes, in [-1, 1], the same for every light.

    The three are DiffusionRenderer's (Liang et al. 2025), without the white point and the sRGB curve that
    its code has. The layout is that of an environment map (see `conventions`) with the camera's axes for the world's:
    columns 0, 1/4, 1/2 and 3/4 are before the camera, to its right, behind it and to its left, the top row is its up.

    Args:
        light: one frame, or T.
        poses: (T, 4, 4) camera-to-world, of which only the rotation counts.
        yaw: degrees that the light is turned by about world +Y, one number or (T,).
        size: (height, width) of the picture; every texel has the mean radiance over its solid angle.
        gain: (T, 1, 1, 1) from `light_gain`, that L is multiplied by; None for 1.
    """
    radiance = _seen_by_camera(light, poses, yaw, size)
    exposed = radiance if gain is None else radiance * gain
    log = (torch.log1p(exposed) / math.log1p(LOG_BRIGHTEST)).clamp(max=1)
    directions = texel_directions(size).permute(2, 0, 1).to(exposed)
    return torch.cat((exposed / (1 + exposed), log, directions.expand(len(exposed), -1, -1, -1)), dim=1)


def mirror_light_picture(picture: Tensor) -> Tensor:
    """The picture (T, 9, h, w) of the light of a scene that is mirrored left to right in camera axes: what came from
    (x, y, z) comes from (-x, y, z), column j from column w - 1 - j. A texel keeps its direction, for it stays where it
    is."""
    return torch.cat((picture[:, :6].flip(3), picture[:, 6:]), dim=1)


def _seen_by_camera(light: EnvironmentMap, poses: Tensor, yaw: float | Tensor, size: tuple[int, int]) -> Tensor:
    """Radiance (T, 3, h, w) in camera axes, each frame with the flux of its light."""
    yaws = torch.as_tensor(yaw, dtype=torch.float32).expand(len(poses)).tolist()
    turns = torch.stack([p[:3, :3].T @ yaw_matrix(degrees).to(p) for p, degrees in zip(poses, yaws, strict=True)])
    height, width = size
    # First down to twice the size, so that no sun is narrower than what is looked up; then so many look-ups a texel
    # that the little which they gain or lose is small, and is put right.
    coarse = light.resized((2 * height, 2 * width))
    smooth = replace(coarse, radiance=_widened_at_the_poles(coarse.radiance))
    fine = smooth.resized((_OVERSAMPLING * height, _OVERSAMPLING * width))
    seen = fine.transformed(turns.to(light.radiance)).resized(size)
    flux, found = mean_radiance(coarse), mean_radiance(seen)
    return seen.radiance * (flux / found.clamp(min=torch.finfo(found.dtype).tiny))[..., None, None]


def _widened_at_the_poles(radiance: Tensor) -> Tensor:
    """(T, 3, H, W) radiance, averaged along each row until its texels are as wide as those of the equator: near the
    poles they are slivers, which a turned grid of look-ups would miss. Every row keeps its flux."""
    height, width = radiance.shape[2:]
    sine = torch.sin((torch.arange(height) + 0.5) * (math.pi / height))
    column = torch.arange(width)
    apart = (column[:, None] - column).abs()
    apart = torch.minimum(apart, width - apart)
    weights = ((0.5 / sine)[:, None, None] + 0.5 - apart).clamp(0, 1)
    weights = weights / weights.sum(2, keepdim=True)
    return torch.einsum("hvw,tchw->tchv", weights.to(radiance), radiance)
