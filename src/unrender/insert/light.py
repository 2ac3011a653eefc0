"""Light that can be fitted: spherical Gaussians or free texels; and two lights that are fused to one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.scene import gaussians
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap, mean_radiance, sample, texel_directions, texel_solid_angles
from unrender.scene.gaussians import SphericalGaussians

LIGHT_SIZE = (16, 32)
"""(height, width) in texels of the lights that are fitted."""

LOBES = 24
"""Spherical Gaussians a light. DiPIR does not say how many; of 12 and 24 the latter find the dominant direction of the
shipped lights in 50 steps from a grey start."""

_DARK = 1e-6
_START_SIZE = (8, 16)
_SPREAD = 1.6  # width of the lobes of a lattice, times the root of their number: neighbours overlap to a smooth light
_NARROWEST = 0.1  # radians, half a texel of LIGHT_SIZE: a narrower lobe would fall between two texels


class FittedLight(Protocol):
    """A light that can be fitted."""

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """What an optimiser changes."""
        ...

    def radiance(self) -> Tensor:
        """(3, *LIGHT_SIZE) linear, >= 0; differentiable in the parameters."""
        ...


@dataclass(frozen=True)
class GaussianLight:
    """N spherical Gaussians, 7 numbers each (DiPIR, Liang et al. 2024).

    Attributes:
        log_amplitude: (N, 3).
        axis: (N, 3) of any length.
        log_width: (N,) logarithm of the width beyond the narrowest.
    """

    log_amplitude: Tensor
    axis: Tensor
    log_width: Tensor

    @staticmethod
    def of(light: EnvironmentMap, count: int = LOBES) -> GaussianLight:
        """Starts from a light of one frame: `count` lobes spread evenly over the sphere (a Fibonacci lattice), each as
        bright as the light is there, and of its flux together; a black light starts from a dim grey.

        Evenly spread, some lobe is near wherever the light turns out to be; fitted to the start they would crowd about
        its brightest places, right or wrong.
        """
        if float(light.radiance.max()) <= _DARK:
            light = EnvironmentMap(torch.full((1, 3, *LIGHT_SIZE), 0.1))
        k = torch.arange(count) + 0.5
        y, turn = 1 - 2 * k / count, k * math.pi * (3 - math.sqrt(5))
        across = (1 - y * y).sqrt()
        axis = torch.stack((across * turn.cos(), y, across * turn.sin()), 1)
        amplitude = sample(light.resized(_START_SIZE).radiance.detach(), axis)[0].T.clamp(min=1e-4)
        lobes = SphericalGaussians(amplitude, axis, torch.full((count,), _SPREAD / math.sqrt(count)))
        flux = gaussians.integral(lobes).sum(0)
        amplitude = amplitude * (4 * math.pi * mean_radiance(light)[0] / flux).clamp(min=1e-4)
        return GaussianLight(
            amplitude.log().requires_grad_(), axis.requires_grad_(), (lobes.sigma - _NARROWEST).log().requires_grad_()
        )

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """What an optimiser changes."""
        return self.log_amplitude, self.axis, self.log_width

    @property
    def lobes(self) -> SphericalGaussians:
        """The Gaussians themselves."""
        return SphericalGaussians(
            self.log_amplitude.exp(), functional.normalize(self.axis, dim=-1), _NARROWEST + self.log_width.exp()
        )

    def radiance(self) -> Tensor:
        """(3, *LIGHT_SIZE) linear."""
        return gaussians.to_environment(self.lobes, LIGHT_SIZE).radiance[0]


@dataclass(frozen=True)
class TexelLight:
    """Every texel by itself.

    Attributes:
        raw: (3, *LIGHT_SIZE), whose softplus is the radiance.
    """

    raw: Tensor

    @staticmethod
    def of(light: EnvironmentMap) -> TexelLight:
        """Starts from a light of one frame."""
        start = light.resized(LIGHT_SIZE).radiance[0].detach().clamp(min=1e-3)
        return TexelLight((start + torch.log(-torch.expm1(-start))).requires_grad_())

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """What an optimiser changes."""
        return (self.raw,)

    def radiance(self) -> Tensor:
        """(3, *LIGHT_SIZE) linear."""
        return functional.softplus(self.raw)


def normalised_luminance(radiance: Tensor) -> Tensor:
    """Luminance (H, W) of radiance (3, H, W) whose integral over the sphere is 1."""
    light = luminance(radiance, 0)
    return light / (light * _solid_angles(radiance)).sum().clamp(min=_DARK)


def fuse(foreground: Tensor, shadow: Tensor) -> Tensor:
    """One light (3, H, W) of the one that lights the object and the one that casts its shadow.

    The object's, each texel scaled to the luminance that the shadow's has there: it keeps the object's colours and its
    strength as a whole, which a ratio of shadows says nothing of, and comes from where the shadow's comes from. (DiPIR
    scales "by the relative luminance of the two"; the formula is our reading.)
    """
    if foreground.shape != shadow.shape:
        raise UserError(f"lights of the shapes {tuple(foreground.shape)} and {tuple(shadow.shape)} cannot be fused")
    own, wanted = normalised_luminance(foreground), normalised_luminance(shadow)
    color = foreground / luminance(foreground, 0).clamp(min=_DARK)
    strength = (luminance(foreground, 0) * _solid_angles(foreground)).sum()
    return torch.where(own > _DARK, color * wanted * strength, foreground)


def consistency(foreground: Tensor, shadow: Tensor) -> Tensor:
    """Cross entropy of the lights' normalised luminance, no gradient to the shadow's: DiPIR's L_consistency."""
    wanted = normalised_luminance(shadow).detach()
    return -(wanted * normalised_luminance(foreground).clamp(min=_DARK).log() * _solid_angles(foreground)).sum()


