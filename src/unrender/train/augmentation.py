"""Random views of ground truth: mirrored, cropped, augmented. Maps by name, (B, 1 or 3, H, W), scene-linear."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unrender.scene.color import linear_to_srgb, luminance, srgb_to_linear

Maps = dict[str, Tensor]


def mirror(maps: Maps, flip: Tensor) -> Maps:
    """Mirrors left to right the pictures where `flip` (B,) is true; the x of their normals changes sign."""
    chosen = flip[:, None, None, None]
    mirrored = {name: torch.where(chosen, values.flip(3), values) for name, values in maps.items()}
    if "normal" in mirrored:
        signs = torch.where(flip, -1.0, 1.0)[:, None, None]
        normal = mirrored["normal"]
        mirrored["normal"] = torch.cat((normal[:, :1] * signs[..., None], normal[:, 1:]), dim=1)
    return mirrored


def crop(maps: Maps, side: int, generator: torch.Generator | None) -> Maps:
    """One random window, at least two thirds of the shorter side, for the whole batch, resized to `side` pixels; the
    centre square, where there is no generator."""
    height, width = maps["rgb"].shape[2:]
    shorter = min(height, width)
    if generator is None:
        window, top, left = shorter, (height - shorter) // 2, (width - shorter) // 2
    else:
        window = max(1, round(shorter * (1 - float(torch.rand((), generator=generator)) ** 2 / 3)))
        top = int(torch.randint(height - window + 1, (), generator=generator))
        left = int(torch.randint(width - window + 1, (), generator=generator))

    def view(values: Tensor) -> Tensor:
        part = values[:, :, top : top + window, left : left + window]
        return torch.nn.functional.interpolate(part, size=(side, side), mode="bilinear", antialias=True)

    cropped = {name: view(values) for name, values in maps.items()}
    if "normal" in cropped:
        cropped["normal"] = torch.nn.functional.normalize(cropped["normal"], dim=1)
    return cropped


def augment(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Augments radiance by a camera model: lens, exposure, white balance, vignette, sensor noise, tone curve, colour,
    sharpening, JPEG. Linear in, linear out, (B, 3, H, W); each picture has a camera of its own.

    As varied as phones and cameras are: a network that has seen one camera takes another one's curve for material.
    """
    camera = _Draws(len(rgb), generator)
    seen = _lens(rgb, camera)
    seen = seen * 2 ** camera.uniform(-1.0, 1.0) * _white_balance(camera) * _vignette(seen, camera)
    encoded = _saturated(_tone_curve(_sensor(seen, camera), camera), camera)
    encoded = _sharpened(encoded, camera)
    pictures = (encoded.clamp(0, 1) * 255).round().byte()
    return srgb_to_linear(_jpeg(pictures, camera).float() / 255)


@dataclass(frozen=True)
class _Draws:
    """Random numbers for each of `count` pictures."""

    count: int
    generator: torch.Generator

    def uniform(self, low: float, high: float, channels: int = 1) -> Tensor:
        """(B, channels, 1, 1) between two bounds."""
        return low + (high - low) * torch.rand((self.count, channels, 1, 1), generator=self.generator)

    def chance(self, share: float) -> Tensor:
        """(B, 1, 1, 1) 1 for about a `share` of the pictures, 0 for the others."""
        return (self.uniform(0, 1) < share).float()

    def noise(self, like: Tensor) -> Tensor:
        """Unit Gaussian noise."""
        return torch.randn(like.shape, generator=self.generator)


def _lens(rgb: Tensor, camera: _Draws) -> Tensor:
    """Blur of a third of the pictures: two box filters, of a radius up to 1 % of the side."""
    blurred, side = rgb, min(rgb.shape[2:])
    radius = max(1, round(0.012 * side * float(camera.uniform(0, 1)[0])))
    for _ in range(2):
        padded = functional.pad(blurred, (radius,) * 4, mode="replicate")
        blurred = functional.avg_pool2d(padded, 2 * radius + 1, stride=1)
    return torch.lerp(rgb, blurred, camera.chance(0.35) * camera.uniform(0.3, 1.0))


def _white_balance(camera: _Draws) -> Tensor:
    """Gains (B, 3, 1, 1): a colour temperature that is off, and a tint."""
    warm, tint = camera.uniform(-0.3, 0.3), camera.uniform(-0.08, 0.08)
    return 2 ** torch.cat((warm, tint, -warm), dim=1)


def _vignette(rgb: Tensor, camera: _Draws) -> Tensor:
    y, x = (torch.linspace(-1, 1, count) for count in rgb.shape[2:])
    return 1 - camera.chance(0.3) * camera.uniform(0, 0.4) * (x[None] ** 2 + y[:, None] ** 2)[None, None] / 2


def _sensor(seen: Tensor, camera: _Draws) -> Tensor:
    """Photon noise, which grows with light, and that of reading; in some pictures as coarse as two pixels."""
    shot, read = camera.uniform(0, 1) ** 2 * 0.03, camera.uniform(0, 1) ** 2 * 0.02
    fine = camera.noise(seen)
    coarse = functional.avg_pool2d(functional.pad(fine, (0, 1, 0, 1), mode="replicate"), 2, stride=1) * 2
    grain = torch.where(camera.chance(0.4) > 0, coarse, fine)
    return (seen + grain * (shot * seen.clamp(min=0).sqrt() + read * seen.clamp(0.02, 1))).clamp(min=0)


def _tone_curve(seen: Tensor, camera: _Draws) -> Tensor:
    """Display codes: between a sensor's hard clip and a film's shoulder, with a contrast and a lift of their own."""
    soft = seen * (1 + seen / 4) / (1 + seen) * 1.4
    code = linear_to_srgb(torch.lerp(seen, soft, camera.uniform(0, 1)).clamp(0, 1)) ** camera.uniform(0.75, 1.3)
    curved = code * code * (3 - 2 * code)
    code = torch.lerp(code, curved, camera.uniform(-0.35, 0.7))
    lift = camera.chance(0.25) * camera.uniform(0, 0.06)
    return lift + (1 - lift) * code.clamp(0, 1)


def _saturated(code: Tensor, camera: _Draws) -> Tensor:
    grey = luminance(code)
    return (grey + (code - grey) * camera.uniform(0.75, 1.3)).clamp(0, 1)


def _sharpened(code: Tensor, camera: _Draws) -> Tensor:
    padded = functional.pad(code, (1, 1, 1, 1), mode="replicate")
    detail = code - functional.avg_pool2d(padded, 3, stride=1)
    return code + camera.chance(0.4) * camera.uniform(0, 1.2) * detail


def _jpeg(pictures: Tensor, camera: _Draws) -> Tensor:
    """(B, 3, H, W) bytes after JPEG of a quality from 35 to 95, two thirds of them."""
    coded, quality = camera.chance(0.66).flatten(), camera.uniform(35, 95).flatten()
    after = pictures.clone()
    for index in coded.nonzero().flatten().tolist():
        stored = BytesIO()
        Image.fromarray(pictures[index].permute(1, 2, 0).numpy()).save(stored, "JPEG", quality=int(quality[index]))
        after[index] = torch.from_numpy(np.array(Image.open(stored, formats=("JPEG",)))).permute(2, 0, 1)
    return after
