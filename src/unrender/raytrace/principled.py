"""The opaque part of Mitsuba's principled BSDF, with directions in world space, and a mixture that samples it.

Disney's diffuse with retro-reflection under a GGX coat of index 1.5, metals by Schlick's Fresnel (Burley 2012). The
value is Mitsuba's `principled` with specular = 0.5. The plugin itself is not called: it reads each texture separately,
and its sampling ignores irradiance, which needs the whole hemisphere even on a mirror.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_ETA = 1.5
_MIN_ALPHA = 1e-3  # as Mitsuba's


@dataclass(frozen=True)
class Shading:
    """What of the BSDF differs between renderers; numbers, or Dr.Jit arrays of one. The defaults are Mitsuba's.

    Attributes:
        retro: of Disney's retro-reflection and its fall at grazing angles; 0 is Lambert's diffuse.
        specular: factor on the reflectance of what is not metal; 1 is an index of refraction of 1.5.
        exponent: GGX's width is roughness to this power; 2 is Burley's, and most renderers'.
    """

    retro: Any = 1.0
    specular: Any = 1.0
    exponent: Any = 2.0


@dataclass(frozen=True)
class PrincipledBsdf:
    """A surface point as its BSDF sees it; all Dr.Jit arrays.

    Attributes:
        normal: unit shading normal.
        view: unit outgoing direction, within the hemisphere of `normal`.
        base_color: linear rgb.
        roughness: perceptual.
        metallic: 0 to 1.
        cosine_share: part of the samples that are cosine-distributed; the others are reflected by visible GGX facets.
        shading: see `Shading`.
    """

    normal: Any
    view: Any
    base_color: Any
    roughness: Any
    metallic: Any
    cosine_share: Any
    shading: Shading

    @property
    def alpha(self) -> Any:
        """GGX's width."""
        import drjit as dr

        bent = dr.power(dr.maximum(self.roughness, 1e-3), self.shading.exponent - 2)
        return dr.maximum(self.roughness * self.roughness * bent, _MIN_ALPHA)


def bsdf(
    normal: Any, view: Any, material: tuple[Any, Any, Any], least_share: Any, shading: Shading | None = None
) -> PrincipledBsdf:
    """The BSDF of a point with `material` (base colour, roughness, metallic); cosine samples are at least a
    `least_share` of all."""
    import drjit as dr
    import mitsuba as mi

    base, roughness, metallic = material
    facing = dr.dot(normal, view)
    mirror = dr.lerp(_dielectric(facing), mi.luminance(base), metallic) + _schlick_weight(facing) * metallic
    diffuse = (1 - metallic) * mi.luminance(base)
    share = dr.maximum(diffuse / dr.maximum(diffuse + mirror, 1e-6), least_share)
    return PrincipledBsdf(normal, view, base, roughness, metallic, dr.minimum(share, 0.9), shading or Shading())


def evaluate(at: PrincipledBsdf, light: Any) -> tuple[Any, Any, Any]:
    """BSDF times cosine (rgb), sampling density per steradian, and cosine, for unit directions `light`.

    All three are zero below the horizon of the shading normal.
    """
    import drjit as dr
    import mitsuba as mi

    cos_i, cos_o = dr.dot(at.normal, at.view), dr.dot(at.normal, light)
    above = (cos_o > 0) & (cos_i > 0)
    half = dr.normalize(at.view + light)
    cos_h, cos_d = dr.dot(at.normal, half), dr.dot(at.view, half)
    alpha2 = dr.square(at.alpha)
    facets = alpha2 / (math.pi * dr.square(dr.fma(dr.square(cos_h), alpha2 - 1, 1)))
    seen, lit = _smith(cos_i, alpha2), _smith(cos_o, alpha2)
    per_view = facets * seen / (4 * dr.maximum(cos_i, 1e-7))

    metal = at.base_color + (1 - at.base_color) * _schlick_weight(cos_d)
    fresnel = at.metallic * metal + (1 - at.metallic) * dr.minimum(at.shading.specular * _dielectric(cos_d), 1)
    value = fresnel * (per_view * lit) + at.base_color * (_diffuse(at, cos_i, cos_o, cos_d) * cos_o)
    density = dr.lerp(per_view, cos_o / math.pi, at.cosine_share)
    return dr.select(above, value, mi.Color3f(0)), dr.select(above, density, 0), dr.select(above, cos_o, 0)


def sample(at: PrincipledBsdf, choice: Any, point: tuple[Any, Any]) -> Any:
    """A unit direction from the mixture: `choice` in [0, 1) picks the lobe, `point` in [0, 1)^2 the direction."""
    import drjit as dr
    import mitsuba as mi

    frame = mi.Frame3f(at.normal)
    spread = mi.warp.square_to_cosine_hemisphere(mi.Point2f(*point))
    reflected = _reflected(frame.to_local(at.view), at.alpha, point)
    return frame.to_world(dr.select(choice < at.cosine_share, spread, reflected))


def _reflected(view: Any, alpha: Any, point: tuple[Any, Any]) -> Any:
    """`view` mirrored by a GGX facet that it sees, by a spherical cap (Dupuy and Benyoub 2023)."""
    import drjit as dr
    import mitsuba as mi

    stretched = dr.normalize(mi.Vector3f(alpha * view.x, alpha * view.y, view.z))
    z = dr.fma(1 - point[1], 1 + stretched.z, -stretched.z)
    sin_theta = dr.safe_sqrt(1 - z * z)
    sin_phi, cos_phi = dr.sincos(2 * math.pi * point[0])
    cap = mi.Vector3f(sin_theta * cos_phi, sin_theta * sin_phi, z) + stretched
    facet = dr.normalize(mi.Vector3f(alpha * cap.x, alpha * cap.y, dr.maximum(cap.z, 1e-7)))
    return dr.normalize(2 * dr.dot(view, facet) * facet - view)


def _diffuse(at: PrincipledBsdf, cos_i: Any, cos_o: Any, cos_d: Any) -> Any:
    import drjit as dr

    fi, fo = _schlick_weight(cos_i), _schlick_weight(cos_o)
    retro = 2 * at.roughness * cos_d * cos_d
    shape = (1 - 0.5 * fi) * (1 - 0.5 * fo) + retro * (fo + fi + fo * fi * (retro - 1))
    return (1 - at.metallic) * dr.maximum(dr.lerp(1, shape, at.shading.retro), 0) / math.pi


def _schlick_weight(cosine: Any) -> Any:
    import drjit as dr

    m = dr.clip(1 - cosine, 0, 1)
    return dr.square(dr.square(m)) * m


def _dielectric(cos_i: Any) -> Any:
    """Fresnel's reflectance for unpolarised light from outside."""
    import drjit as dr

    cos_t = dr.safe_sqrt(1 - (1 - dr.square(cos_i)) / _ETA**2)
    s = (cos_i - _ETA * cos_t) / (cos_i + _ETA * cos_t)
    p = (cos_t - _ETA * cos_i) / (cos_t + _ETA * cos_i)
    return 0.5 * (s * s + p * p)


def _smith(cosine: Any, alpha2: Any) -> Any:
    """Smith's masking of one direction, G1."""
    import drjit as dr

    tan2 = dr.maximum(dr.rcp(dr.maximum(dr.square(cosine), 1e-12)) - 1, 0)
    return 2 / (1 + dr.sqrt(1 + alpha2 * tan2))
