"""Noise schedules: which noise levels sampling goes through, and the step from one to the next.

Every schedule is written in the variance-preserving form of its latent, z = signal z0 + noise eps, so that one sampler
and one set of formulas serve them all: DDIM over the integer timesteps of DDPM, Euler over Karras sigmas, rectified
flow. `Trajectory` is what another solver has to offer; UniPC keeps the history that it needs in its own.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unrender.diffusion.card import AnySchedule, FlowCard, KarrasCard, Prediction, ScheduleCard
from unrender.errors import UserError


class Trajectory(Protocol):
    """One run through a schedule, noisiest level first."""

    @property
    def times(self) -> Sequence[int | float]:
        """What the network is conditioned on at each step."""
        ...

    @property
    def clean_time(self) -> int | float:
        """What it is conditioned on where a latent is clean."""
        ...

    def start(self, noise: Tensor) -> Tensor:
        """The latent of the noisiest level, of unit Gaussian noise (B, C, h, w)."""
        ...

    def seen(self, latent: Tensor, index: int) -> Tensor:
        """The latent (B, C, h, w) as the network sees it at step `index`."""
        ...

    def predict_clean(self, output: Tensor, latent: Tensor, index: int) -> Tensor:
        """The clean latent (B, C, h, w) that the network's output means at step `index`."""
        ...

    def advance(self, output: Tensor, latent: Tensor, index: int) -> Tensor:
        """The latent (B, C, h, w) of the level after step `index`."""
        ...


class Schedule(Protocol):
    """The noise levels of a card."""

    @property
    def card(self) -> AnySchedule:
        """What it was made from."""
        ...

    def trajectory(self, steps: int) -> Trajectory:
        """A run of `steps` steps."""
        ...


def make_schedule(card: AnySchedule) -> Schedule:
    """The schedule that `card` describes."""
    if isinstance(card, KarrasCard):
        return KarrasSchedule(card)
    return FlowSchedule(card) if isinstance(card, FlowCard) else discrete_schedule(card)


@dataclass(frozen=True)
class Step:
    """One first-order step: the level it starts from and the level it ends at, as shares of signal and noise."""

    time: int | float
    signal: float
    noise: float
    next_signal: float
    next_noise: float


