"""Light that meets something on its way, as far as the depth map knows: shadows, occlusion and one bounce.

The split sum is exact but for what is in the way, and has no noise. So only what is in the way is drawn: the share of
the light that gets through, as a quotient of two estimates from the same directions (Heitz et al. 2018, Combining
Analytic Direct Illumination and Stochastic Shadows, eq. 9), and what arrives from the surfaces in between. Where
nothing is in the way the quotient is 1 to the last bit.

Directions are drawn on a coarse grid: half of them from the light, the same for all pixels (common random numbers),
interleaved over tiles of 4 x 4 pixels (Keller & Heidrich 2001); half from the specular lobe; weighed together by the
balance heuristic. They are marched through the depth map (`depth_scene`); where one meets a surface, the colour that
this surface shows the camera takes the place of the environment. Both estimates are smoothed along the surface
(`bilateral`) before they are divided, and brought to full size along its edges. This is the screen-space ray tracing
(SSRT) that DiffusionRenderer (Liang et al. 2025) measures itself against.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.forward import brdf, split_sum
from unrender.forward.bilateral import Guides, enlarge, smooth
from unrender.forward.depth_scene import DepthScene
from unrender.forward.light_sampling import LightSampler
from unrender.forward.prefilter import PrefilteredLight
from unrender.forward.surface import ShadingPoints, shading_points, tangent_frame, to_local, to_world
from unrender.scene.camera import Camera, unproject
from unrender.scene.color import luminance
from unrender.scene.environment import resize
from unrender.scene.gbuffer import GBuffer

TRACED_SIDE = 256  # pixels of the longer side of the grid that rays start from
TILE = 4  # pixels; each of a tile has other directions
PASSES = 2  # of the smoothing: 4 and 8 coarse pixels each way
LIGHT_ROWS = 64  # of the light that directions are drawn from
HIGHLIGHT = 2.0  # times its irradiance over pi, the most that a surface reflects of the light to other surfaces
CHUNK_DIRECTIONS = 1 << 19  # in flight


@dataclass(frozen=True)
class Obstruction:
    """What the depth map puts in the way of a light, on a coarse grid of one frame.

    Attributes:
        values: (12, h, w): the share of the light that gets through to the diffuse lobe (3) and to the specular one
            (3), and the mean radiance over each lobe from surfaces in the way (3, 3).
        guides: the surface of the grid.
    """

    values: Tensor
    guides: Guides

    def shade(
        self, gbuffer: GBuffer, surface: ShadingPoints, camera: Camera, parts: split_sum.Factors, top: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Diffuse and specular radiance, each (3, N), of the `surface` of a full-size `gbuffer` whose first row is row
        `top` of the picture, and whose light is split into `parts`."""
        width = surface.size[1]
        guides = guides_of(gbuffer, camera, 1).flat().index_select(1, surface.pixel)
        found = enlarge(self.values, self.guides, surface.pixel + top * width, guides, width)
        diffuse = parts.diffuse_albedo * (parts.irradiance * found[:3] + found[6:9])
        return diffuse, parts.specular_albedo * (parts.reflected * found[3:6] + found[9:])


def guides_of(gbuffer: GBuffer, camera: Camera, stride: int) -> Guides:
    """Positions and normals of one frame."""
    assert gbuffer.normal is not None
    assert gbuffer.depth is not None
    points = unproject(gbuffer.depth.detach(), camera)[0].nan_to_num(posinf=0.0, neginf=0.0, nan=0.0)
    return Guides(points, gbuffer.normal.detach()[0], stride)


