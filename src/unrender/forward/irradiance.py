"""The irradiance of a G-buffer under an environment map: what conditions a network that knows only irradiance.

RGB<->X and Ouroboros are given irradiance, not light; editing it is how they relight under an HDRI.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unrender.forward.deferred import DeferredRenderer
from unrender.forward.surface import world_rotation
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.scene.irradiance import irradiance

SHADOW_SAMPLES = 64


def lit_irradiance(gbuffer: GBuffer, light: EnvironmentMap, yaw: Tensor, *, shadows: bool = False) -> Tensor:
    """Diffuse irradiance of every pixel, (T, 3, H, W), linear, not divided by pi, 0 where there is no normal.

    Args:
        gbuffer: needs normals, and depth for shadows; without a camera a level one is assumed.
        light: one frame, or one for every frame of the G-buffer.
        yaw: (T,) degrees that the light is turned by.
        shadows: take away what screen-space tracing finds hidden: by the share that is left of a white matt surface's
            light.
    """
    gbuffer.require("normal", by="irradiance from a light")
    assert gbuffer.normal is not None
    camera = gbuffer.camera_or_default()
    frames = []
    for i in range(len(gbuffer)):
        rotation = world_rotation(camera.frame(i), float(yaw[i])).to(gbuffer.normal)
        normal = torch.einsum("ij,jhw->hwi", rotation, gbuffer.normal[i])
        present = (gbuffer.normal[i].square().sum(0) > 0.25).to(normal)
        safe = torch.where(present[..., None] > 0, normal, torch.tensor([0.0, 1.0, 0.0]).to(normal))
        frames.append(irradiance(light.frame(i if len(light) > 1 else 0), safe)[0] * present)
    open_sky = torch.stack(frames)
    return open_sky * _unshadowed(gbuffer, light, yaw) if shadows else open_sky


def _unshadowed(gbuffer: GBuffer, light: EnvironmentMap, yaw: Tensor) -> Tensor:
    """The share of its light that reaches each pixel past what the depth map knows, (T, 3, H, W) in [0, 1]."""
    white = torch.ones_like(gbuffer.normal) if gbuffer.normal is not None else None
    matt = replace(gbuffer, base_color=white, roughness=None, metallic=None, mask=None)
    free = DeferredRenderer("split_sum", background=False)(matt, light, yaw).diffuse
    traced = DeferredRenderer("screen_space", SHADOW_SAMPLES, background=False)(matt, light, yaw).diffuse
    return (traced / free.clamp(min=1e-6)).clamp(0, 1)
