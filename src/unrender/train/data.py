"""Training pictures: ground truth in memory, random views of it that depend on nothing but the seed and the step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.codec import relative_depth
from unrender.errors import UserError
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.gbuffer import GBuffer

TARGETS = ("base_color", "normal", "depth", "roughness", "metallic", "mask")


@dataclass(frozen=True)
class Stills:
    """Ground truth of N stills of one size, float16, in memory.

    Attributes:
        rgb: (N, 3, H, W) linear photo, exposed for display.
        maps: each of `TARGETS`, (N, 1 or 3, H, W); depth is relative, see `codec.relative_depth`.
    """

    rgb: Tensor
    maps: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True)
class Batch:
    """A batch of photos (B, 3, H, W), linear, and the maps (B, 1 or 3, H, W) behind them."""

    rgb: Tensor
    maps: dict[str, Tensor]


def load_stills(gbuffers: Iterable[GBuffer]) -> Stills:
    """Gathers G-buffers that carry `rgb` and all `TARGETS`; every frame is a still.

    Raises:
        UserError: there are none, or a map is missing.
    """
    rgb: list[Tensor] = []
    maps: dict[str, list[Tensor]] = {name: [] for name in TARGETS}
    for gbuffer in gbuffers:
        gbuffer.require("rgb", *TARGETS, by="training")
        rgb.append(gbuffer.maps["rgb"].half())
        for name in TARGETS:
            values = gbuffer.maps[name]
            maps[name].append((relative_depth(values, gbuffer.maps["mask"]) if name == "depth" else values).half())
    if not rgb:
        raise UserError("no training pictures; give a folder that `unrender synth` has written")
    return Stills(torch.cat(rgb), {name: torch.cat(parts) for name, parts in maps.items()})


def draw_batch(stills: Stills, size: int, count: int, seed: int, step: int) -> Batch:
    """The batch of one step: each step's pictures and views follow from (seed, step) alone, so that a run that was
    killed goes on with the same ones. Pictures are `size` x `size`."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    index = torch.randint(len(stills), (count,), generator=generator)
    rgb = stills.rgb[index].float()
    maps = {name: values[index].float() for name, values in stills.maps.items()}
    flip = torch.rand(count, generator=generator) < 0.5
    rgb, maps = _mirror(rgb, maps, flip)
    rgb, maps = _crop(rgb, maps, size, generator)
    return Batch(_photographed(rgb, generator), maps)


def _mirror(rgb: Tensor, maps: dict[str, Tensor], flip: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Mirrors the chosen pictures left to right; the x of their normals changes sign."""
    chosen = flip[:, None, None, None]
    mirrored = {name: torch.where(chosen, values.flip(3), values) for name, values in maps.items()}
    signs = torch.where(flip, -1.0, 1.0)[:, None, None]
    mirrored["normal"] = torch.cat((mirrored["normal"][:, :1] * signs[..., None], mirrored["normal"][:, 1:]), dim=1)
    return torch.where(chosen, rgb.flip(3), rgb), mirrored


def _crop(
    rgb: Tensor, maps: dict[str, Tensor], size: int, generator: torch.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """One random window, at least two thirds of the side, for the whole batch, brought to `size`."""
    side = rgb.shape[2]
    share = 1 - float(torch.rand((), generator=generator)) ** 2 / 3
    window = max(1, round(side * share))
    top, left = (int(torch.randint(side - window + 1, (), generator=generator)) for _ in range(2))

    def view(values: Tensor) -> Tensor:
        part = values[:, :, top : top + window, left : left + window]
        return torch.nn.functional.interpolate(part, size=(size, size), mode="bilinear", antialias=True)

    cropped = {name: view(values) for name, values in maps.items()}
    cropped["normal"] = torch.nn.functional.normalize(cropped["normal"], dim=1)
    return view(rgb), cropped


def _photographed(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """What a camera makes of light: exposure, white balance, tone curve, blur, noise, 8 bits. Linear in, linear out."""
    count = len(rgb)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand((count, *shape, 1, 1), generator=generator)

    seen = rgb * 2 ** uniform(-0.7, 0.7, 1) * 2 ** uniform(-0.15, 0.15, 3)
    # Between the hard clip of a sensor and a filmic shoulder.
    soft = seen * (1 + seen / 4) / (1 + seen)
    seen = torch.lerp(seen, soft * 1.4, uniform(0, 1, 1)).clamp(0, 1)
    encoded = linear_to_srgb(seen) ** uniform(0.8, 1.25, 1)
    if float(torch.rand((), generator=generator)) < 0.3:
        small = torch.nn.functional.interpolate(encoded, scale_factor=0.6, mode="bilinear", antialias=True)
        encoded = torch.nn.functional.interpolate(small, size=encoded.shape[2:], mode="bilinear")
    noisy = encoded + torch.randn(encoded.shape, generator=generator) * uniform(0, 0.03, 1)
    return srgb_to_linear((noisy.clamp(0, 1) * 255).round() / 255)
