"""Score distillation: what a text-to-image model would change in a picture, as a gradient for whatever made it.

A picture is encoded, noised to a level t, and the model's answer on it, less that of another reading, is the direction
in which the noised latent should not go:

    SDS  grad = w(t) (eps(z_t, c; guided) - eps) dz_t/dphi                    (Poole et al. 2023, eq. 3)
    LDS  grad = w(t) (eps_adapted(z_t, c) - eps_base(z_t, "")) dz_t/dphi      (DiPIR, Liang et al. 2024, section 3.3)

LDS has no guidance scale and no drawn noise in it: adapters that know the scene, less a base model that knows nothing
of it, are the likelihood ratio of "this scene" itself. Networks of unlike prediction (2.1 predicts v, 2.1-base the
noise) are brought to noise first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from unrender.diffusion.card import ScheduleCard
from unrender.diffusion.checkpoints.clip.text_encoder import embed_prompts
from unrender.diffusion.engine import Engine, load_engine
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.items import make_conditioning, make_network
from unrender.diffusion.latents import encode_pictures
from unrender.diffusion.lora import adapters_off, load_adapters
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.schedule import DiscreteSchedule, add_noise, discrete_schedule, predict_noise
from unrender.errors import UserError

Kind = Literal["lds", "sds"]
Weighting = Literal["variance", "uniform"]


@dataclass(frozen=True)
class DistillationOptions:
    """How a model guides. The defaults are DiPIR's where it states them; the others say why.

    Attributes:
        kind: `lds`, or `sds` for comparison.
        strength: the noisiest level at the first and at the last step, as shares of the schedule; in between it falls
            linearly (DiPIR, over 600 steps).
        least: the cleanest level, as a share of the schedule. DiPIR does not state it; 0.02 is DreamFusion's, below
            which a model sees nothing but the autoencoder's own noise.
        weighting: w(t). DiPIR does not state it; `variance` is DreamFusion's 1 - alpha_t, which keeps clean levels,
            where eps is badly known, from counting most; `uniform` is 1.
        guidance: weight of the text in SDS; 100 is DreamFusion's. LDS has none.
        seed: of levels and noise; step n draws the same whatever came before it.
    """

    kind: Kind = "lds"
    strength: tuple[float, float] = (0.6, 0.3)
    least: float = 0.02
    weighting: Weighting = "variance"
    guidance: float = 100.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not all(0 <= self.least < share <= 1 for share in self.strength):
            first, last = self.strength
            raise UserError(
                f"a strength of {first} to {last} over a least level of {self.least}; "
                "expected shares of the schedule, 0 <= least < strength <= 1"
            )

    def strength_at(self, step: int, steps: int) -> float:
        """The noisiest level at a step of `steps`, as a share of the schedule; that of the last step after it."""
        first, last = self.strength
        return first + (last - first) * min(1.0, step / max(1, steps - 1))


DEFAULT_OPTIONS = DistillationOptions()
DEFAULT_INFERENCE = InferenceOptions(dtype="float32")
"""What guides is the small difference of two answers, which half the digits would drown."""


@dataclass(frozen=True)
class ScoreDistillation:
    """A text-to-image model that guides.

    Attributes:
        engine: the model; its UNet may have adapters, which `lds` takes as the one that knows the scene.
        prompt, empty: (N, D) tokens of what the picture should be, and of the empty text.
        options: see `DistillationOptions`.
    """

    engine: Engine
    prompt: Tensor
    empty: Tensor
    options: DistillationOptions = DEFAULT_OPTIONS

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        prompt: str,
        *,
        adapters: Path | None = None,
        options: DistillationOptions = DEFAULT_OPTIONS,
        inference: InferenceOptions = DEFAULT_INFERENCE,
    ) -> ScoreDistillation:
        """The guidance of an id, or of a folder in Stable Diffusion's layout.

        Args:
            prompt: what the picture should be, as the adapters learnt it ("a photo of a chair in a scene in the style
                of sks rendering").
            adapters: the folder that personalisation wrote; None for none.

        Raises:
            UserError: no such model, one without a text encoder, adapters of another network, or a schedule that is
                none of the DDPM family.
        """
        engine = load_engine(model, "text_to_image", inference, adaptable=True)
        checkpoint, home = engine.checkpoint, engine.checkpoint.home
        _levels(engine)
        if adapters is not None:
            load_adapters(checkpoint.unet, adapters)
        for network in (checkpoint.unet, checkpoint.autoencoder):
            network.requires_grad_(False)
        if home is None:
            raise UserError(f"{engine.card.id} has no text encoder; expected a model folder")
        tokens = embed_prompts(home, [prompt, ""], engine.card.padded_prompts)
        return cls(engine, *tokens, options)

    @property
    def side(self) -> int:
        """The side, in pixels, of the pictures that the model knows."""
        return self.engine.card.maps.size.long_side

    def loss(self, picture: Tensor, step: int, steps: int) -> Tensor:
        """A scalar whose gradient with respect to `picture` is that of the guidance; its value means nothing.

        Args:
            picture: (B, 3, H, W) sRGB display codes brought to [-1, 1], both sides multiples of the card's; a graph
                through it is needed.
            step: of the optimisation, from 0; it chooses the noise, and how much of it.
            steps: of the whole optimisation.
        """
        clean = encode_pictures(self.engine, picture)
        noisy, direction = self.direction(clean, step, steps)
        return (direction * noisy).sum()

    def direction(self, clean: Tensor, step: int, steps: int) -> tuple[Tensor, Tensor]:
        """z_t (B, C, h, w) of clean latents, differentiable, and w(t) (eps - eps') there, without a graph."""
        schedule = _levels(self.engine)
        time, noise = self._drawn(schedule, tuple(clean.shape), (step, steps))
        alpha = schedule.alpha(time)
        noise = noise.to(clean)
        noisy = add_noise(clean, noise, alpha)
        with torch.no_grad():
            difference = self._difference(noisy, noise, time, alpha)
        weight = 1 - alpha if self.options.weighting == "variance" else 1.0
        return noisy, weight * difference

    def _difference(self, noisy: Tensor, noise: Tensor, time: int, alpha: float) -> Tensor:
        conditional = self._noise_of(noisy, self.prompt, time, alpha)
        if self.options.kind == "lds":
            with adapters_off(self.engine.checkpoint.unet):
                return conditional - self._noise_of(noisy, self.empty, time, alpha)
        unconditional = self._noise_of(noisy, self.empty, time, alpha)
        return unconditional + self.options.guidance * (conditional - unconditional) - noise

    def _noise_of(self, noisy: Tensor, tokens: Tensor, time: int, alpha: float) -> Tensor:
        """eps (B, C, h, w), float32, that the network sees in z_t."""
        engine = self.engine
        inputs = Inputs((0, 0), len(noisy), tokens=tokens)
        conditioning = make_conditioning(engine, engine.card.maps.targets, None, inputs)
        output = make_network(engine, conditioning, guided=False)(noisy, time).float()
        prediction = engine.card.sampling.schedule.prediction
        return predict_noise(output, noisy, alpha**0.5, (1 - alpha) ** 0.5, prediction)

    def _drawn(self, schedule: DiscreteSchedule, shape: tuple[int, ...], now: tuple[int, int]) -> tuple[int, Tensor]:
        """The level, uniform between the cleanest and the noisiest of this step, and the noise."""
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + now[0])
        count = len(schedule.alphas_cumprod)
        low = round(self.options.least * (count - 1))
        high = max(low, round(self.options.strength_at(*now) * (count - 1)))
        time = int(torch.randint(low, high + 1, (), generator=generator))
        return time, torch.randn(shape, generator=generator)


def _levels(engine: Engine) -> DiscreteSchedule:
    schedule = engine.card.sampling.schedule
    if not isinstance(schedule, ScheduleCard):
        raise UserError(f"{engine.card.id} has a {schedule.kind} schedule; guidance expected one of the DDPM family")
    return discrete_schedule(schedule)
