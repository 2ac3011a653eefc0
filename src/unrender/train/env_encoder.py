"""Pre-trains the encoder of environment maps as an autoencoder of their latents, by squared error; the decoder is
dropped (DiffusionRenderer, Liang et al. 2025, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from unrender.conventions import yaw_matrix
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.checkpoints.official import PICTURES
from unrender.diffusion.decoding import Autoencoder, decode, downsampling_factor, encode, is_temporal
from unrender.diffusion.networks.env_encoder import EnvDecoder, EnvEncoder
from unrender.errors import UserError
from unrender.files.shards import Clip
from unrender.scene.encoding import DIFFUSION_RENDERER_SVD, Picture
from unrender.scene.encoding import encode as encode_light
from unrender.scene.environment import EnvironmentMap
from unrender.train.base import FULL
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.sheets import sheet
from unrender.train.vae import WEIGHTS_FILE, load_autoencoder
from unrender.train.video_data import LIGHT_SIZE
from unrender.train.video_start import SMALL_GROUPS, SMALL_LEVELS

STOPS = 3.0
"""Lights are made brighter or darker by up to so many stops."""


@dataclass(frozen=True)
class EnvRecipe:
    """Attributes:
    config: how long and how fast; the side of a stage is that of the pictures of a light.
    levels: widths of the encoder, as wide as the levels of the renderer that will attend to it.
    heads: of the decoder's attention at each level.
    residual_blocks: a level.
    groups: of group normalisation.
    pictures: of a light, that it sees; the others are left out of it, and of all models that attend to it.
    autoencoder: the folder of `unrender train vae`, or else
    model: a model folder whose VAE it is.
    """

    config: TrainConfig = field(default_factory=lambda: TrainConfig(steps=48000, stages=(Stage(1.0, 512, 4),), lr=1e-4))
    levels: tuple[int, ...] = (320, 640, 1280, 1280)
    heads: tuple[int, ...] = (5, 10, 20, 20)
    residual_blocks: int = 2
    groups: int = 32
    pictures: tuple[Picture, ...] = ("ldr", "log", "direction")
    autoencoder: str | None = None
    model: str | None = None


SMALL = EnvRecipe(
    TrainConfig(steps=3000, stages=(Stage(1.0, 64, 8),), lr=1e-3, warmup=50, ema_decay=0.99),
    SMALL_LEVELS,
    heads=(2, 4, 4),
    residual_blocks=1,
    groups=SMALL_GROUPS,
)
SMOKE = replace(
    SMALL,
    config=TrainConfig(steps=4, stages=(Stage(1.0, 32, 2),), warmup=1, ema_decay=0.5, save_every=2, validate_every=0),
)
RECIPES = {"paper": EnvRecipe(), "small": SMALL, "smoke": SMOKE}
"""None is measured. `paper` takes the 48,000 steps that the published checkpoint's name says, at 512 x 512."""