@dataclass(frozen=True)
class FirstOrder:
    """A trajectory of first-order steps: DDIM with eta = 0 (Song et al. 2021, eq. 12), which in the variance-preserving
    form is Euler's method over sigmas too (Karras et al. 2022, algorithm 1).

    Attributes:
        steps: noisiest first.
        prediction: what the network's output is.
        initial: what unit noise is multiplied by at the start.
        clean_time: see `Trajectory`.
    """

    steps: tuple[Step, ...]
    prediction: Prediction
    initial: float = 1.0
    clean_time: int | float = 0

    @property
    def times(self) -> tuple[int | float, ...]:
        """See `Trajectory.times`."""
        return tuple(step.time for step in self.steps)

    def start(self, noise: Tensor) -> Tensor:
        """See `Trajectory.start`."""
        return noise if self.initial == 1 else noise * self.initial

    def seen(self, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.seen`."""
        return latent

    def predict_clean(self, output: Tensor, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.predict_clean`."""
        step = self.steps[index]
        return predict_clean(output, latent, step.signal, step.noise, self.prediction)

    def advance(self, output: Tensor, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.advance`."""
        step, clean = self.steps[index], self.predict_clean(output, latent, index)
        residual = (latent - step.signal * clean) / step.noise
        return step.next_signal * clean + step.next_noise * residual


@dataclass(frozen=True)
class DiscreteSchedule:
    """Integer timesteps over the betas of DDPM: how much signal is left at each.

    Attributes:
        alphas_cumprod: (T,) float64, the squared share of signal at each timestep.
        final_alpha: the share after the last step, 1 or alphas_cumprod[0] (diffusers' `set_alpha_to_one`).
        card: what it was made from.
    """

    alphas_cumprod: Tensor
    final_alpha: float
    card: ScheduleCard

    def timesteps(self, steps: int) -> tuple[int, ...]:
        """The timesteps of `steps` sampling steps, noisiest first."""
        return tuple(int(t) for t in spaced_timesteps(self.card, steps))

    def alpha(self, timestep: int) -> float:
        """The squared share of signal at `timestep`."""
        return float(self.alphas_cumprod[timestep])

    def previous(self, timestep: int, steps: int) -> float:
        """The squared share of signal after the step at `timestep`, of `steps` steps."""
        earlier = timestep - self.card.train_steps // steps
        return float(self.alphas_cumprod[earlier]) if earlier >= 0 else self.final_alpha

    def trajectory(self, steps: int) -> Trajectory:
        """See `Schedule.trajectory`."""
        if self.card.solver == "unipc":
            return UniPC.of(self, steps)
        pairs = [(t, self.alpha(t), self.previous(t, steps)) for t in self.timesteps(steps)]
        return FirstOrder(
            tuple(Step(t, a**0.5, (1 - a) ** 0.5, b**0.5, (1 - b) ** 0.5) for t, a, b in pairs), self.card.prediction
        )


def discrete_schedule(card: ScheduleCard) -> DiscreteSchedule:
    """The schedule of a card of the DDPM family: the numbers of diffusers' DDIM to the last bit
    (`tests/test_diffusion_schedule.py`), without importing it, which takes seconds."""
    betas = make_betas(card)
    if card.zero_terminal_snr:
        betas = rescale_zero_terminal_snr(betas)
    alphas = torch.cumprod(1 - betas, dim=0)
    return DiscreteSchedule(alphas.double(), 1.0 if card.set_alpha_to_one else float(alphas[0]), card)


@dataclass(frozen=True)
class UniPC:
    """The multi-step solver UniPC of second order (Zhao et al. 2023), as diffusers has it.

    Attributes:
        scheduler: diffusers', with the history of this run.
        schedule: the noise levels.
    """

    scheduler: Any
    schedule: DiscreteSchedule
    clean_time: int = 0

    @classmethod
    def of(cls, schedule: DiscreteSchedule, steps: int) -> UniPC:
        """A new run of `steps` steps."""
        from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

        card = schedule.card
        scheduler = UniPCMultistepScheduler(
            num_train_timesteps=card.train_steps,
            beta_start=card.beta_start,
            beta_end=card.beta_end,
            beta_schedule=card.beta_schedule,
            steps_offset=card.steps_offset,
            prediction_type=card.prediction,
            rescale_betas_zero_snr=card.zero_terminal_snr,
            timestep_spacing=card.spacing,
        )
        with warnings.catch_warnings():  # diffusers makes an array of a tensor in a way that numpy 2 warns of
            warnings.simplefilter("ignore", DeprecationWarning)
            scheduler.set_timesteps(steps)
        return cls(scheduler, schedule)

    @property
    def times(self) -> tuple[int, ...]:
        """See `Trajectory.times`."""
        return tuple(int(t) for t in self.scheduler.timesteps)

    def start(self, noise: Tensor) -> Tensor:
        """See `Trajectory.start`."""
        return noise

    def seen(self, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.seen`."""
        return latent

    def predict_clean(self, output: Tensor, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.predict_clean`."""
        alpha = self.schedule.alpha(self.times[index])
        return predict_clean(output, latent, alpha**0.5, (1 - alpha) ** 0.5, self.schedule.card.prediction)

    def advance(self, output: Tensor, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.advance`."""
        return self.scheduler.step(output, self.scheduler.timesteps[index], latent).prev_sample


@dataclass(frozen=True)
class KarrasSchedule:
    """Sigmas of Karras et al. 2022 (eq. 5) in the variance-preserving form: signal = 1 / sqrt(1 + sigma^2), noise =
    sigma / sqrt(1 + sigma^2). The network is conditioned on ln(sigma) / 4 (eq. 7, c_noise)."""

    card: KarrasCard

    def sigmas(self, steps: int) -> tuple[float, ...]:
        """The sigmas of `steps` steps, noisiest first, without the 0 at the end."""
        card = self.card
        low, high = card.sigma_min ** (1 / card.rho), card.sigma_max ** (1 / card.rho)
        ramp = [i / max(1, steps - 1) for i in range(steps)]
        return tuple((high + t * (low - high)) ** card.rho for t in ramp)

    def trajectory(self, steps: int) -> FirstOrder | ExplodingEuler:
        """See `Schedule.trajectory`."""
        sigmas = (*self.sigmas(steps), 0.0)
        if self.card.exploding:
            return ExplodingEuler(torch.tensor(sigmas), self.card.prediction, self.card.spacing == "leading")
        levels = [(1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma)) for sigma in sigmas]
        pairs = zip(sigmas, itertools.pairwise(levels), strict=False)
        taken = tuple(Step(math.log(sigma) / 4, *here, *there) for sigma, (here, there) in pairs)
        # The unscaled latent starts from sqrt(1 + sigma^2) eps where spacing leads, from sigma eps where it trails.
        initial = 1.0 if self.card.spacing == "leading" else taken[0].noise
        return FirstOrder(taken, self.card.prediction, initial, math.log(self.card.sigma_min) / 4)


@dataclass(frozen=True)
class ExplodingEuler:
    """Euler's method over sigmas (Karras et al. 2022, algorithm 1) in the variance-exploding form z = z0 + sigma eps,
    in the order and the single precision of diffusers' scheduler.

    Attributes:
        sigmas: (steps + 1,) float32, noisiest first, 0 at the end.
        prediction: what the network's output is, in the variance-preserving form.
        leading: whether it starts from sqrt(1 + sigma^2) eps.
    """

    sigmas: Tensor
    prediction: Prediction
    leading: bool

    @property
    def times(self) -> tuple[float, ...]:
        """See `Trajectory.times`."""
        return tuple((0.25 * self.sigmas[:-1].log()).tolist())

    @property
    def clean_time(self) -> float:
        """See `Trajectory.clean_time`."""
        return self.times[-1]

    def start(self, noise: Tensor) -> Tensor:
        """See `Trajectory.start`."""
        most = self.sigmas[0]
        return noise * ((most**2 + 1) ** 0.5 if self.leading else most).to(noise)

    def seen(self, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.seen`."""
        return latent / self._norm(latent, index)

    def predict_clean(self, output: Tensor, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.predict_clean`."""
        sigma, norm = self.sigmas[index].to(latent), self._norm(latent, index)
        if self.prediction == "v_prediction":
            return output * (-sigma / norm) + latent / (sigma**2 + 1)
        return output if self.prediction == "sample" else latent - sigma * output

    def advance(self, output: Tensor, latent: Tensor, index: int) -> Tensor:
        """See `Trajectory.advance`."""
        sigma, after = self.sigmas[index].to(latent), self.sigmas[index + 1].to(latent)
        derivative = (latent - self.predict_clean(output, latent, index)) / sigma
        return latent + derivative * (after - sigma)

    def _norm(self, latent: Tensor, index: int) -> Tensor:
        return ((self.sigmas[index] ** 2 + 1) ** 0.5).to(latent)


@dataclass(frozen=True)
class FlowSchedule:
    """Rectified flow: signal = 1 - t, noise = t, for t from 1 to 0 (Lipman et al. 2023), shifted towards noise for
    large pictures (Esser et al. 2024, eq. 23)."""

    card: FlowCard

    def trajectory(self, steps: int) -> FirstOrder:
        """See `Schedule.trajectory`."""
        shift = self.card.shift
        times = [1 - i / steps for i in range(steps + 1)]
        times = [shift * t / (1 + (shift - 1) * t) for t in times]
        pairs = itertools.pairwise(times)
        taken = tuple(Step(t * self.card.train_steps, 1 - t, t, 1 - after, after) for t, after in pairs)
        return FirstOrder(taken, self.card.prediction)


def predict_clean(output: Tensor, noisy: Tensor, signal: float, noise: float, prediction: Prediction) -> Tensor:
    """The clean latent that a network output means, at z = signal z0 + noise eps.

    v:      z0 = signal z - noise v           (Salimans & Ho 2022, appendix D)
    eps:    z0 = (z - noise eps) / signal     (Ho et al. 2020, eq. 15)
    sample: z0 is the output.
    flow:   z0 = z - noise u, of u = eps - z0 (Lipman et al. 2023), where signal + noise = 1
    """
    if prediction == "sample":
        return output
    if prediction == "v_prediction":
        return signal * noisy - noise * output
    return noisy - noise * output if prediction == "flow" else (noisy - noise * output) / signal


def predict_noise(output: Tensor, noisy: Tensor, signal: float, noise: float, prediction: Prediction) -> Tensor:
    """The noise eps that a network output means, at z = signal z0 + noise eps; so that the answers of networks of
    unlike prediction can be compared.

    v:      eps = signal v + noise z          (Salimans & Ho 2022, appendix D)
    eps:    eps is the output.
    sample: eps = (z - signal z0) / noise
    flow:   eps = z + signal u, of u = eps - z0, where signal + noise = 1
    """
    if prediction == "epsilon":
        return output
    if prediction == "v_prediction":
        return signal * output + noise * noisy
    return noisy + signal * output if prediction == "flow" else (noisy - signal * output) / noise


def add_noise(clean: Tensor, noise: Tensor, alpha: float | Tensor) -> Tensor:
    """z_t = sqrt(alpha) z_0 + sqrt(1 - alpha) noise (Ho et al. 2020, eq. 4)."""
    return alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise


def training_target(clean: Tensor, noise: Tensor, alpha: Tensor, prediction: Prediction) -> Tensor:
    """What the network should predict on `add_noise(clean, noise, alpha)`: the noise, the sample, the velocity, or
    v = sqrt(alpha) noise - sqrt(1 - alpha) z_0 (Salimans & Ho 2022, appendix D)."""
    if prediction == "sample":
        return clean
    if prediction == "flow":
        return noise - clean
    return noise if prediction == "epsilon" else alpha**0.5 * noise - (1 - alpha) ** 0.5 * clean


def make_betas(card: ScheduleCard) -> Tensor:
    """(T,) float32, the share of variance that each timestep adds."""
    count = card.train_steps
    if card.beta_schedule == "scaled_linear":
        return torch.linspace(card.beta_start**0.5, card.beta_end**0.5, count, dtype=torch.float32) ** 2
    if card.beta_schedule == "linear":
        return torch.linspace(card.beta_start, card.beta_end, count, dtype=torch.float32)
    if card.beta_schedule == "squaredcos_cap_v2":  # Nichol & Dhariwal 2021, eq. 17
        signal = [math.cos((t / count + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(count + 1)]
        return torch.tensor([min(1 - b / a, 0.999) for a, b in itertools.pairwise(signal)])
    raise UserError(
        f"card: no beta schedule {card.beta_schedule!r}; expected scaled_linear, linear or squaredcos_cap_v2"
    )


def rescale_zero_terminal_snr(betas: Tensor) -> Tensor:
    """Betas (T,) rescaled so that the last timestep is pure noise (Lin et al. 2024, algorithm 1)."""
    root = torch.cumprod(1 - betas, dim=0).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    signal = ((root - last) * (first / (first - last))) ** 2
    return 1 - torch.cat((signal[:1], signal[1:] / signal[:-1]))


def spaced_timesteps(card: ScheduleCard, steps: int) -> np.ndarray:
    """(steps,) whole timesteps, noisiest first (Lin et al. 2024, table 2)."""
    if steps > card.train_steps:
        raise UserError(f"{steps} steps of a schedule of {card.train_steps} timesteps; expected at most as many")
    if card.spacing == "linspace":
        return np.linspace(0, card.train_steps - 1, steps).round()[::-1].astype(np.int64)
    if card.spacing == "leading":
        return (np.arange(steps) * (card.train_steps // steps))[::-1].astype(np.int64) + card.steps_offset
    return np.round(np.arange(card.train_steps, 0, -card.train_steps / steps)).astype(np.int64) - 1
