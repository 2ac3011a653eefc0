"""What a shading method sees of a G-buffer, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.conventions import yaw_matrix
from unrender.errors import UserError
from unrender.forward import brdf
from unrender.scene.camera import Camera, pixel_rays
from unrender.scene.gbuffer import GBuffer
from unrender.scene.records import same, summary
from unrender.scene.strips import in_strips

MIN_COS_VIEW = 1e-3  # normals that turn away from the camera are bent back to this
DEFAULT_ROUGHNESS, DEFAULT_METALLIC = 0.5, 0.0


@dataclass(frozen=True, eq=False, repr=False)
class RenderPasses:
    """A rendered picture or clip, by the way its light came. Pictures are (T, 3, H, W), linear, composited by the mask.

    Attributes:
        surfaces: the radiance that surfaces send out, by name: `diffuse` and `specular`, as far as the two lobes were
            told apart; `rendered` where a network gives the picture whole.
        background: radiance of the environment seen past the surfaces.
        alpha: (T, 1, H, W) in [0, 1], how much of the picture is there at all; every pass is multiplied by it already.
            None where it is all there.
    """

    surfaces: dict[str, Tensor]
    background: Tensor
    alpha: Tensor | None = None

    @staticmethod
    def concatenate(parts: Sequence[RenderPasses]) -> RenderPasses:
        """Joins renderings of the same passes and size along time.

        Raises:
            UserError: no part, or parts of different passes or sizes.
        """
        if not parts:
            raise UserError("no rendering to join; expected at least one part")
        kinds = sorted({(", ".join(part.passes), *part.background.shape[2:]) for part in parts})
        if len(kinds) != 1:
            raise UserError(f"renderings of {kinds} cannot be joined; expected the same passes and size in every part")
        surfaces = {name: torch.cat([part.surfaces[name] for part in parts]) for name in parts[0].surfaces}
        alphas = [part.alpha for part in parts if part.alpha is not None]
        alpha = torch.cat(alphas) if len(alphas) == len(parts) else None
        return RenderPasses(surfaces, torch.cat([part.background for part in parts]), alpha)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)

    def __len__(self) -> int:
        return self.background.shape[0]

    @property
    def diffuse(self) -> Tensor:
        """What the diffuse lobe reflects, (T, 3, H, W)."""
        return self.surfaces["diffuse"]

    @property
    def specular(self) -> Tensor:
        """What the specular lobe reflects, (T, 3, H, W)."""
        return self.surfaces["specular"]

    @property
    def passes(self) -> dict[str, Tensor]:
        """Every pass by name, the background last."""
        return {**self.surfaces, "background": self.background}

    @property
    def surface(self) -> Tensor:
        """All that surfaces send out, (T, 3, H, W)."""
        return sum_in_order(self.surfaces.values())

    @property
    def beauty(self) -> Tensor:
        """The picture, (T, 3, H, W): the sum of the passes, in their order."""
        return sum_in_order(self.passes.values())

    def frame(self, index: int) -> RenderPasses:
        """Frame `index` alone, with T = 1."""
        i = range(len(self))[index]
        return self.part(i, i + 1)

    def part(self, start: int, stop: int) -> RenderPasses:
        """Frames `start` to `stop`, the last one left out."""
        surfaces = {name: value[start:stop] for name, value in self.surfaces.items()}
        alpha = self.alpha[start:stop] if self.alpha is not None else None
        return RenderPasses(surfaces, self.background[start:stop], alpha)

    def times(self, gain: Tensor) -> RenderPasses:
        """The same with every surface multiplied by `gain`, which broadcasts to (T, 3, H, W)."""
        return RenderPasses({name: value * gain for name, value in self.surfaces.items()}, self.background, self.alpha)

    def with_background(self, background: Tensor) -> RenderPasses:
        """The same before another background (T, 3, H, W)."""
        return RenderPasses(self.surfaces, background, self.alpha)

    def to(self, device: torch.device | str) -> RenderPasses:
        """The same on `device`."""
        surfaces = {name: value.to(device) for name, value in self.surfaces.items()}
        alpha = self.alpha.to(device) if self.alpha is not None else None
        return RenderPasses(surfaces, self.background.to(device), alpha)


def sum_in_order(passes: Iterable[Tensor]) -> Tensor:
    """The sum of pictures of one shape, added up in their order, to the last bit."""
    first, *others = passes
    if not others:
        return first
    total = first + others[0]
    for other in others[1:]:
        total += other
    return total


@dataclass(frozen=True)
class ShadingPoints:
    """The N visible pixels of one frame, in the world of the light. Vectors are component first.

    Attributes:
        pixel: (N,) flat index of each pixel in the frame, row by row.
        coverage: (N,) how much of the pixel the surface fills, (0, 1].
        normal: (3, N) unit, world.
        view: (3, N) unit direction to the camera, world.
        base_color: (3, N) linear.
        roughness: (N,) perceptual, [0, 1].
        metallic: (N,) [0, 1].
        size: (height, width) of the picture.
    """

    pixel: Tensor
    coverage: Tensor
    normal: Tensor
    view: Tensor
    base_color: Tensor
    roughness: Tensor
    metallic: Tensor
    size: tuple[int, int]

    def __len__(self) -> int:
        return self.pixel.shape[0]

    @property
    def cos_view(self) -> Tensor:
        """(N,) cosine between normal and view, at least MIN_COS_VIEW up to rounding."""
        return (self.normal * self.view).sum(0).clamp(MIN_COS_VIEW, 1)

    def part(self, start: int, stop: int) -> ShadingPoints:
        """Pixels `start` to `stop` alone."""
        cut = {k: getattr(self, k)[..., start:stop] for k in self.__dataclass_fields__ if k != "size"}
        return ShadingPoints(**cut, size=self.size)

    def picture(self, values: Tensor) -> Tensor:
        """(3, N) values of the visible pixels, weighted by coverage, as a picture (3, H, W) on black."""
        height, width = self.size
        flat = values.new_zeros(3, height * width).index_copy(1, self.pixel, values * self.coverage)
        return flat.reshape(3, height, width)


def shading_points(gbuffer: GBuffer, camera: Camera, yaw: float = 0.0) -> ShadingPoints:
    """The visible pixels of a G-buffer of one frame, seen in the world of a light that is turned by `yaw` degrees.

    Turning the light by yaw is the same as turning the camera by -yaw, which costs nothing and resamples nothing.
    A normal that faces away from the camera, as estimated normals do at silhouettes, is bent to just face it.
    Needs base_color and normal; without roughness 0.5 is taken, without metallic 0.
    """
    gbuffer.require("base_color", "normal", by="the deferred renderer")
    assert gbuffer.normal is not None
    assert gbuffer.base_color is not None
    coverage = coverage_of(gbuffer).reshape(-1)
    pixel = coverage.nonzero()[:, 0]

    def visible(picture: Tensor) -> Tensor:
        return picture.reshape(-1, len(coverage)).index_select(1, pixel)

    def number(picture: Tensor | None, default: float) -> Tensor:
        missing = coverage.new_full((len(pixel),), default)
        return missing if picture is None else visible(picture)[0].clamp(0, 1)

    rotation = world_rotation(camera, yaw).to(gbuffer.normal)
    view = rotation @ -brdf.unit(visible(pixel_rays(camera).to(coverage)))
    normal = rotation @ brdf.unit(visible(gbuffer.normal))
    away = (MIN_COS_VIEW - (normal * view).sum(0)).clamp(min=0)
    return ShadingPoints(
        pixel=pixel,
        coverage=coverage[pixel],
        normal=brdf.unit(normal + away * view),
        view=view,
        base_color=visible(gbuffer.base_color),
        roughness=number(gbuffer.roughness, DEFAULT_ROUGHNESS),
        metallic=number(gbuffer.metallic, DEFAULT_METALLIC),
        size=gbuffer.size,
    )


def coverage_of(gbuffer: GBuffer) -> Tensor:
    """(1, H, W) how much of each pixel a surface fills: the mask where there is one, and nothing where the normal is
    the zero vector; everything where neither is known."""
    present = torch.ones(1, *gbuffer.size)
    if gbuffer.normal is not None:
        present = in_strips(_is_normal, gbuffer.normal[0])
    return present if gbuffer.mask is None else present * gbuffer.mask[0].clamp(0, 1)


def _is_normal(normal: Tensor) -> Tensor:
    return (normal.square().sum(0, keepdim=True) > 0.25).to(normal)


def coverage(gbuffer: GBuffer) -> Tensor:
    """`coverage_of` every frame, (T, 1, H, W)."""
    return torch.stack([coverage_of(gbuffer.frame(index)) for index in range(len(gbuffer))])


def world_rotation(camera: Camera, yaw: float) -> Tensor:
    """(3, 3) camera axes to the axes of a light turned by `yaw` degrees."""
    return yaw_matrix(-yaw) @ camera.pose[0, :3, :3].cpu()


def tangent_frame(normal: Tensor) -> Tensor:
    """(3, 3, N) rows tangent, bitangent, normal in world axes, for unit normals (3, N) (Duff et al. 2017, list. 3)."""
    x, y, z = normal
    sign = torch.where(z < 0, -1.0, 1.0).to(normal.dtype)
    a = -1 / (sign + z)
    b = x * y * a
    tangent = torch.stack((1 + sign * x * x * a, sign * b, -sign * x))
    bitangent = torch.stack((b, sign + y * y * a, -y))
    return torch.stack((tangent, bitangent, normal))


def to_local(frame: Tensor, world: Tensor) -> Tensor:
    """Directions (3, N, ...) from the world to the frames (3, 3, N) of `tangent_frame`."""
    return (frame.reshape(3, 3, -1, *[1] * (world.ndim - 2)) * world[None]).sum(1)


def to_world(frame: Tensor, local: Tensor) -> Tensor:
    """Directions (3, N, ...) from the frames (3, 3, N) of `tangent_frame` to the world."""
    return (frame.reshape(3, 3, -1, *[1] * (local.ndim - 2)) * local[:, None]).sum(0)
