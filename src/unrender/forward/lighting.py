"""What conditions a network on a light. Training and inference take it from here alike.

A light comes in two ways: as an encoded environment map in the camera's axes, which becomes tokens
(`scene.encoding`; DiffusionRenderer, Liang et al. 2025), and by a radiance hint, the surfaces under it as the split sum
renders them (DiLightNet, Zeng et al. 2024). Both are exposed alike, by `exposure_gain`; what the network answers is
divided by that gain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.card import InputMap, RadianceHint
from unrender.diffusion.codec import PERCENTILE, relative_depth
from unrender.forward.deferred import DeferredRenderer
from unrender.forward.surface import DEFAULT_METALLIC, DEFAULT_ROUGHNESS, coverage
from unrender.scene.encoding import MINI, EnvironmentEncoding, encode
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.scene.tone import percentile_gain

HINT_SAMPLES = 16
"""Directions a pixel of a first render that is traced."""


@dataclass(frozen=True)
class LightConditioning:
    """What conditions a network on a G-buffer of T frames under a light.

    Attributes:
        maps: see `surface_maps`.
        radiance_hint: (T, 3, H, W) the surfaces under the light by the split sum, times `gain`, linear; a display's
            range is [0, 1].
        picture: (T, 9, h, w) the light times `gain`; see `scene.encoding.EncodedEnvironment.picture`.
        gain: (T, 1, 1, 1) what brings the scene's radiance to a display's.
        covered: (T, 1, H, W) in [0, 1], how much of each pixel a surface fills.
    """

    maps: dict[str, Tensor]
    radiance_hint: Tensor
    picture: Tensor
    gain: Tensor
    covered: Tensor

    def values_of(self, given: InputMap) -> Tensor | None:
        """What the network is given for one entry of its card, (T, 1 or 3, H, W) as the codec takes it; None where the
        G-buffer has no such map."""
        return self.radiance_hint if given.radiance_hint else self.maps.get(given.codec.map)


def light_conditioning(
    gbuffer: GBuffer,
    light: EnvironmentMap,
    yaw: float | Tensor = 0.0,
    size: tuple[int, int] = (16, 32),
    encoding: EnvironmentEncoding = MINI,
    hint: RadianceHint = "split_sum",
) -> LightConditioning:
    """All that conditions a network on `gbuffer` under `light` turned by `yaw` degrees about +Y (one number, or (T,)).

    Args:
        gbuffer: needs base_color and normal, at the size at which the network sees them.
        light: one frame, or one for every frame.
        size: (height, width) of the light's picture; `LightTokens.size`.
        encoding: of the light's picture.
        hint: the quality of the first render; see `radiance_hint`.

    Raises:
        UserError: a map is missing, or light and G-buffer have different numbers of frames.
    """
    covered, first = coverage(gbuffer), radiance_hint(gbuffer, light, yaw, hint)
    gain = exposure_gain(first, covered)
    camera = gbuffer.camera_or_default()
    rotations = camera.pose.expand(len(gbuffer), 4, 4)[:, :3, :3]
    encoded = encode(light, encoding, size, rotations, yaw=yaw, gain=gain)
    return LightConditioning(surface_maps(gbuffer), first * gain, encoded.picture, gain, covered)


def surface_maps(gbuffer: GBuffer, *, irradiance: bool = False) -> dict[str, Tensor]:
    """The maps of a G-buffer as a lit network knows them, by name, each (T, 1 or 3, H, W): zero where there is no
    surface, as in training; `mask` is the coverage, `depth` relative by its percentiles and far where there is
    nothing. Roughness and metallic are the deferred renderer's where they are absent; what else is absent stays so.

    Args:
        irradiance: whether it is among them. Not beside a light: a network is conditioned on a light or an irradiance,
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


def radiance_hint(
    gbuffer: GBuffer, light: EnvironmentMap, yaw: float | Tensor = 0.0, quality: RadianceHint = "split_sum"
) -> Tensor:
    """The surfaces of a G-buffer under a light by the split sum, or traced in screen space with `HINT_SAMPLES`
    directions a pixel, (T, 3, H, W), scene-linear, on black; see `DeferredRenderer`. Without a depth nothing can be
    traced: then the split sum serves."""
    traced = quality == "screen_space" and gbuffer.depth is not None
    renderer = DeferredRenderer("screen_space" if traced else "split_sum", samples=HINT_SAMPLES, background=False)
    return renderer(gbuffer, light, yaw).surface


def exposure_gain(hint: Tensor, covered: Tensor) -> Tensor:
    """The factor (T, 1, 1, 1) that exposes a scene as a camera would: the 90th percentile of the luminance of its
    radiance hint (T, 3, H, W), over surfaces alone (`covered` (T, 1, H, W) above one half), comes to 0.6
    (`codec.PERCENTILE`).

    Where nothing is covered by half, whatever is covered counts; 1 for a frame with no surface, or a black one.
    """
    gains = []
    for rgb, share in zip(hint, covered[:, 0], strict=True):
        inside = share > 0.5 if bool((share > 0.5).any()) else share > 0
        seen = rgb[None, :, inside, None]
        gains.append(percentile_gain(seen, *PERCENTILE) if seen.numel() else hint.new_ones(1, 1, 1, 1))
    return torch.cat(gains)
