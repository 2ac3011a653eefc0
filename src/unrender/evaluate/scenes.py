"""Rendered ground truth for measuring forward renderers, and which scenes have cast shadows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from unrender.errors import UserError
from unrender.files.shards import Clip
from unrender.forward import DeferredRenderer
from unrender.forward.irradiance import lit_irradiance
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

SHADOW = 0.5
"""A pixel in shadow has less than this share of what it would have if light met nothing on its way."""

SHADOWED = 0.05
"""A scene with cast shadows has at least this share of its surface in shadow."""

SHADOW_RULE = (
    f"a scene has cast shadows where at least {SHADOWED:.0%} of its surface pixels are below {SHADOW} x what they "
    "would be if light met nothing on its way: by luminance of the true irradiance against that of the light's "
    "own, or, in a set without irradiance, by luminance of the true picture against the split sum's"
)


@dataclass(frozen=True)
class Scene:
    """One frame with ground truth under a known light.

    Attributes:
        truth: T = 1, with rgb, mask, base_color, normal and depth.
        light: (1, 3, H, W), on the scale of rgb.
        shadowed: whether it has cast shadows (`SHADOW_RULE`).
        relit: the same frame under another light; None where the set has no such frames.
    """

    truth: GBuffer
    light: EnvironmentMap
    shadowed: bool
    relit: Scene | None = None

    @property
    def surfaces(self) -> GBuffer:
        """The inputs of a forward renderer: geometry and material, no map that depends on light."""
        return self.truth.with_maps(rgb=None, irradiance=None, shading=None, residual=None)


def scenes_of(clips: Iterable[Clip], by: str) -> Iterator[Scene]:
    """The first frame of every clip; under the first of its other lights too, where it has any.

    Raises:
        UserError: a clip lacks a map that `by` needs, or there are none.
    """
    empty = True
    for clip in clips:
        clip.gbuffer.require("rgb", "mask", "base_color", "normal", "depth", by=by)
        empty = False
        # Copies: a tensor view of the first frame would keep the whole clip in memory.
        first = clip.gbuffer.frame(0)
        truth = first.with_maps(**{name: value.clone() for name, value in first.maps.items()})
        scene = make_scene(truth, clip.light_of(0))
        if clip.lights:
            lit = {"rgb": clip.lights[0].rgb[:1].clone(), "irradiance": clip.lights[0].irradiance[:1].clone()}
            scene = replace(scene, relit=make_scene(truth.with_maps(**lit), clip.light_of(0, other=1)))
        yield scene
    if empty:
        raise UserError(f"{by}: no pictures; expected a folder that `unrender synth` has written")


def make_scene(truth: GBuffer, light: EnvironmentMap) -> Scene:
    """The scene of one frame and its light."""
    return Scene(truth, light, cast_shadow_share(truth, light) >= SHADOWED)


def cast_shadow_share(truth: GBuffer, light: EnvironmentMap) -> float:
    """The share of the surface (coverage above 0.9) that is in shadow, by `SHADOW_RULE`; 0 where there is none."""
    if truth.irradiance is not None and truth.irradiance_kind == "metric":
        seen, free = truth.irradiance, lit_irradiance(truth, light, torch.zeros(1))
    else:
        seen, free = truth.maps["rgb"], DeferredRenderer(background=False)(truth, light).surface
    dark = (luminance(seen) < SHADOW * luminance(free))[truth.maps["mask"] > 0.9]
    return float(dark.double().mean()) if len(dark) else 0.0
