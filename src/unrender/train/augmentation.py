"""Random views of ground truth: mirrored, cropped, augmented. Maps by name, (B, 1 or 3, H, W), scene-linear."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.scene.color import linear_to_srgb, srgb_to_linear

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
    """Augments radiance by a camera model: exposure, white balance, tone curve, blur, noise, 8 bits. Linear in, linear
    out, (B, 3, H, W)."""
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
