"""The walk from noise to a clean latent, in one step or in many. Training takes the same step as inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.card import Concatenation
from unrender.diffusion.schedule import NoiseSchedule, predict_clean, step_towards

Network = Callable[[Tensor, int, Tensor], Tensor]
"""(input (B, C, h, w), timestep, tokens (B, N, D)) -> output (B, C', h, w)."""


@dataclass(frozen=True)
class Condition:
    """What a walk is told.

    Attributes:
        photo: (B, C, h, w) the photo's latent.
        tokens: (B, N, D) cross-attention tokens: prompt embeddings, or one learned "empty" token.
        order: whether the photo or the noisy target comes first in the network's input.
    """

    photo: Tensor
    tokens: Tensor
    order: Concatenation


def denoise(network: Network, schedule: NoiseSchedule, condition: Condition, noise: Tensor, steps: int) -> Tensor:
    """Deterministic DDIM from `noise` (B, C', h, w) to the clean latent, (B, C', h, w); differentiable.

    With one step and trailing spacing the network is evaluated once, at t = T - 1, on pure noise: the single-step
    inverse rendering of E2E-FT (Martin Garcia et al. 2025, section 3). The last step gives what the card's
    `final_step` says: the predicted clean latent, or the scheduler's re-noised one.
    """
    latent = noise
    timesteps = schedule.timesteps(steps)
    for index, timestep in enumerate(timesteps):
        pair = (condition.photo, latent) if condition.order == "photo_first" else (latent, condition.photo)
        output = network(torch.cat(pair, dim=1), timestep, condition.tokens)
        alpha = schedule.alpha(timestep)
        clean = predict_clean(output, latent, alpha, schedule.card.prediction)
        if index == len(timesteps) - 1 and schedule.card.final_step == "clean":
            return clean
        latent = step_towards(clean, latent, alpha, schedule.previous(timestep, steps))
    return latent
