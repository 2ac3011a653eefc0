"""The light of a photo by its own shading, and how far it is believed.

Shading tells little: of a level ground nothing of where the light comes from, and how bright it is only as well as an
albedo is known. A light that is sure of itself and wrong costs more than a vague one, so what was fitted is drawn
towards what is known beforehand, by about as much as the two err (measured on `synth --insertion`; docs/results.md).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unrender.insert.composite import Tones
from unrender.insert.fit import Fit, FitOptions, fit_light
from unrender.insert.guidance import photo_shading
from unrender.insert.light import level_radiance, sharpened
from unrender.insert.render import ground_radiance
from unrender.insert.scene import InsertionScene
from unrender.insert.tone import ToneCurves
from unrender.relight.light_estimate import estimate_light
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

SHARPER = 1.3
"""The power that the luminance of a light is raised to that was fitted to shading: that is a wide blur of it, and
errors of normals blur it more."""

FACING = 0.01
"""Where surfaces face as many ways (`PhotoShading.facing`), half of the light comes from where shading says, and the
rest evenly from everywhere; where they face more ways, more of it."""

ALBEDO_TRUST = 0.7
"""How far, in logarithms, the brightness of the light is what the albedos that were estimated make it; the rest of the
way it is what would make the ground of `USUAL_ALBEDO`. Both err by a factor of two."""
USUAL_ALBEDO = 0.23

FAINTEST = 0.5
"""The power that the shadow ratio is raised to where nothing is known of where the light comes from, for a shadow may
fall elsewhere than it is drawn; 1 where all is known. Where no light comes, under the object, any power is dark."""


def fit_shading(
    scene: InsertionScene,
    photo: Frames,
    gbuffer: GBuffer,
    options: FitOptions,
    report: Callable[[int, float], None] | None = None,
) -> Fit:
    """The light under which the photo's surfaces would be shaded as they are, as far as it is believed; and a tone
    curve that makes shadows fainter, for it may come from elsewhere.

    Args:
        scene: the objects, placed.
        photo: T = 1.
        gbuffer: of it, with the scene's camera.
        options: of the fit.
        report: is called with each step and its loss.
    """
    shading = photo_shading(photo, gbuffer)
    fit = fit_light(shading, estimate_light(photo, gbuffer), options, report=report)
    trust = shading.facing / (shading.facing + FACING)
    white, ground = shading.ambient, ground_radiance(scene, photo)
    light = EnvironmentMap(
        believed(sharpened(fit.light.radiance[0], SHARPER), white, ground, trust)[None], fit.light.name
    )
    shadow = ToneCurves.power(FAINTEST + (1 - FAINTEST) * trust, 3)
    return Fit(light, light, light, Tones(shadow=shadow), fit.losses)


def believed(light: Tensor, white: Tensor, ground: Tensor, trust: float) -> Tensor:
    """A light (3, H, W) that was fitted, as far as it is believed.

    Args:
        light: linear radiance.
        white: (3,) linear radiance of a level white surface, by the albedos of the photo.
        ground: (3,) linear radiance of the ground about the objects.
        trust: how much of it comes from where it was found to, in [0, 1].
    """
    even = level_radiance(light)[:, None, None].expand_as(light)
    mixed = torch.lerp(even, light, trust)
    by_albedos, usual = (luminance(value.clamp(min=1e-6), 0) for value in (white, ground / USUAL_ALBEDO))
    bright = torch.exp(ALBEDO_TRUST * by_albedos.log() + (1 - ALBEDO_TRUST) * usual.log())
    level = level_radiance(light).clamp(min=1e-6)
    colour = (level / luminance(level, 0) * white.clamp(min=1e-6) / by_albedos).sqrt()
    wanted = colour / luminance(colour, 0) * bright
    return mixed * (wanted / level_radiance(mixed).clamp(min=1e-6))[:, None, None]
