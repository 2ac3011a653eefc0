"""The loss of a video model on noised truth, at log-normal noise levels."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.diffusion.sampler import Network
from unrender.train.loop import BatchSpec

MEAN, DEVIATION = 0.7, 1.6
"""Of ln sigma, as Stable Video Diffusion was trained (Blattmann et al. 2023, appendix D)."""


def draw_sigmas(count: int, generator: torch.Generator, mean: float = MEAN, deviation: float = DEVIATION) -> Tensor:
    """(count,) noise levels, one for each window: ln sigma ~ N(mean, deviation^2)."""
    return (torch.randn(count, generator=generator) * deviation + mean).exp()


def denoising_error(
    network: Network, clean: Tensor, frames: int, spec: BatchSpec, levels: tuple[float, float] = (MEAN, DEVIATION)
) -> Tensor:
    """(B x F,) the squared error of the clean latent (DiffusionRenderer, Liang et al. 2025, section 4.2), weighted by
    (1 + sigma^2) / sigma^2 as in EDM (Karras et al. 2022, section 5): which is the error of v, the same at every level.

    Args:
        network: that predicts v, on what conditions it.
        clean: (B x F, C, h, w) latents of windows of `frames`; the frames of a window have one noise level.
        levels: mean and deviation of ln sigma.
    """
    sigma = draw_sigmas(len(clean) // frames, spec.generator(3), *levels).repeat_interleave(frames).to(clean)
    noise = torch.randn(clean.shape, generator=spec.generator(4)).to(clean)
    norm = (1 + sigma**2).sqrt()
    signal, share = (1 / norm)[:, None, None, None], (sigma / norm)[:, None, None, None]
    output = network(signal * clean + share * noise, sigma.log() / 4)
    return (output - (signal * noise - share * clean)).square().mean((1, 2, 3))
