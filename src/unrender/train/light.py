"""Training of the network that guesses the light of a picture: `networks.light`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from unrender.diffusion.networks.light import LIGHT_SIZE, SIDE, LightNetwork
from unrender.scene.color import REC709_LUMINANCE, linear_to_srgb
from unrender.scene.environment import texel_directions, texel_solid_angles
from unrender.train.light_data import LightExamples, hold_out_lights
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.sheets import sheet

SHOWN = 12


@dataclass(frozen=True)
class LightRecipe:
    """Attributes:
    config: how long and how fast.
    radiance, irradiance, direction: weights of the losses: of the logarithm of every texel, of the light that falls on
        surfaces of every direction, and of the mean direction that light comes from.
    """

    config: TrainConfig
    radiance: float = 0.25
    irradiance: float = 1.0
    direction: float = 2.0


RECIPES = {
    "mini": LightRecipe(
        TrainConfig(
            steps=1500, stages=(Stage(1.0, SIDE, 32),), lr=1.5e-3, final_lr=0.02, weight_decay=0.05, save_every=500
        )
    ),
    "smoke": LightRecipe(
        TrainConfig(steps=20, stages=(Stage(1.0, SIDE, 4),), lr=1e-3, warmup=5, ema_decay=0.5, save_every=10)
    ),
}
"""Score of `mini`: docs/relight.md."""


def train_light(recipe: LightRecipe, examples: LightExamples, out: Path, report: Report | None = None) -> Path:
    """Trains the network; see `loop.run`.

    Raises:
        UserError: `out` holds a run of another recipe.
    """
    folder = RunFolder(out)
    folder.claim(recipe)
    torch.manual_seed(recipe.config.seed)
    held_out, rest = hold_out_lights(examples)
    return run(LightTask(LightNetwork(), rest, held_out, recipe), recipe.config, folder, report)


@dataclass(frozen=True)
class LightTask:
    """A network that learns to guess lights.

    Attributes:
        network: what learns.
        examples, held_out: what it learns from, and what validation looks at.
        recipe: of the run.
    """

    network: LightNetwork
    examples: LightExamples
    held_out: LightExamples
    recipe: LightRecipe

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The network alone."""
        return {"light": self.network.train()}

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The losses of one batch, by name."""
        generator = spec.generator(0)
        index = torch.randint(len(self.examples), (spec.count,), generator=generator)
        batch = varied(self.examples.take(index), generator)
        answer = networks["light"](batch.rgb, batch.base_color, batch.normal, batch.mask).float()
        weights = (self.recipe.radiance, self.recipe.irradiance, self.recipe.direction)
        named = zip(("radiance", "irradiance", "direction"), light_losses(answer, batch.light), strict=True)
        return {name: weight * loss for weight, (name, loss) in zip(weights, named, strict=True)}

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """Held-out pictures above their lights above the guesses."""
        batch = self.held_out.take(torch.arange(min(SHOWN, len(self.held_out))))
        guess = self.network.eval()(batch.rgb, batch.base_color, batch.normal, batch.mask).exp()
        self.network.train()

        def map_of(light: Tensor) -> Tensor:
            shown = linear_to_srgb(light / (1 + light))
            return functional.interpolate(shown, size=(SIDE // 2, SIDE))

        return {"light": sheet([linear_to_srgb(batch.rgb), map_of(batch.light), map_of(guess)])}

    def export(self, folder: Path) -> None:
        """Writes the network in half precision."""
        self.network.save_config(folder)
        state = {name: value.half() for name, value in self.network.state_dict().items()}
        safetensors.torch.save_file(state, folder / "diffusion_pytorch_model.safetensors")


def varied(batch: LightExamples, generator: torch.Generator) -> LightExamples:
    """The batch, half of it mirrored, with colour channels in another order and light of another colour: all that
    leaves the relation between picture and light as it is."""
    count = len(batch)
    mirrored = (torch.rand(count, generator=generator) < 0.5)[:, None, None, None]
    order = torch.stack([torch.randperm(3, generator=generator) for _ in range(count)])
    tint = 2 ** (0.15 * torch.randn(count, 3, 1, 1, generator=generator))
    row = torch.arange(count)[:, None]

    def turned(values: Tensor) -> Tensor:
        return torch.where(mirrored, values.flip(3), values)

    left = turned(batch.normal) * torch.where(mirrored, torch.tensor([-1.0, 1.0, 1.0])[:, None, None], 1.0)
    rgb, base, light = (turned(values)[row, order] for values in (batch.rgb, batch.base_color, batch.light))
    return LightExamples((rgb * tint).clamp(max=1), base, left, turned(batch.mask), light * tint)


def light_losses(answer: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Errors of lights (B, 3, 8, 16): the mean difference of logarithms of radiance by solid angle; squared differences
    of irradiance, of its logarithm and by its mean; one less the cosine between mean directions, as much as the truth
    has one.

    Args:
        answer: logarithm of radiance.
        truth: radiance.
    """
    directions, area = texel_directions(LIGHT_SIZE).reshape(-1, 3), texel_solid_angles(LIGHT_SIZE).expand(LIGHT_SIZE)
    area = area.reshape(-1)
    guess, truth = answer.flatten(2), truth.flatten(2).clamp(min=1e-3)
    radiance = ((guess - truth.log()).abs() * area).mean() / area.mean()
    falling = (directions @ directions.T).clamp(min=0) * area[:, None] / math.pi
    one, other = guess.exp() @ falling, truth @ falling
    irradiance = ((one + 0.02).log() - (other + 0.02).log()).square().mean()
    irradiance = irradiance + 0.5 * ((one - other) / other.mean((1, 2), keepdim=True)).square().clamp(max=9).mean()

    def mean_direction(light: Tensor) -> tuple[Tensor, Tensor]:
        flux = (light * light.new_tensor(REC709_LUMINANCE)[:, None]).sum(1) * area
        return flux @ directions, flux.sum(1)

    (guessed, _), (true, total) = mean_direction(guess.exp()), mean_direction(truth)
    apart = 1 - functional.cosine_similarity(guessed, true, dim=1)
    return radiance, irradiance, (apart * true.norm(dim=1) / total).mean()