def obstruct(
    gbuffer: GBuffer, light: PrefilteredLight, camera: Camera, yaw: float, samples: int, seed: int
) -> Obstruction:
    """What is in the way of `light` in a G-buffer of one frame with positive planar depth.

    Constants to autograd, but for the colours that bounce.

    Args:
        gbuffer: needs base_color, normal and depth.
        light: one frame of it.
        camera: of the G-buffer.
        yaw: degrees that the light is turned by.
        samples: directions per pixel of the coarse grid, at least 2.
        seed: of the directions; the same in every frame, so a still clip stands still.
    """
    stride = -(-max(gbuffer.size) // TRACED_SIDE)
    coarse, view = _every(gbuffer, camera, stride)
    guides = guides_of(coarse, view, stride)
    surface = shading_points(coarse, view, yaw)
    parts = split_sum.factors(surface, light)
    rays = Rays.draw(surface, light.sharp, samples, seed)
    scene = DepthScene.of(coarse, view, yaw)

    def picture(values: Tensor) -> Tensor:
        height, width = surface.size
        flat = values.new_zeros(len(values), height * width).index_copy(1, surface.pixel, values)
        return flat.reshape(len(values), height, width)

    with torch.no_grad():
        met, blocked = _trace(rays, surface, scene)
        sums = smooth(picture(rays.arriving(blocked)), guides, PASSES)
        free, lost = sums[:6], sums[6:]
        through = 1 - torch.where(free > 0, lost / free.clamp(min=1e-12), 0.0).clamp(0, 1)
    seen = through.reshape(6, -1).index_select(1, surface.pixel)
    # A highlight is sent to the camera, not to the surfaces around.
    reflected = torch.minimum(parts.reflected, HIGHLIGHT * parts.irradiance)
    shown = parts.diffuse_albedo * parts.irradiance * seen[:3] + parts.specular_albedo * reflected * seen[3:]
    height, width = surface.size
    whole = shown.new_zeros(3, height * width).index_copy(1, surface.pixel, shown)
    bounced = smooth(picture(rays.bounced(whole, met, blocked)), guides, PASSES)
    means = torch.cat((bounced[:3] / bounced[6:7].clamp(min=1e-9), bounced[3:6] / bounced[7:].clamp(min=1e-9)))
    return Obstruction(torch.cat((through, means)), guides)


def _every(gbuffer: GBuffer, camera: Camera, stride: int) -> tuple[GBuffer, Camera]:
    """Every so many pixels of a G-buffer in either direction, and their camera."""
    if stride == 1:
        return gbuffer, camera
    first = stride // 2
    maps = {name: value[:, :, first::stride, first::stride] for name, value in gbuffer.maps.items()}
    view = camera.every(stride, first)
    shown = GBuffer(base_color=maps["base_color"], normal=maps["normal"], camera=view, depth_kind=gbuffer.depth_kind)
    names = ("depth", "roughness", "metallic", "mask")
    return shown.with_maps(**{name: maps[name] for name in names if name in maps}), view


@dataclass(frozen=True)
class Rays:
    """S directions of every one of N pixels, and what each of them counts for.

    Attributes:
        direction: (3, N, S) unit, world.
        radiance: (3, N, S) of the environment there.
        diffuse: (N, S) the diffuse lobe times cosine over density, by the balance heuristic.
        specular: (N, S) the specular lobe likewise, its colour by luminance.
        jitter: (N,) see `DepthScene.trace`.
    """

    direction: Tensor
    radiance: Tensor
    diffuse: Tensor
    specular: Tensor
    jitter: Tensor

    @classmethod
    @torch.no_grad()
    def draw(cls, surface: ShadingPoints, radiance: Tensor, samples: int, seed: int) -> Rays:
        """`samples` directions of every pixel, the larger half from the light (3, H, W)."""
        rows = min(LIGHT_ROWS, radiance.shape[1])
        light = LightSampler.of(resize(radiance.detach()[None], (rows, 2 * rows))[0], defensive=True)
        width = surface.size[1]
        place = torch.div(surface.pixel, width, rounding_mode="floor") % TILE * TILE + surface.pixel % TILE
        # A permutation, so that neighbours are far apart in the sequence.
        order = (place * 7 + 3) % TILE**2
        from_light, from_lobe = samples - samples // 2, samples // 2
        table = _sobol(TILE**2 * from_light, seed).to(radiance)
        shared = light.draw(table[:, 0], table[:, 1])
        chosen = order[:, None] * from_light + torch.arange(from_light)
        frame = tangent_frame(surface.normal)
        view = to_local(frame, surface.view)[..., None]
        points = _sobol(TILE**2 * from_lobe, seed + 1).to(radiance)[
            order[:, None] * from_lobe + torch.arange(from_lobe)
        ]
        alpha = brdf.alpha_of(surface.roughness)[:, None]
        glossy = brdf.sample_ggx(view.expand(3, len(order), from_lobe), alpha, points[..., 0], points[..., 1])
        world = torch.cat((shared[:, chosen], to_world(frame, glossy)), dim=2)
        local = torch.cat((to_local(frame, world[:, :, :from_light]), glossy), dim=2)
        seen, density = (
            torch.cat((values[..., chosen], own), dim=-1)
            for values, own in zip(light.look_up(shared), light.look_up(world[:, :, from_light:]), strict=True)
        )
        density = from_light * density + from_lobe * brdf.ggx_density(view, local, alpha)
        lobes = brdf.evaluate(view, local, surface.roughness[:, None], surface.metallic[:, None])
        specular = lobes.neutral + luminance(surface.base_color.detach(), dim=0)[0][:, None] * lobes.tint
        jitter = ((place * 5 + 1) % TILE**2).to(radiance) / TILE**2
        return cls(world, seen, lobes.diffuse / density, specular / density, jitter)

    def arriving(self, blocked: Tensor) -> Tensor:
        """(12, N): the environment's radiance over the diffuse (3) and specular (3) lobes, and as much of either as is
        `blocked` (N, S), in [0, 1]."""
        weights = (self.diffuse, self.specular, self.diffuse * blocked, self.specular * blocked)
        return torch.cat([torch.einsum("cns,ns->cn", self.radiance, weight) for weight in weights])

    def bounced(self, shown: Tensor, met: Tensor, blocked: Tensor) -> Tensor:
        """(8, N): radiance from surfaces over the diffuse (3) and the specular lobe (3), and both lobes' own size.

        `shown` (3, H * W) is what surfaces show the camera, `met` (N, S) the pixel that a direction meets.
        """
        ray = (blocked.reshape(-1) > 0).nonzero()[:, 0]
        pixel = torch.div(ray, blocked.shape[1], rounding_mode="floor")
        colour = shown.index_select(1, met.reshape(-1)[ray]) * blocked.reshape(-1)[ray]
        parts = []
        for weight in (self.diffuse, self.specular):
            nothing = colour.new_zeros(3, len(blocked))
            parts.append(nothing.index_add(1, pixel, colour * weight.reshape(-1)[ray]))
        return torch.cat((*parts, self.diffuse.sum(1)[None], self.specular.sum(1)[None]))


def _trace(rays: Rays, surface: ShadingPoints, scene: DepthScene) -> tuple[Tensor, Tensor]:
    """The pixel that each direction meets, (N, S) or -1, and how far it is trusted to be in the way, (N, S)."""
    shape = rays.diffuse.shape
    used = (rays.diffuse + rays.specular > 0).reshape(-1).nonzero()[:, 0]
    met = torch.full((shape[0] * shape[1],), -1)
    for part in used.split(CHUNK_DIRECTIONS):
        pixel = torch.div(part, shape[1], rounding_mode="floor")
        direction = rays.direction.reshape(3, -1).index_select(1, part)
        met[part] = scene.trace(surface.pixel[pixel], direction, rays.jitter[pixel])
    met = met.reshape(shape)
    trusted = scene.support[met.clamp(min=0)] * scene.support[surface.pixel][:, None]
    return met, torch.where(met >= 0, trusted, 0.0)


def _sobol(count: int, seed: int) -> Tensor:
    """(count, 2) points in [0, 1)."""
    return torch.quasirandom.SobolEngine(2, scramble=True, seed=seed).draw(count).clamp(max=1 - 1e-7)