def concentration(shadow: Tensor) -> Tensor:
    """Sum of log(1 + 2 L^2) over texels and channels, weighted by solid angle: DiPIR's L_reg, a Cauchy loss that wants
    few high peaks and little ambient light."""
    return (torch.log1p(2 * shadow.square()) * _solid_angles(shadow)).sum()


def colourfulness(light: Tensor) -> Tensor:
    """How far the colours of a light (3, H, W) are from its mean one: the variance over directions of the logarithms of
    its channels over its luminance, summed, weighted by luminance. 0 of a light of one colour."""
    bright = luminance(light, 0).clamp(min=_DARK)
    weight = normalised_luminance(light) * _solid_angles(light)
    colour = (light.clamp(min=_DARK) / bright).log()
    mean = (colour * weight).sum((1, 2), keepdim=True)
    return ((colour - mean).square() * weight).sum()


def evenness(light: Tensor) -> Tensor:
    """The entropy of the normalised luminance of a light (3, H, W): 0 where it is the same from everywhere; the
    logarithm of a part of the sphere where it is the same from there, and nothing comes from elsewhere."""
    share = normalised_luminance(light)
    return -(share * (4 * math.pi * share).clamp(min=_DARK).log() * _solid_angles(light)).sum()


def sharpened(light: Tensor, power: float) -> Tensor:
    """A light (3, H, W) with its luminance to a `power`, colours kept, as bright on level ground as before."""
    bright = luminance(light, 0)
    raised = light * (bright / bright.mean().clamp(min=_DARK)).clamp(min=1e-4) ** (power - 1)
    before, after = level_radiance(light), level_radiance(raised)
    return raised * (before / after.clamp(min=_DARK))[:, None, None]


def level_radiance(light: Tensor) -> Tensor:
    """The radiance (3,) of level white ground under a light (3, H, W): its irradiance over pi."""
    height = texel_directions((light.shape[-2], light.shape[-1]))[..., 1].to(light)
    return (light * height.clamp(min=0) * _solid_angles(light)).sum((1, 2)) / math.pi


def _solid_angles(radiance: Tensor) -> Tensor:
    return texel_solid_angles((radiance.shape[-2], radiance.shape[-1])).to(radiance)
