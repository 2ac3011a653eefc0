"""Light as a few spherical Gaussians, few enough to be estimated from a picture (DiPIR, Liang et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from unrender.conventions import yaw_matrix
from unrender.errors import UserError
from unrender.scene.environment import EnvironmentMap, texel_directions, texel_solid_angles

FIT_SIZE = (32, 64)
_BLUR = math.pi / FIT_SIZE[0]
_NARROWEST = _BLUR / 2
_FIRST_GRID = (16, 32)
_FIRST_SIGMAS = (0.08, 0.15, 0.25, 0.4, 0.7, 1.2)


@dataclass(frozen=True)
class SphericalGaussians:
    """A sum of N lobes of light, G(v) = amplitude exp(-(1 - v . axis) / sigma^2).

    Attributes:
        amplitude: (N, 3) linear radiance >= 0 at the centre of each lobe.
        axis: (N, 3) unit world directions of the centres.
        sigma: (N,) widths > 0; a narrow lobe falls to 1 / sqrt(e) at sigma radians. Sharpness is 1 / sigma^2.
    """

    amplitude: Tensor
    axis: Tensor
    sigma: Tensor

    def __post_init__(self) -> None:
        count = len(self.sigma)
        if self.sigma.ndim != 1 or self.amplitude.shape != (count, 3) or self.axis.shape != (count, 3):
            raise UserError(
                f"SphericalGaussians of shapes {tuple(self.amplitude.shape)}, {tuple(self.axis.shape)}, "
                f"{tuple(self.sigma.shape)}; expected (N, 3), (N, 3), (N,)"
            )

    def __len__(self) -> int:
        return len(self.sigma)

    def transformed(self, rotation: Tensor) -> SphericalGaussians:
        """The light rotated by `rotation` (3, 3): light from d now comes from R d."""
        return replace(self, axis=self.axis @ rotation.to(self.axis).T)

    def rotated(self, degrees: float) -> SphericalGaussians:
        """The light rotated about +Y by `degrees` (see `conventions`: Yaw)."""
        return self.transformed(yaw_matrix(degrees))


def evaluate(gaussians: SphericalGaussians, direction: Tensor) -> Tensor:
    """Linear radiance from unit world directions (..., 3): (3, ...). Differentiable in all parameters."""
    cosine = direction.reshape(-1, 3) @ gaussians.axis.T
    lobes = torch.exp((cosine - 1) / gaussians.sigma**2)
    return (lobes @ gaussians.amplitude).T.reshape(3, *direction.shape[:-1])


def to_environment(gaussians: SphericalGaussians, size: tuple[int, int]) -> EnvironmentMap:
    """The lobes as a map of (height, width) texels, each taken at its centre; differentiable.

    A lobe narrower than a texel (sigma < pi / height) can fall between the centres.
    """
    directions = texel_directions(size).to(gaussians.axis)
    return EnvironmentMap(evaluate(gaussians, directions)[None], name="spherical Gaussians")


def integral(gaussians: SphericalGaussians) -> Tensor:
    """Flux of every lobe over the whole sphere, (N, 3): 2 pi sigma^2 (1 - exp(-2 / sigma^2)) amplitude."""
    return gaussians.amplitude * _unit_flux(gaussians)


def _unit_flux(gaussians: SphericalGaussians) -> Tensor:
    """Flux of every lobe were its amplitude 1, (N, 1)."""
    square = gaussians.sigma[:, None] ** 2
    return -2 * math.pi * square * torch.expm1(-2 / square)


def fit(light: EnvironmentMap, count: int, steps: int = 400) -> SphericalGaussians:
    """Fits `count` lobes to a light of one frame.

    Starts from matching pursuit (each lobe removes most energy from what is left), then minimises by Adam the squared
    error of radiance and of log(1 + radiance), weighted by solid angle, with the mean radiance brought to 1. Lobes and
    map are compared at `FIT_SIZE`, both blurred by one texel, so that a sun counts with its flux wherever it falls
    between texels; the lobes together have exactly the flux of the light. No lobe gets narrower than 2.8 degrees.
    Deterministic. 16 lobes give the irradiance under each of the built-in maps to 3 % or better on average.

    Raises:
        UserError: for a light of several frames, a black light, or less than one lobe.
    """
    if len(light) != 1:
        raise UserError(f"spherical Gaussians fit one frame of light, not {len(light)}; pass light.frame(i)")
    if count < 1:
        raise UserError(f"{count} spherical Gaussians; expected at least 1")
    weights = texel_solid_angles(FIT_SIZE).to(light.radiance).expand(FIT_SIZE) / (4 * math.pi)
    radiance = light.resized(FIT_SIZE).radiance[0].detach()
    mean = (radiance * weights).sum((1, 2))
    if mean.max() <= 0:
        raise UserError(f"the light {light.name} is black; spherical Gaussians need some light")
    target = _blurred_map(radiance / mean.mean(), weights)
    found = _descend(_first_guess(target, weights, count), target, weights, steps)
    return replace(found, amplitude=found.amplitude * (4 * math.pi * mean / integral(found).sum(0)))


def _descend(start: SphericalGaussians, target: Tensor, weights: Tensor, steps: int) -> SphericalGaussians:
    """The lobes fitted from `start` to a blurred map (3, H, W) of `FIT_SIZE` by gradient descent."""
    directions = texel_directions(FIT_SIZE).to(target)
    spread = (target.square() * weights).sum()
    log_amplitude, axis = start.amplitude.log().requires_grad_(), start.axis.clone().requires_grad_()
    log_excess = (start.sigma - _NARROWEST).log().requires_grad_()

    def lobes() -> SphericalGaussians:
        return SphericalGaussians(
            log_amplitude.exp(), functional.normalize(axis, dim=-1), _NARROWEST + log_excess.exp()
        )

    optimizer = torch.optim.Adam([log_amplitude, axis, log_excess], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        with torch.enable_grad():
            found = evaluate(_blurred_lobes(lobes()), directions)
            linear = ((found - target).square() * weights).sum() / spread
            logarithmic = ((found.log1p() - target.log1p()).square() * weights).sum()
            optimizer.zero_grad()
            (linear + logarithmic).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return lobes()


def _blurred_map(radiance: Tensor, weights: Tensor) -> Tensor:
    """A map (3, H, W) of `FIT_SIZE` convolved with a lobe of width `_BLUR`, its flux kept."""
    directions = texel_directions(FIT_SIZE).reshape(-1, 3).to(radiance)
    kernel = torch.exp((directions @ directions.T - 1) / _BLUR**2) * weights.flatten()
    return (radiance.flatten(1) @ (kernel / kernel.sum(1, keepdim=True)).T).reshape(radiance.shape)


def _blurred_lobes(gaussians: SphericalGaussians) -> SphericalGaussians:
    """The lobes convolved with one of width `_BLUR`: their variances add, their flux stays."""
    wider = replace(gaussians, sigma=(gaussians.sigma**2 + _BLUR**2).sqrt())
    return replace(wider, amplitude=gaussians.amplitude * (_unit_flux(gaussians) / _unit_flux(wider)))


def _first_guess(target: Tensor, weights: Tensor, count: int) -> SphericalGaussians:
    """Lobes for a map (3, H, W) by matching pursuit (Mallat & Zhang 1993).

    Greedily, the lobe that removes most energy from the residual, of all on a grid of directions and widths.
    """
    weights = weights.reshape(-1, 1)
    left = target.reshape(3, -1).T
    axes = texel_directions(_FIRST_GRID).reshape(-1, 3).to(target)
    cosine = axes @ texel_directions(FIT_SIZE).reshape(-1, 3).to(target).T
    lobes = torch.cat([torch.exp((cosine - 1) / sigma**2) for sigma in _FIRST_SIGMAS])
    energy = lobes.square() @ weights
    amplitude, chosen = [], []
    for _ in range(count):
        colors = (lobes @ (left * weights) / energy).clamp(min=0)
        best = int((colors.square() * energy).sum(1).argmax())
        left = left - lobes[best][:, None] * colors[best]
        amplitude.append(colors[best])
        chosen.append(best)
    sigma = target.new_tensor([_FIRST_SIGMAS[i // len(axes)] for i in chosen])
    return SphericalGaussians(torch.stack(amplitude).clamp(min=1e-3), axes[[i % len(axes) for i in chosen]], sigma)
