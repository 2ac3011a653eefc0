"""Direct light by the split sum: the fast quality.

Karis 2013 (Real Shading in Unreal Engine 4) takes the integral of light times BRDF for the product of two integrals:
the light blurred by a lobe, and the BRDF alone, its directional albedo. Three things make it closer to the reference:

- the albedo table is that of our own BRDF, each Fresnel term in its own column, Disney diffuse included;
- the blurred light is looked up where the lobe really points: its mean direction, which at grazing angles is well off
  the mirror direction (the "off-specular peak"; Lagarde & de Rousiers 2014, 4.9.3, fit this by hand);
- and at the width that the lobe really has: the level whose round lobe has the same mean resultant length.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from unrender.forward import brdf
from unrender.forward.prefilter import LEVELS, PrefilteredLight, level_alpha, lobe
from unrender.forward.surface import MIN_COS_VIEW, ShadingPoints
from unrender.scene.environment import sample

TABLE_SIZE = 32  # roughness by the root of the cosine, both from end to end
TABLE_SAMPLES = 32  # per axis of the unit square


@dataclass(frozen=True)
class Response:
    """What the BRDF does, integrated over all light directions, for view cosine and roughness; each (...).

    Attributes:
        diffuse: albedo of the diffuse lobe per unit base colour.
        dielectric: albedo of the specular lobe of a dielectric.
        metal: albedo of the specular lobe of a metal, as far as it takes the base colour.
        fresnel: albedo of the specular lobe of a metal that stays white.
        angle: from the normal to the mean direction of the specular lobe, away from the viewer, in radians.
        level: of the prefiltered light whose lobe is as wide.
    """

    diffuse: Tensor
    dielectric: Tensor
    metal: Tensor
    fresnel: Tensor
    angle: Tensor
    level: Tensor


@dataclass(frozen=True)
class Factors:
    """Diffuse and specular radiance as products: what a surface reflects, times the light on it; each (3, N).

    Attributes:
        diffuse_albedo: of the diffuse lobe.
        irradiance: over pi, of light that meets nothing on its way.
        specular_albedo: of the specular lobe.
        reflected: mean radiance of the light in the specular lobe, likewise.
    """

    diffuse_albedo: Tensor
    irradiance: Tensor
    specular_albedo: Tensor
    reflected: Tensor


def shade(surface: ShadingPoints, light: PrefilteredLight) -> tuple[Tensor, Tensor]:
    """Diffuse and specular radiance towards the camera, each (3, N); differentiable in light and material."""
    parts = factors(surface, light)
    return parts.diffuse_albedo * parts.irradiance, parts.specular_albedo * parts.reflected


def factors(surface: ShadingPoints, light: PrefilteredLight) -> Factors:
    """The products that `shade` gives, taken apart."""
    cos_view = surface.cos_view
    response = look_up_response(cos_view, surface.roughness)
    irradiance = sample(light.diffuse[None], surface.normal.T)[0]
    diffuse = surface.base_color * ((1 - surface.metallic) * response.diffuse)
    sideways = brdf.unit(surface.view - cos_view * surface.normal)
    direction = torch.cos(response.angle) * surface.normal - torch.sin(response.angle) * sideways
    reflected = light.look_up(direction, response.level)
    neutral = (1 - surface.metallic) * response.dielectric + surface.metallic * response.fresnel
    return Factors(diffuse, irradiance, neutral + surface.base_color * (surface.metallic * response.metal), reflected)


def look_up_response(cos_view: Tensor, roughness: Tensor) -> Response:
    """The response at view cosines and roughnesses (N,), interpolated; differentiable in roughness."""
    table = response_table().to(roughness)
    grid = torch.stack((2 * torch.sqrt(cos_view) - 1, 2 * roughness - 1), dim=-1)
    values = functional.grid_sample(table[None], grid[None, None], padding_mode="border", align_corners=True)
    return Response(*values[0, :, 0])


@lru_cache(maxsize=1)
def response_table() -> Tensor:
    """(6, TABLE_SIZE, TABLE_SIZE): the fields of `Response` over roughness (rows) and the root of the cosine."""
    nodes = torch.linspace(0, 1, TABLE_SIZE)
    roughness, root = (x[..., None] for x in torch.meshgrid(nodes, nodes, indexing="ij"))
    cos = (root * root).clamp(min=MIN_COS_VIEW)
    points = (torch.arange(TABLE_SAMPLES) + 0.5) / TABLE_SAMPLES
    u, v = (x.reshape(-1) for x in torch.meshgrid(points, points, indexing="ij"))
    shape = (TABLE_SIZE, TABLE_SIZE, len(u))
    view = torch.stack((torch.sqrt(1 - cos * cos), torch.zeros_like(cos), cos)).expand(3, *shape)
    zero, one, u, v = torch.zeros(()), torch.ones(()), u.expand(shape), v.expand(shape)

    cosine = brdf.sample_cosine(u, v)
    diffuse = (brdf.evaluate(view, cosine, roughness, zero).diffuse / brdf.cosine_density(cosine)).mean(2)

    alpha = brdf.alpha_of(roughness).expand(shape)
    light = brdf.sample_ggx(view, alpha, u, v)
    density = brdf.ggx_density(view, light, alpha)
    metal = brdf.evaluate(view, light, roughness, one)
    tint, fresnel = metal.tint / density, metal.neutral / density
    dielectric = brdf.evaluate(view, light, roughness, zero).neutral / density
    weight = tint + fresnel
    mean = (light * weight).sum(3) / weight.sum(2).clamp(min=1e-9)
    angle = torch.atan2(-mean[0], mean[2])
    level = _level_of(mean.norm(dim=0))
    return torch.stack((diffuse, dielectric.mean(2), tint.mean(2), fresnel.mean(2), angle, level))


def _level_of(resultant: Tensor) -> Tensor:
    """The level in [0, LEVELS] whose lobe has this mean resultant length: 1 for a ray, less for wider lobes."""
    t = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    angle = 0.5 * math.pi * t**3  # most points where narrow lobes are
    cos, ring = torch.cos(angle), torch.sin(angle) * t**2
    lengths = [1.0]
    for level in range(1, LEVELS + 1):
        weight = lobe(cos, level_alpha(level)) * ring
        lengths.append(float((weight * cos).sum() / weight.sum()))
    # Width grows as the root of 1 - length, so levels are joined linearly in that.
    nodes, value = torch.sqrt(1 - torch.tensor(lengths)), torch.sqrt((1 - resultant).clamp(min=0))
    above = torch.searchsorted(nodes, value.contiguous()).clamp(1, LEVELS)
    part = (value - nodes[above - 1]) / (nodes[above] - nodes[above - 1])
    return (above - 1 + part).clamp(0, LEVELS)
