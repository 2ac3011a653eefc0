"""The metallic-roughness BRDF: a GGX reflection over Disney diffuse.

It is the model that unrender's training data is rendered with (Mitsuba's `principled`, `specular` = 0.5 and every other
parameter at its default), so that a G-buffer means the same thing in both:

    f = (1 - metallic) base_color / pi * disney(roughness)                                    diffuse
      + [(1 - metallic) F_dielectric(eta = 1.5) + metallic F_schlick(base_color)] D G / (4 cos cos')   specular

Directions are unit vectors in the surface's own frame (+Z is the normal), component first: (3, ...). Everything here
broadcasts and is differentiable.

[B12]  Burley 2012, Physically-Based Shading at Disney
[W07]  Walter et al. 2007, Microfacet Models for Refraction through Rough Surfaces
[H14]  Heitz 2014, Understanding the Masking-Shadowing Function in Microfacet-Based BRDFs
[H18]  Heitz 2018, Sampling the GGX Distribution of Visible Normals
[DB23] Dupuy & Benyoub 2023, Sampling Visible GGX Normals with Spherical Caps
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ETA = 1.5  # index of refraction of `specular` = 0.5: 2 / (1 - sqrt(0.08 * 0.5)) - 1
MIN_ALPHA = 1e-3  # the smoothest surface that single precision can still find a highlight on
GRAZING = 1e-6  # keeps cosines away from a division by zero


@dataclass(frozen=True)
class Lobes:
    """f(view, light) * cos(light), with the base colour taken out: `base_color * (diffuse + tint) + neutral`.

    Each is (...), >= 0, and zero below the horizon: one number where the colour would need three.

    Attributes:
        diffuse: the diffuse lobe.
        tint: the part of the specular lobe that takes the base colour.
        neutral: the part of the specular lobe that does not.
    """

    diffuse: Tensor
    tint: Tensor
    neutral: Tensor


def alpha_of(roughness: Tensor) -> Tensor:
    """GGX width of a perceptual roughness, [B12] 5.4: roughness squared."""
    return (roughness * roughness).clamp(min=MIN_ALPHA)


def evaluate(view: Tensor, light: Tensor, roughness: Tensor, metallic: Tensor) -> Lobes:
    """The BRDF times the cosine, for unit `view` and `light` (3, ...) and material (...) in [0, 1]."""
    half = unit(view + light)
    cos_view, cos_light = view[2].clamp(min=GRAZING), light[2].clamp(min=GRAZING)
    cos_half = (light * half).sum(0).clamp(0, 1)
    above = ((view[2] > 0) & (light[2] > 0)).to(view.dtype)
    diffuse = (1 - metallic) * disney_diffuse(cos_view, cos_light, cos_half, roughness) * cos_light
    alpha = alpha_of(roughness)
    # cos(light) cancels against the denominator of [W07] eq. 20.
    reflection = ggx(half, alpha) * smith(view[2], alpha) * smith(light[2], alpha) / (4 * cos_view)
    schlick = schlick_weight(cos_half)
    neutral = (1 - metallic) * fresnel_dielectric(cos_half) + metallic * schlick
    return Lobes(diffuse * above, metallic * (1 - schlick) * reflection * above, neutral * reflection * above)


def disney_diffuse(cos_view: Tensor, cos_light: Tensor, cos_half: Tensor, roughness: Tensor) -> Tensor:
    """Diffuse reflection with retro-reflection per unit base colour, in 1/sr: [B12] 5.3, in the form of Burley 2015."""
    at_view, at_light = schlick_weight(cos_view), schlick_weight(cos_light)
    retro = 2 * roughness * cos_half * cos_half
    lambert = (1 - 0.5 * at_view) * (1 - 0.5 * at_light)
    return (lambert + retro * (at_light + at_view + at_light * at_view * (retro - 1))) / math.pi


def unit(vector: Tensor) -> Tensor:
    """Vectors (3, ...) at length 1. Written out: torch's norm over a leading dimension is twenty times slower."""
    x, y, z = vector
    return vector / torch.sqrt(x * x + y * y + z * z).clamp(min=1e-12)


def schlick_weight(cos: Tensor) -> Tensor:
    """(1 - cos)^5, Schlick 1994."""
    m = (1 - cos).clamp(0, 1)
    m2 = m * m
    return m2 * m2 * m


def fresnel_dielectric(cos: Tensor) -> Tensor:
    """Unpolarised reflectance of a smooth dielectric of index `ETA` seen from outside, [W07] eq. 22."""
    cos_inside = torch.sqrt(1 - (1 - cos * cos) / ETA**2)
    perpendicular = (cos - ETA * cos_inside) / (cos + ETA * cos_inside)
    parallel = (cos_inside - ETA * cos) / (cos_inside + ETA * cos)
    return 0.5 * (perpendicular * perpendicular + parallel * parallel)


def ggx(half: Tensor, alpha: Tensor) -> Tensor:
    """The GGX distribution of normals, [W07] eq. 33, in the form that stays exact for narrow lobes ([H14] eq. 71)."""
    x, y, z = half
    alpha2 = alpha * alpha
    stretched = (x * x + y * y) / alpha2 + z * z
    return 1 / (math.pi * alpha2 * stretched * stretched)


def smith(cos: Tensor, alpha: Tensor) -> Tensor:
    """Smith's masking of GGX, [W07] eq. 34; masking and shadowing are taken as independent ([W07] eq. 23)."""
    cos = cos.clamp(min=GRAZING)
    return 2 * cos / (cos + torch.sqrt(alpha * alpha * (1 - cos * cos).clamp(min=0) + cos * cos))


def sample_ggx(view: Tensor, alpha: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Light directions (3, ...) that mirror `view` in visible GGX normals ([H18], by the caps of [DB23]).

    `u`, `v` (...) are uniform in [0, 1). A direction may fall below the horizon, where the BRDF is zero.
    """
    alpha = alpha.expand_as(view[2])
    stretch = torch.stack((alpha, alpha, torch.ones_like(alpha)))
    standard = unit(view * stretch)
    azimuth = 2 * math.pi * u
    z = (1 - v) * (1 + standard[2]) - standard[2]
    radius = torch.sqrt((1 - z * z).clamp(min=0))
    cap = torch.stack((radius * torch.cos(azimuth), radius * torch.sin(azimuth), z))
    half = unit((cap + standard) * stretch)
    return 2 * (view * half).sum(0) * half - view


def ggx_density(view: Tensor, light: Tensor, alpha: Tensor) -> Tensor:
    """Density of `sample_ggx` per steradian of light direction, [H18] eq. 3 and 17: G1 D / (4 cos)."""
    half = unit(view + light)
    return smith(view[2], alpha) * ggx(half, alpha) / (4 * view[2].clamp(min=GRAZING))


def sample_cosine(u: Tensor, v: Tensor) -> Tensor:
    """Directions (3, ...) with density cos / pi about the normal; `u`, `v` uniform in [0, 1) (Malley's method)."""
    radius, azimuth = torch.sqrt(u), 2 * math.pi * v
    return torch.stack((radius * torch.cos(azimuth), radius * torch.sin(azimuth), torch.sqrt((1 - u).clamp(min=0))))


def cosine_density(light: Tensor) -> Tensor:
    """Density of `sample_cosine` per steradian."""
    return light[2].clamp(min=0) / math.pi
