"""The walk from noise to a clean latent, in one step or in many. Training takes the same step as inference."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from unrender.diffusion.schedule import NoiseSchedule, predict_clean, step_towards

Network = Callable[[Tensor, int | Tensor], Tensor]
"""(noisy latent (B, C, h, w), timestep of all or (B,) of each) -> output (B, C, h, w); what else it is told is in the
network already."""


def denoise(network: Network, schedule: NoiseSchedule, noise: Tensor, steps: int) -> Tensor:
    """Deterministic DDIM from `noise` (B, C, h, w) to the clean latent, (B, C, h, w); differentiable.

    With one step and trailing spacing the network is evaluated once, at t = T - 1, on pure noise: the single-step
    inverse rendering of E2E-FT (Martin Garcia et al. 2025, section 3). The last step gives what the card's
    `final_step` says: the predicted clean latent, or the scheduler's re-noised one. A network that predicts the
    sample itself, in one step, has no step to go back from.
    """
    latent = noise
    timesteps = schedule.timesteps(steps)
    for index, timestep in enumerate(timesteps):
        output = network(latent, timestep)
        alpha = schedule.alpha(timestep)
        clean = predict_clean(output, latent, alpha, schedule.card.prediction)
        if index == len(timesteps) - 1 and schedule.card.final_step == "clean":
            return clean
        latent = step_towards(clean, latent, alpha, schedule.previous(timestep, steps))
    return latent
