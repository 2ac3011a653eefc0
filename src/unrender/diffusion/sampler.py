"""From noise to a clean latent, in one step or in many. Training takes the same step as inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.schedule import Schedule

Network = Callable[[Tensor, int | float | Tensor], Tensor]
"""(noisy latent (B, C, h, w), time of all or (B,) of each) -> output (B, C, h, w); its conditioning is bound already
(`conditioning.bind`)."""


@dataclass(frozen=True)
class CleanItems:
    """Items that are known: held at t = 0 while the others are denoised, as the given views of a set are.

    Attributes:
        known: (B,) which items.
        latents: (B, C, h, w) theirs; whatever is in the others is ignored.
    """

    known: Tensor
    latents: Tensor

    def put_into(self, latent: Tensor) -> Tensor:
        """`latent` (B, C, h, w) with the known ones in their places."""
        return torch.where(self.known[:, None, None, None], self.latents.to(latent), latent)

    def times(self, time: int | float, clean_time: int | float) -> Tensor:
        """(B,) what the network is conditioned on: `clean_time` for known items, `time` for the others."""
        both = torch.tensor([time, clean_time], device=self.known.device)
        return both[self.known.long()]


def sample(
    network: Network, schedule: Schedule, noise: Tensor, steps: int, clean_items: CleanItems | None = None
) -> Tensor:
    """The clean latent (B, C, h, w) of `steps` deterministic steps from `noise` (B, C, h, w); differentiable.

    With one step and trailing spacing the network is evaluated once, at t = T - 1, on pure noise: the single-step
    inverse rendering of E2E-FT (Martin Garcia et al. 2025, section 3). The last step gives what the card's
    `final_step` says: the predicted clean latent, or the scheduler's re-noised one. A network that predicts the
    sample itself, in one step, has no level to go back from.

    Args:
        clean_items: items that are known and held at t = 0; None for none.
    """
    trajectory = schedule.trajectory(steps)
    latent = trajectory.start(noise)
    for index, time in enumerate(trajectory.times):
        if clean_items is not None:
            latent = clean_items.put_into(latent)
            time = clean_items.times(time, trajectory.clean_time)
        output = network(trajectory.seen(latent, index), time)
        last = index == len(trajectory.times) - 1
        if last and schedule.card.final_step == "clean":
            latent = trajectory.predict_clean(output, latent, index)
        else:
            latent = trajectory.advance(output, latent, index)
    return latent if clean_items is None else clean_items.put_into(latent)
