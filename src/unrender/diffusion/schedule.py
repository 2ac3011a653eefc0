"""The noise schedule: diffusers' DDIM for the betas and the timesteps, the clean-latent formulas written out here."""

from __future__ import annotations

from dataclasses import dataclass

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from unrender.diffusion.card import Prediction, ScheduleCard


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
        scheduler = _scheduler(self.card)
        scheduler.set_timesteps(steps)
        return tuple(int(t) for t in scheduler.timesteps)

    def alpha(self, timestep: int) -> float:
        """The share of signal at `timestep`."""
        return float(self.alphas_cumprod[timestep])

    def previous(self, timestep: int, steps: int) -> float:
        """The share of signal after the step at `timestep` of a walk of `steps` steps."""
        earlier = timestep - self.card.train_steps // steps
        return float(self.alphas_cumprod[earlier]) if earlier >= 0 else self.final_alpha


def make_schedule(card: ScheduleCard) -> NoiseSchedule:
    """The schedule that `card` describes."""
    scheduler = _scheduler(card)
    return NoiseSchedule(scheduler.alphas_cumprod.double(), float(scheduler.final_alpha_cumprod), card)


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


def _scheduler(card: ScheduleCard) -> DDIMScheduler:
    return DDIMScheduler(
        num_train_timesteps=card.train_steps,
        beta_start=card.beta_start,
        beta_end=card.beta_end,
        beta_schedule=card.beta_schedule,
        clip_sample=False,
        set_alpha_to_one=card.set_alpha_to_one,
        steps_offset=card.steps_offset,
        prediction_type=card.prediction,
        timestep_spacing=card.spacing,
        rescale_betas_zero_snr=card.zero_terminal_snr,
    )
