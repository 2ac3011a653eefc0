"""An environment map blurred once for every width of lobe, so that a reflection becomes a look-up.

A lobe that is round about its axis blurs the sphere by a zonal kernel. Such a blur commutes with turns about +Y, so it
is one small matrix (rows x rows) for each frequency of longitude: exact, linear and differentiable in the radiance,
and a few milliseconds once the matrices are known. As in the split sum (Karis 2013, Real Shading in Unreal Engine 4)
the lobe is that of normal incidence, n = v = r; but where Karis weighs D by n . l, here it is D G, as the BRDF has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from unrender.conventions import direction_to_uv
from unrender.forward import brdf
from unrender.scene.environment import resize, sample, texel_directions

ROUGHNESS_STEP = 0.1
LEVELS = 10  # levels 1 to 10 hold roughness 0.1 to 1.0; level 0 is the map itself
STACK_ROWS = 128


@dataclass(frozen=True)
class PrefilteredLight:
    """One frame of light, ready for the split sum.

    Attributes:
        sharp: (3, H, W) the radiance itself, level 0.
        glossy: (3, LEVELS, 128, 256) radiance blurred by the lobes of levels 1 to LEVELS.
        diffuse: (3, 32, 64) irradiance / pi: radiance blurred by the cosine.
    """

    sharp: Tensor
    glossy: Tensor
    diffuse: Tensor

    @classmethod
    def of(cls, radiance: Tensor) -> PrefilteredLight:
        """Blurs (3, H, W) radiance of any size; about 30 ms."""
        middle = resize(radiance[None], (STACK_ROWS, 2 * STACK_ROWS))
        small, tiny = (resize(middle, (rows, 2 * rows))[0] for rows in (64, 32))
        first = _blur(middle[0], _zonal_matrices(1, STACK_ROWS))[None]
        blurred = [_blur(small, _zonal_matrices(level, 64)) for level in range(2, LEVELS + 1)]
        others = resize(torch.stack(blurred), (STACK_ROWS, 2 * STACK_ROWS))
        return cls(radiance, torch.cat((first, others)).transpose(0, 1), _blur(tiny, _zonal_matrices(None, 32)))

    def look_up(self, direction: Tensor, level: Tensor) -> Tensor:
        """Radiance (3, N) of lobes about unit `direction` (3, N) at `level` (N,) in [0, LEVELS]."""
        sharp = sample(self.sharp[None], direction.T)[0]
        below = (1 - level).clamp(min=0)
        return below * sharp + (1 - below) * _sample_stack(self.glossy, direction, level.clamp(min=1) - 1)


def lobe(cos: Tensor, alpha: float) -> Tensor:
    """The specular lobe at normal incidence, unnormalised, at the angle of cosine `cos` from its axis."""
    sin2_half, cos2_half = (1 - cos).clamp(min=0) / 2, (1 + cos) / 2
    distribution = 1 / (sin2_half / alpha**2 + cos2_half) ** 2
    return torch.where(cos > 0, distribution * brdf.smith(cos, cos.new_tensor(alpha)), 0.0)


def level_alpha(level: int) -> float:
    """GGX width of a level >= 1."""
    return max((level * ROUGHNESS_STEP) ** 2, brdf.MIN_ALPHA)


def _blur(radiance: Tensor, matrices: Tensor) -> Tensor:
    """(3, rows, 2 rows) radiance blurred by the kernel of `_zonal_matrices`."""
    frequencies = torch.fft.rfft(radiance, dim=2).permute(2, 1, 0)
    parts = matrices.to(radiance) @ torch.cat((frequencies.real, frequencies.imag), dim=2)
    return torch.fft.irfft(torch.complex(parts[..., :3], parts[..., 3:]).permute(2, 1, 0), n=radiance.shape[2], dim=2)


@cache
def _zonal_matrices(level: int | None, rows: int) -> Tensor:
    """(rows + 1, rows, rows): for each frequency of longitude, what each row of the blurred map takes of each row.

    The kernel is averaged over 2 x 2 points of every source texel and normalised: a constant map stays that constant.
    """
    cos_source = texel_directions((2 * rows, 1))[:, 0, 1]
    cos_target = texel_directions((rows, 1))[:, 0, 1, None, None]
    sin_source, sin_target = torch.sqrt(1 - cos_source**2), torch.sqrt(1 - cos_target**2)
    longitude = (torch.arange(2 * rows) + 0.5) * (math.pi / (2 * rows))
    cos = cos_target * cos_source[:, None] + sin_target * sin_source[:, None] * torch.cos(longitude)
    kernel = (cos.clamp(min=0) if level is None else lobe(cos, level_alpha(level))) * sin_source[:, None]
    half = kernel.reshape(rows, rows, 2, 2 * rows).sum(2)  # longitudes 0 to 180 degrees; the others mirror them
    circle = torch.cat((half, half.flip(2)), dim=2)
    # The points of source column j lie at j - 1/4 and j + 1/4 columns: one ends the pair before, one begins its own.
    kernel = (circle + torch.roll(circle, 1, dims=2))[..., ::2]
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    # Even in longitude, so its spectrum is real.
    return torch.fft.rfft(kernel, dim=2).real.permute(2, 0, 1).contiguous()


def _sample_stack(stack: Tensor, direction: Tensor, level: Tensor) -> Tensor:
    """Trilinear look-up of a stack of maps (C, L, H, W), `level` (N,) in [0, L - 1]: gives (C, N)."""
    levels, width = stack.shape[1], stack.shape[3]
    u, v = direction_to_uv(direction.T)
    padded = torch.cat((stack[..., -1:], stack, stack[..., :1]), dim=3)
    x, z = (u * width + 1) * (2 / (width + 2)) - 1, (2 * level + 1) / levels - 1
    grid = torch.stack((x, v * 2 - 1, z), dim=-1)[None, None, None]
    return functional.grid_sample(padded[None], grid, padding_mode="border", align_corners=False)[0, :, 0, 0]
