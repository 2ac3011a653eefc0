"""Base colour that agrees with the photo it was found in: what a network says of it and what the photo shows under its
estimated light, each believed as far as it explains the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import ModelCard
from unrender.forward.irradiance import lit_irradiance
from unrender.forward.surface import coverage
from unrender.relight.light_estimate import CLIPPED, estimate_light
from unrender.relight.surface import soft_surface
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_picture

DEVIATION = "base_color_deviation"

SIDE = 384
"""Pixels of the longer side at which base colours are compared: what is finer is the network's own."""

MOST_DOUBT = 0.6
"""A relative deviation of more counts as this: of dark colours it says little."""

UNEXPLAINED = 2.0
"""The photo's standard deviation, in those of what its light leaves unexplained. Chosen on the even scenes of
`benchmarks/cycles_set.py`."""

LEAST, LEAST_PIXELS = 1e-3, 16


def maps_wanted(card: ModelCard | None) -> tuple[str, ...] | None:
    """What `refine_base_color` needs of a model: the maps that it usually gives, and how far off its base colour is;
    None, which is all that it gives, where it does not say so."""
    return (*card.usual_maps, DEVIATION) if card is not None and DEVIATION in card.map_names else None


def refine_base_color(frames: Frames, gbuffer: GBuffer, light: EnvironmentMap | None = None) -> GBuffer:
    """`gbuffer` with a base colour that agrees better with the photo, and without its deviation.

    On matt surfaces photo = base colour x irradiance / pi. So the photo, under its light, is a second measurement of
    the base colour b: r = pi photo / irradiance. The logarithms of both are averaged by their precisions,
    b (r / b)^w with w = d^2 / (d^2 + (2 s)^2): d is the deviation that the network gives with b, relative to it, and s
    the standard deviation of log(r / b) over the surfaces, which is large where the light explains little (rooms, cast
    shadows). Metals and clipped pixels say nothing. One closed step of maximum a posteriori, at `SIDE` pixels.

    Args:
        frames: the photo, (T, 3, H, W) scene-linear.
        gbuffer: its maps, at the same size. Without base colour, normals or `base_color_deviation` it stays as it is.
        light: what the photo was taken in, one frame or one for each, in the photo's units; None estimates it.

    Raises:
        UserError: as `estimate_light`.
    """
    if DEVIATION not in gbuffer.maps:
        return gbuffer
    gain = refinement(frames, gbuffer, light)
    return refined(gbuffer.with_maps(**{DEVIATION: None}), gain)


@torch.inference_mode()
def refined(gbuffer: GBuffer, gain: Tensor | None, *, in_place: bool = False) -> GBuffer:
    """`gbuffer` with its base colour times a gain (T, 3, h, w) of any size, within [0, 1]; None for none. In place, its
    own base colour is changed, and no copy is made."""
    if gain is None or gbuffer.base_color is None:
        return gbuffer
    color = gbuffer.base_color if in_place else gbuffer.base_color.clone()
    for channel in range(3):
        one = color[:, channel : channel + 1]
        one.mul_(resize_picture(gain[:, channel : channel + 1], gbuffer.size)).clamp_(0, 1)
    return gbuffer.with_maps(base_color=color)


def refinement(frames: Frames, gbuffer: GBuffer, light: EnvironmentMap | None = None) -> Tensor | None:
    """What `refine_base_color` multiplies the base colour by, (T, 3, h, w) at `SIDE` pixels at most; None where nothing
    can be said."""
    if gbuffer.base_color is None or gbuffer.normal is None or DEVIATION not in gbuffer.maps:
        return None
    if light is None:
        gbuffer, _ = soft_surface(frames, gbuffer)
        light = estimate_light(frames, gbuffer)
    assert gbuffer.normal is not None
    height, width = frames.size
    factor = min(1.0, SIDE / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))

    def small(values: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(values, size)

    shown, trust = small(frames.rgb), small(coverage(gbuffer))
    color, deviation = (small(gbuffer.maps[name]).clamp(min=LEAST) for name in ("base_color", DEVIATION))
    told = trust if gbuffer.metallic is None else trust * (1 - small(gbuffer.metallic))
    if not frames.hdr:
        told = told * (shown.amax(1, keepdim=True) < CLIPPED)
    normal = functional.normalize(small(gbuffer.normal), dim=1)
    flat = GBuffer(normal=normal, camera=gbuffer.camera_or_default().resized(size))
    irradiance = lit_irradiance(flat, light, torch.zeros(len(frames)).to(normal))
    seen = math.pi * shown / irradiance.clamp(min=LEAST)
    apart = (seen.clamp(LEAST, 1 / LEAST) / color).log()
    chosen = (trust * told)[:, 0] > 0.5
    if int(chosen.sum()) < LEAST_PIXELS:
        return None
    unexplained = apart.mean(1)[chosen].std()
    doubt = (deviation / color).clamp(max=MOST_DOUBT).square()
    share = told * doubt / (doubt + (UNEXPLAINED * unexplained).square() + LEAST**2)
    around = functional.avg_pool2d(apart * told, 3, 1, 1) / functional.avg_pool2d(told, 3, 1, 1).clamp(min=LEAST)
    return (share * around).exp()
