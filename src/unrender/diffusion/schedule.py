"""The noise schedule: the betas and the timesteps of diffusers' DDIM, to the last bit, and the clean-latent formulas.

diffusers itself is held against it (`tests/test_diffusion_schedule.py`), and is not imported: that takes seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from unrender.diffusion.card import Prediction, ScheduleCard
from unrender.errors import UserError


@dataclass(frozen=True)
class NoiseSchedule:
    """How much signal is left at each timestep.

    Attributes:
        alphas_cumprod: (T,) float64, the squared share of signal at each timestep.
        final_alpha: the share after the last step, 1 or alphas_cumprod[0] (diffusers' `set_alpha_to_one`).
        card: what it was made from.
    """

    alphas_cumprod: Tensor
    final_alpha: float
    card: ScheduleCard

    def timesteps(self, steps: int) -> tuple[int, ...]:
        """The timesteps of a walk of `steps` steps, noisiest first."""
        return tuple(int(t) for t in _timesteps(self.card, steps))

    def alpha(self, timestep: int) -> float:
        """The share of signal at `timestep`."""
        return float(self.alphas_cumprod[timestep])

    def previous(self, timestep: int, steps: int) -> float:
        """The share of signal after the step at `timestep` of a walk of `steps` steps."""
        earlier = timestep - self.card.train_steps // steps
        return float(self.alphas_cumprod[earlier]) if earlier >= 0 else self.final_alpha


def make_schedule(card: ScheduleCard) -> NoiseSchedule:
    """The schedule that `card` describes."""
    betas = _betas(card)
    if card.zero_terminal_snr:
        betas = _without_signal_at_the_end(betas)
    alphas = torch.cumprod(1 - betas, dim=0)
    return NoiseSchedule(alphas.double(), 1.0 if card.set_alpha_to_one else float(alphas[0]), card)


def predict_clean(output: Tensor, noisy: Tensor, alpha: float, prediction: Prediction) -> Tensor:
    """The clean latent that a network output means, at signal share `alpha` (alpha-bar).

    v:      z0 = sqrt(alpha) z_t - sqrt(1 - alpha) v        (Salimans & Ho 2022, appendix D)
    eps:    z0 = (z_t - sqrt(1 - alpha) eps) / sqrt(alpha)  (Ho et al. 2020, eq. 15)
    sample: z0 is the output.
    """
    if prediction == "sample":
        return output
    signal, noise = alpha**0.5, (1 - alpha) ** 0.5
    if prediction == "v_prediction":
        return signal * noisy - noise * output
    return (noisy - noise * output) / signal


def step_towards(clean: Tensor, noisy: Tensor, alpha: float, next_alpha: float) -> Tensor:
    """Deterministic DDIM step: the latent at signal share `next_alpha`, with the noise that `clean` leaves in `noisy`
    (Song et al. 2021, eq. 12 with eta = 0)."""
    residual = (noisy - alpha**0.5 * clean) / (1 - alpha) ** 0.5
    return next_alpha**0.5 * clean + (1 - next_alpha) ** 0.5 * residual


def add_noise(clean: Tensor, noise: Tensor, alpha: float | Tensor) -> Tensor:
    """z_t = sqrt(alpha) z_0 + sqrt(1 - alpha) noise (Ho et al. 2020, eq. 4)."""
    return alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise


def training_target(clean: Tensor, noise: Tensor, alpha: Tensor, prediction: Prediction) -> Tensor:
    """What the network should answer on `add_noise(clean, noise, alpha)`: the noise, the sample, or
    v = sqrt(alpha) noise - sqrt(1 - alpha) z_0 (Salimans & Ho 2022, appendix D)."""
    if prediction == "sample":
        return clean
    return noise if prediction == "epsilon" else alpha**0.5 * noise - (1 - alpha) ** 0.5 * clean


def _betas(card: ScheduleCard) -> Tensor:
    """(T,) float32, the share of variance that each timestep adds."""
    count = card.train_steps
    if card.beta_schedule == "scaled_linear":
        return torch.linspace(card.beta_start**0.5, card.beta_end**0.5, count, dtype=torch.float32) ** 2
    if card.beta_schedule == "linear":
        return torch.linspace(card.beta_start, card.beta_end, count, dtype=torch.float32)
    if card.beta_schedule == "squaredcos_cap_v2":  # Nichol & Dhariwal 2021, eq. 17
        signal = [math.cos((t / count + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(count + 1)]
        return torch.tensor([min(1 - b / a, 0.999) for a, b in pairwise(signal)])
    raise UserError(
        f"card: no beta schedule {card.beta_schedule!r}; scaled_linear, linear or squaredcos_cap_v2 is right"
    )


def _without_signal_at_the_end(betas: Tensor) -> Tensor:
    """Betas (T,) rescaled so that the last timestep is pure noise (Lin et al. 2024, algorithm 1)."""
    root = torch.cumprod(1 - betas, dim=0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    signal = ((root - last) * (first / (first - last))) ** 2
    return 1 - torch.cat((signal[:1], signal[1:] / signal[:-1]))


def _timesteps(card: ScheduleCard, steps: int) -> np.ndarray:
    """(steps,) whole timesteps, noisiest first (Lin et al. 2024, table 2)."""
    if steps > card.train_steps:
        raise UserError(f"{steps} steps of a schedule of {card.train_steps} timesteps; at most as many are right")
    if card.spacing == "linspace":
        return np.linspace(0, card.train_steps - 1, steps).round()[::-1].astype(np.int64)
    if card.spacing == "leading":
        return (np.arange(steps) * (card.train_steps // steps))[::-1].astype(np.int64) + card.steps_offset
    return np.round(np.arange(card.train_steps, 0, -card.train_steps / steps)).astype(np.int64) - 1