@dataclass(frozen=True)
class EnvTask:
    """The encoder, the decoder, and the lights that they learn from.

    Attributes:
        encoder, decoder: what learns.
        autoencoder, scale: that makes latents of pictures, and what these are multiplied by.
        lights: (3, h, w) radiance each.
        side: of the pictures that validation looks at.
        pictures: of a light, that the encoder sees.
    """

    encoder: EnvEncoder
    decoder: EnvDecoder
    autoencoder: Autoencoder
    scale: float
    lights: Sequence[Tensor]
    side: int
    pictures: tuple[Picture, ...] = ("ldr", "log", "direction")

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """Both, as one: several processes train through one forward call."""
        return {"lights": _Reconstruction(self.encoder, self.decoder)}

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The squared error of the latents of the LDR and of the log picture, of those that the encoder sees."""
        generator = spec.generator(0)
        chosen = torch.randint(len(self.lights), (spec.count,), generator=generator).tolist()
        pictures = [random_picture(self.lights[index], spec.side, generator) for index in chosen]
        latents = self._latents(torch.cat(pictures))
        found = self._found(networks["lights"], latents)
        return {name: (found[name] - latents[name]).square().mean() for name in found}

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """The LDR and log pictures of a few lights, through the VAE alone, above what comes back."""
        pictures = [plain_picture(light, self.side) for light in self.lights[:4]]
        latents = self._latents(torch.cat(pictures))
        found = self._found(self.networks["lights"], latents)
        rows = [self._decoded(one[name]) for name in found for one in (latents, found)]
        return {"lights": sheet([row * 0.5 + 0.5 for row in rows])}

    def export(self, folder: Path) -> None:
        """Writes the encoder, in half precision, as the folder that `--environment` takes."""
        self.encoder.save_config(folder)
        state = {name: value.detach().half().contiguous() for name, value in self.encoder.state_dict().items()}
        safetensors.torch.save_file(state, folder / WEIGHTS_FILE)

    def _found(self, network: nn.Module, latents: dict[str, Tensor]) -> dict[str, Tensor]:
        """What comes back of the radiance pictures that are seen, by name; directions are the question."""
        seen = torch.cat([latents[name] for name in self.pictures], dim=1)
        names = [name for name in self.pictures if name != "direction"]
        return dict(zip(names, network(seen, latents["direction"]).chunk(len(names), dim=1), strict=True))

    def _latents(self, pictures: Tensor) -> dict[str, Tensor]:
        """(B, 9, H, W) pictures to the latents of each of the three, by name."""
        device = next(self.encoder.parameters()).device
        autoencoder: Any = self.autoencoder
        autoencoder.to(device)
        with torch.no_grad():
            parts = zip(DIFFUSION_RENDERER_SVD.channels, pictures.split(3, dim=1), strict=True)
            return {name: encode(autoencoder, part.to(device) * 2 - 1, self.scale) for name, part in parts}

    def _decoded(self, latents: Tensor) -> Tensor:
        parts = latents.split(1) if is_temporal(self.autoencoder) else (latents,)
        return torch.cat([decode(self.autoencoder, part, self.scale) for part in parts])  # ty: ignore[invalid-argument-type]


def lights_of(clips: Iterable[Clip]) -> list[Tensor]:
    """(3, h, w) radiance of every light of clips, brought down to `LIGHT_SIZE` where it is larger.

    Raises:
        UserError: there are none.
    """
    found = [one for clip in clips for one in (clip.light, *(other.light for other in clip.lights))]
    if not found:
        raise UserError("no lights to learn from; give a folder that `unrender synth` has written")
    return [
        light.resized((min(light.size[0], LIGHT_SIZE[0]), min(light.size[1], LIGHT_SIZE[1]))).radiance[0]
        for light in found
    ]


def random_picture(light: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """(1, 9, side, side) the pictures of a light turned at random, seen by a camera that is tilted at random, and
    brighter or darker by up to `STOPS`."""
    yaw, pitch, stops = (torch.rand(3, generator=generator) * 2 - 1).tolist()
    tilt = yaw_matrix(30.0 * pitch)[[1, 0, 2]][:, [1, 0, 2]]  # about X in place of Y
    environment = EnvironmentMap(light[None].float() * 2.0 ** (STOPS * stops))
    return encode_light(environment, DIFFUSION_RENDERER_SVD, (side, side), tilt, yaw=180.0 * yaw).picture


def plain_picture(light: Tensor, side: int) -> Tensor:
    """The same as it is."""
    return encode_light(EnvironmentMap(light[None].float()), DIFFUSION_RENDERER_SVD, (side, side)).picture


def train_env_encoder(recipe: EnvRecipe, lights: Sequence[Tensor], out: Path, report: Report | None = None) -> Path:
    """Trains an encoder of lights; see `loop.run`.

    Args:
        lights: of `lights_of`.

    Raises:
        UserError: `out` holds a run of another recipe, or there is no autoencoder.
    """
    autoencoder, scale = _autoencoder(recipe)
    multiple = downsampling_factor(autoencoder) * 2 ** (len(recipe.levels) - 1)
    for stage in recipe.config.stages:
        if stage.side % multiple:
            levels = f"{len(recipe.levels)} levels"
            raise UserError(f"lights of {stage.side} pixels for {levels}; expected a multiple of {multiple}")
    folder = RunFolder(out)
    folder.claim(recipe)
    torch.manual_seed(recipe.config.seed)
    channels = autoencoder.config["latent_channels"]
    labels = tuple(label for label, name in PICTURES.items() if name in recipe.pictures)
    seen, told = len(labels), len(set(recipe.pictures) - {"direction"})
    blocks, groups = recipe.residual_blocks, recipe.groups
    encoder = EnvEncoder(seen * channels, recipe.levels, blocks, in_labels=labels, norm_num_groups=groups)
    decoder = EnvDecoder(told * channels, recipe.levels, blocks, channels, recipe.heads, groups)
    task = EnvTask(
        encoder,
        decoder,
        autoencoder,
        scale,
        lights,
        recipe.config.stages[-1].side,
        tuple(PICTURES[one] for one in labels),
    )
    return run(task, recipe.config, folder, report)


def _autoencoder(recipe: EnvRecipe) -> tuple[Autoencoder, float]:
    if (recipe.autoencoder is None) == (recipe.model is None):
        raise UserError(
            "the lights' latents need a VAE; expected --autoencoder, of `unrender train vae`, or --start MODEL"
        )
    if recipe.autoencoder is not None:
        autoencoder, scale = load_autoencoder(Path(recipe.autoencoder))
    else:
        checkpoint = load_checkpoint(find(str(recipe.model)), FULL, lora=0.0)
        autoencoder, scale = checkpoint.autoencoder, checkpoint.card.latents.scale
    return autoencoder.requires_grad_(False).eval(), scale


class _Reconstruction(nn.Module):
    """Latents of a light to those that come back."""

    def __init__(self, encoder: EnvEncoder, decoder: EnvDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, latents: Tensor, directions: Tensor) -> Tensor:
        return self.decoder(self.encoder(latents), directions)
