"""Relighting a picture: take it apart once, put it together under any light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unrender.forward import LightGroups
from unrender.forward.surface import coverage
from unrender.relight.detail import detail_gain
from unrender.relight.light_estimate import estimate_light
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.strips import in_strips

Background = Literal["light", "photo", "none"]
Inverse = Callable[[Frames, Sequence[str] | None], GBuffer]
"""How an inverse renderer is called: frames, and the maps wanted; None for all that it gives."""

Forward = Callable[[GBuffer, EnvironmentMap, float], LightGroups]
"""How a forward renderer is called: G-buffer, light, and the degrees that the light is turned by."""


@dataclass(frozen=True)
class RelightOptions:
    """How to relight.

    Attributes:
        yaw: degrees that the light is turned about +Y (see `conventions`: Yaw).
        detail: keep the photo's own detail by ratio transfer (see `detail_gain`).
        background: what shows where there is no surface (no normal, or an alpha of the source below 1): the "photo" as
            it was, the new "light" itself, or "none" (black).
    """

    yaw: float = 0.0
    detail: bool = True
    background: Background = "photo"


@dataclass(frozen=True)
class Decomposition:
    """A picture taken apart, ready for any light.

    Attributes:
        frames: the picture, (T, 3, H, W) scene-linear.
        gbuffer: what it is made of, with the picture's own mask.
        light: the light it was taken in, estimated; None where detail is not kept.
        gain: (T, 3, H, W), what a rendering is multiplied by to keep the photo's detail; None likewise.
    """

    frames: Frames
    gbuffer: GBuffer
    light: EnvironmentMap | None = None
    gain: Tensor | None = None


@dataclass(frozen=True)
class Relit:
    """A relit picture and what it was made from.

    Attributes:
        groups: what surfaces send out and the background, each (T, 3, H, W) scene-linear.
        decomposition: the picture taken apart, ready for the next light.
    """

    groups: LightGroups
    decomposition: Decomposition

    @property
    def beauty(self) -> Tensor:
        """The relit picture, (T, 3, H, W) scene-linear: the sum of the groups."""
        return self.groups.beauty


DEFAULTS = RelightOptions()


def relight(
    frames: Frames, light: EnvironmentMap, inverse: Inverse, forward: Forward, options: RelightOptions = DEFAULTS
) -> Relit:
    """Shows `frames` under another light.

    Args:
        frames: the picture or clip, (T, 3, H, W) scene-linear.
        light: the new light; one frame, or T.
        inverse: an `InverseRenderer`, or anything that is called alike.
        forward: a `ForwardRenderer` or `DeferredRenderer`, or anything that is called alike.
        options: how.

    Raises:
        UserError: where the inverse renderer gives no base colour or normals, or light and frames differ in number.
    """
    apart = take_apart(frames, inverse, forward, options.detail)
    return Relit(put_together(apart, light, forward, options), apart)


def take_apart(
    frames: Frames, inverse: Inverse, forward: Forward, detail: bool = True, previous: EnvironmentMap | None = None
) -> Decomposition:
    """Takes `frames` apart, with the light they were taken in (close to `previous`, for the next part of a clip) and
    the detail that their re-rendering lacks, where `detail` is wanted."""
    # A mask that a network guessed says where there is no normal; as an alpha it would mix in background everywhere.
    gbuffer = inverse(frames, None).with_maps(rgb=frames.rgb, mask=frames.mask)
    if not detail:
        return Decomposition(frames, gbuffer)
    light = estimate_light(frames, gbuffer, previous)
    # The whole frame is rendered as surface: under a soft edge, too, the photo's colour is the surface's.
    surface = forward(gbuffer.with_maps(mask=None), light, 0.0)
    return Decomposition(frames, gbuffer, light, detail_gain(frames.rgb, surface.surface))


def put_together(
    apart: Decomposition, light: EnvironmentMap, forward: Forward, options: RelightOptions = DEFAULTS
) -> LightGroups:
    """Renders a decomposition under `light`, as `options` say (whose `detail` was settled when it was taken apart).

    The gain multiplies all that surfaces send out alike, so the groups still add up to the beauty.
    """
    groups = forward(apart.gbuffer, light, options.yaw)
    surfaces, background = dict(groups.surfaces), groups.background
    del groups  # of large pictures no more than is needed is kept
    if options.background != "light":
        del background
        background = _behind(apart, options.background)
    if apart.gain is not None:
        for name in surfaces:
            surfaces[name] = surfaces[name] * apart.gain
    return LightGroups(surfaces, background)


def _behind(apart: Decomposition, background: Background) -> Tensor:
    """What shows where there is no surface, (T, 3, H, W): the photo, or nothing."""
    rgb = apart.frames.rgb
    if background == "none":
        return torch.zeros_like(rgb)
    return in_strips(lambda photo, there: photo * (1 - there), rgb, coverage(apart.gbuffer))
