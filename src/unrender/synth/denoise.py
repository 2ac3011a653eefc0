"""The noise of few light paths taken out of a picture by its own G-buffer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from unrender.scene.color import luminance
from unrender.scene.gbuffer import GBuffer

_KERNEL = (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16)
_SHARP = 0.25  # roughness below which a surface shows reflections, which are left as they are


def denoised(pictures: Tensor, gbuffer: GBuffer, levels: int = 2) -> Tensor:
    """Pictures (K, 3, H, W) of one G-buffer (T = 1), smoothed along its surfaces: an edge-avoiding a-trous wavelet
    (Dammertz et al. 2010) on the logarithm of what is left once base colour is divided out. Edges of normals, depth
    and material stop it, and so do differences of light larger than the noise around; mirrors stay as they are."""
    maps = gbuffer.maps
    albedo = maps["base_color"].clamp(min=0.02)
    depth = maps["depth"].nan_to_num(posinf=0.0)
    inverse = torch.where(depth > 0, 1 / depth.clamp(min=1e-6), 0.0)
    guide = torch.cat((4 * maps["normal"], 6 * inverse / inverse.max().clamp(min=1e-6), 3 * maps["mask"]), 1)
    light = torch.log1p(16 * pictures / albedo)
    tone = luminance(light)
    noise = (tone - _shifted_mean(tone, 1)).abs()
    spread = _shifted_mean(noise, 2) + 0.02
    for level in range(levels):
        light = _smoothed(light, guide, spread, 2**level)
    smooth = torch.expm1(light) / 16 * albedo
    keep = ((maps["roughness"] < _SHARP) | (maps["mask"] < 0.999)).float()
    return torch.lerp(smooth, pictures, keep).clamp(min=0)


def _smoothed(light: Tensor, guide: Tensor, spread: Tensor, step: int) -> Tensor:
    total, weights = torch.zeros_like(light), torch.zeros_like(spread)
    tone, reach = luminance(light), 2 * step
    far_light, far_guide = _edged(light, reach), _edged(guide, reach)
    for i, across in enumerate(_KERNEL):
        for j, down in enumerate(_KERNEL):
            rows, columns = slice(j * step, j * step + light.shape[2]), slice(i * step, i * step + light.shape[3])
            there = far_light[..., rows, columns]
            apart = (far_guide[..., rows, columns] - guide).square().sum(1, keepdim=True)
            other = (luminance(there) - tone) / (3 * spread)
            weight = across * down * torch.exp(-apart * 8 - other.square())
            total, weights = total + weight * there, weights + weight
    return total / weights.clamp(min=1e-6)


def _shifted_mean(values: Tensor, radius: int) -> Tensor:
    side = 2 * radius + 1
    return torch.nn.functional.avg_pool2d(_edged(values, radius), side, stride=1)


def _edged(values: Tensor, by: int) -> Tensor:
    return pad(values, (by, by, by, by), mode="replicate")
