"""Direct light by Monte Carlo: the reference among the deferred qualities.

    L(view) = integral of f(view, l) cos(l) L_environment(l) over directions l, with nothing in the way.

Half of a pixel's directions are drawn from the light and half from the BRDF, and weighed together by the balance
heuristic (Veach & Guibas 1995, eq. 12). The points are a scrambled Sobol' sequence, shifted at random in every pixel
(Cranley & Patterson 1976). Directions and densities are constants to autograd, so the estimate is differentiable in
radiance and material and its derivative is unbiased, as in detached sampling (Zeltner et al. 2021).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from unrender.forward import brdf
from unrender.forward.light_sampling import LightSampler
from unrender.forward.surface import ShadingPoints, tangent_frame, to_local, to_world
from unrender.scene.color import luminance

CHUNK_DIRECTIONS = 1 << 19  # directions in flight; about 150 MB
MIN_LOBE_PROBABILITY = 0.1

Incoming = Callable[[ShadingPoints, Tensor, Tensor], Tensor]
"""What arrives instead of the environment: (pixels, world directions (3, n, S), environment radiance (3, n, S))."""


@dataclass(frozen=True)
class SamplePoints:
    """Low-discrepancy points: `sequence` (S, 5), shared, and `shift` (N, 5), one per pixel of the whole frame."""

    sequence: Tensor
    shift: Tensor

    @classmethod
    def draw(cls, pixels: int, samples: int, seed: int, device: torch.device) -> "SamplePoints":
        """`samples` directions of each kind for each of `pixels`; the same for the same seed."""
        sequence = torch.quasirandom.SobolEngine(5, scramble=True, seed=seed).draw(samples)
        shift = torch.rand(pixels, 5, generator=torch.Generator().manual_seed(seed))
        return cls(sequence.to(device), shift.to(device))

    def of(self, pixel: Tensor) -> list[Tensor]:
        """Five uniform numbers in [0, 1), each (len(pixel), S)."""
        points = self.shift[pixel].T[:, :, None] + self.sequence.T[:, None]
        return list((points - points.floor()).clamp(max=1 - 1e-7))


def shade(
    surface: ShadingPoints, light: LightSampler, samples: int, seed: int, incoming: Incoming | None = None
) -> tuple[Tensor, Tensor]:
    """Diffuse and specular radiance towards the camera, each (3, N).

    Args:
        surface: the pixels.
        light: the environment.
        samples: directions per pixel, at least 2.
        seed: of the sample points; the noise of one seed is the same in every frame, so a still clip stands still.
        incoming: replaces the radiance of each direction, for light that meets something on its way.
    """
    height, width = surface.size
    points = SamplePoints.draw(height * width, samples // 2, seed, surface.normal.device)
    step = max(1, CHUNK_DIRECTIONS // samples)
    diffuse, specular = [], []
    for start in range(0, len(surface), step):
        part = surface.part(start, start + step)
        needs_grad = torch.is_grad_enabled() and any(
            t.requires_grad for t in (light.texels, part.base_color, part.roughness, part.metallic)
        )
        if needs_grad:  # the graph of a chunk is built anew on the way back: memory stays that of one chunk
            d, s = checkpoint(_shade_chunk, part, light, points, incoming, use_reentrant=False)
        else:
            d, s = _shade_chunk(part, light, points, incoming)
        diffuse.append(d)
        specular.append(s)
    if not diffuse:
        return surface.base_color * 0, surface.base_color * 0
    return torch.cat(diffuse, dim=1), torch.cat(specular, dim=1)


def _shade_chunk(
    surface: ShadingPoints, light: LightSampler, points: SamplePoints, incoming: Incoming | None
) -> tuple[Tensor, Tensor]:
    frame = tangent_frame(surface.normal)
    view = to_local(frame, surface.view)[..., None]
    local, world = _draw(surface, view, frame, light, points)
    radiance, light_density = light.look_up(world)
    density = (local.shape[2] / 2) * (light_density + _brdf_density(surface, view, local))
    if incoming is not None:
        radiance = incoming(surface, world, radiance)
    roughness, metallic = surface.roughness[:, None], surface.metallic[:, None]
    lobes = brdf.evaluate(view, local, roughness, metallic)

    def reflected(lobe: Tensor) -> Tensor:
        return torch.einsum("cns,ns->cn", radiance, lobe / density)

    diffuse = surface.base_color * reflected(lobes.diffuse)
    return diffuse, reflected(lobes.neutral) + surface.base_color * reflected(lobes.tint)


@torch.no_grad()
def _draw(
    surface: ShadingPoints, view: Tensor, frame: Tensor, light: LightSampler, points: SamplePoints
) -> tuple[Tensor, Tensor]:
    """Directions (3, n, 2 S) in the surface's frame and in the world: S from the light, then S from the BRDF."""
    light_u, light_v, choice, u, v = points.of(surface.pixel)
    from_light = light.draw(light_u, light_v)
    alpha = brdf.alpha_of(surface.roughness)[:, None]
    glossy = brdf.sample_ggx(view.expand(3, *u.shape), alpha, u, v)
    from_brdf = torch.where(choice < _specular_probability(surface)[:, None], glossy, brdf.sample_cosine(u, v))
    local = torch.cat((to_local(frame, from_light), from_brdf), dim=2)
    return local, torch.cat((from_light, to_world(frame, from_brdf)), dim=2)


@torch.no_grad()
def _brdf_density(surface: ShadingPoints, view: Tensor, local: Tensor) -> Tensor:
    """Density per steradian of the BRDF's half of `_draw`, (n, S)."""
    specular = _specular_probability(surface)[:, None]
    glossy = brdf.ggx_density(view, local, brdf.alpha_of(surface.roughness)[:, None])
    return specular * glossy + (1 - specular) * brdf.cosine_density(local)


@torch.no_grad()
def _specular_probability(surface: ShadingPoints) -> Tensor:
    """Chance (n,) of drawing from the specular lobe: its share of what is reflected, by Fresnel at the normal."""
    cos = surface.cos_view
    base = luminance(surface.base_color, dim=0)[0]
    schlick = brdf.schlick_weight(cos)
    metal = base + (1 - base) * schlick
    specular = (1 - surface.metallic) * brdf.fresnel_dielectric(cos) + surface.metallic * metal
    diffuse = (1 - surface.metallic) * base
    return (specular / (specular + diffuse).clamp(min=1e-6)).clamp(min=MIN_LOBE_PROBABILITY)
