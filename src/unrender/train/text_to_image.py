"""A small text-to-image model from nothing: latent diffusion (Rombach et al. 2022) in Stable Diffusion's layout, its
text encoder learning with its UNet, of synthetic stills and the words for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import safetensors.torch
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor, nn

from unrender.device import Compute
from unrender.diffusion.card import (
    Grouping,
    Guidance,
    Identity,
    LatentsCard,
    MapCodec,
    MapsCard,
    ModelCard,
    SamplingCard,
    ScheduleCard,
    SizeRule,
    TargetPicture,
    TextPrompt,
)
from unrender.diffusion.checkpoints.clip.text_encoder import load_text_encoder
from unrender.diffusion.checkpoints.hub.registry import find
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint
from unrender.diffusion.checkpoints.stable_diffusion import save_stable_diffusion
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.items import make_conditioning, make_network
from unrender.diffusion.latents import decode_latents, encode_pictures
from unrender.diffusion.model import Engine
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.sampler import sample
from unrender.diffusion.schedule import add_noise, discrete_schedule, make_schedule, training_target
from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.synth.captions import SceneWords, caption, vocabulary
from unrender.train.captioned import CaptionedStills, hold_out_captioned
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.mini import LATENT_CHANNELS, identity_init
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.sheets import sheet
from unrender.train.tokenizer import build_tokenizer
from unrender.train.vae import load_autoencoder

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

LATENTS_FILE = "latents.safetensors"

MINI_T2I = ModelCard(
    Identity(
        "mini-t2i",
        "unrender",
        "Apache-2.0",
        True,
        description="small, trained from nothing for two hours on unrender's own synthetic scenes; sketches words: "
        "colours and layout",
    ),
    task="text_to_image",
    maps=MapsCard(
        (TargetPicture("rgb", (MapCodec("rgb", transfer="srgb"),)),),
        inputs=(),
        size=SizeRule(long_side=128, multiple=32, min_side=32, space="encoded"),
    ),
    latents=LatentsCard(LATENT_CHANNELS),
    conditioning=(TextPrompt(padded=True),),
    sampling=SamplingCard(
        ScheduleCard(zero_terminal_snr=True, steps=25, set_alpha_to_one=True),
        "gaussian",
        Guidance(text=3.0, image=1.0, rescale=0.5),
        Grouping(shared_noise="none"),
    ),
)
"""v-prediction down to pure noise: a network that has never seen it makes no picture darker or brighter than grey (Lin
et al. 2024)."""


@dataclass(frozen=True)
class TextToImageRecipe:
    """Attributes:
    config: how long and how fast; small pictures first, where a network learns four times as fast what stands where.
        The last stage is of the stills' own side.
    autoencoder: folder of what `train vae` wrote; it stays as it is.
    widths: channels of each level of the UNet; all levels but the last attend to the text.
    heads: of attention, at every level.
    text_width, text_layers, text_length: of the text encoder, and the tokens that it takes.
    dropout: probability that the text is empty, for guidance (Ho & Salimans 2022).
    start: id or folder of a model to go on from, in place of an autoencoder; its own sizes count then.
    """

    config: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=12000,
            stages=(Stage(0.6, 64, 32), Stage(0.4, 128, 16)),
            lr=6e-4,
            warmup=200,
            ema_decay=0.999,
            precision="no",
            validate_every=500,
        )
    )
    autoencoder: str = ""
    widths: tuple[int, ...] = (48, 72, 96)
    heads: int = 4
    text_width: int = 128
    text_layers: int = 3
    text_length: int = 40
    dropout: float = 0.1
    start: str = ""


SMOKE = TextToImageRecipe(
    TrainConfig(steps=20, stages=(Stage(1.0, 128, 4),), warmup=5, ema_decay=0.9, save_every=10, validate_every=10)
)
RECIPES = {"mini": TextToImageRecipe(), "smoke": SMOKE}


@dataclass(frozen=True)
class TextToImageTask:
    """The networks, the latents of the stills and their words.

    Attributes:
        checkpoint: card, UNet and the autoencoder, which stays as it is.
        encoder, tokenizer: texts to tokens; the encoder learns.
        latents: by the side of pictures, (N, 2, C, h, w) float16, scaled, of each still and of its mirror image.
        words: of each still.
        held_out: stills that validation looks at.
        dropout: see the recipe.
    """

    checkpoint: Checkpoint
    encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    latents: Mapping[int, Tensor]
    words: tuple[SceneWords, ...]
    held_out: CaptionedStills
    dropout: float

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The UNet and the text encoder."""
        return {"unet": self.checkpoint.unet.train(), "text_encoder": self.encoder.train()}

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """The squared error of what the network predicts of noised latents, at a random timestep for each (Ho et al.
        2020, eq. 14, in the card's parametrisation)."""
        index = torch.randint(len(self.words), (spec.count,), generator=spec.generator(0))
        side = torch.randint(2, (spec.count,), generator=spec.generator(1))
        clean = self.latents[spec.side][index, side].float().to(self._device)
        tokens = self._tokens(networks["text_encoder"], self._texts(index, spec))
        schedule = discrete_schedule(self.checkpoint.card.sampling.schedule)  # ty: ignore[invalid-argument-type]
        timestep = torch.randint(len(schedule.alphas_cumprod), (spec.count,), generator=spec.generator(3))
        alpha = schedule.alphas_cumprod[timestep][:, None, None, None].to(clean)
        noise = draw_noise("gaussian", tuple(clean.shape), spec.seed).to(clean)
        engine = self._engine(networks["unet"])
        output = _network(engine, tokens, guided=False)(add_noise(clean, noise, alpha), timestep.to(clean.device))
        target = training_target(clean, noise, alpha, schedule.card.prediction)
        return {"noise": (output.float() - target).square().mean()}

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """Held-out stills above what their captions make, under guidance."""
        shown = self.held_out.part(0, 8)
        with torch.autocast(self._device.type, enabled=False):
            tokens = self._tokens(self.networks["text_encoder"], [caption(words) for words in shown.words])
            engine = self._engine(self.networks["unet"], {"": self._tokens(self.networks["text_encoder"], [""])[0]})
            finest = self.latents[max(self.latents)]
            noise = draw_noise("gaussian", (len(shown), *finest.shape[2:]), 0).to(self._device)
            schedule = make_schedule(self.checkpoint.card.sampling.schedule)
            latents = sample(_network(engine, tokens, guided=True), schedule, noise, schedule.card.steps)
            made = decode_latents(engine, latents)[:, 0]
        rows = shown.shown(torch.arange(len(shown))), made
        return {"pictures": sheet([row.cpu() * 0.5 + 0.5 for row in rows])}

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Writes the model in half precision, in Stable Diffusion's layout."""
        empty = self._tokens(self.encoder.eval(), [""])[0].float().cpu()
        checkpoint = replace(self.checkpoint, tokens={"": empty})
        save_stable_diffusion(checkpoint, self.encoder, self.tokenizer, folder, torch.float16)

    def _texts(self, index: Tensor, spec: BatchSpec) -> list[str]:
        generator = spec.generator(2)
        dropped = torch.rand(len(index), generator=generator) < self.dropout
        said = [caption(self.words[i], generator) for i in index.tolist()]
        return ["" if drop else text for text, drop in zip(said, dropped.tolist(), strict=True)]

    def _tokens(self, encoder: nn.Module, texts: list[str]) -> Tensor:
        length = self.tokenizer.model_max_length
        encoded = self.tokenizer(
            texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
        return encoder(encoded.to(self._device))[0]

    def _engine(self, unet: nn.Module, tokens: dict[str, Tensor] | None = None) -> Engine:
        self.checkpoint.autoencoder.to(self._device)
        checkpoint = replace(self.checkpoint, unet=cast(UNet2DConditionModel, unet), tokens=tokens or {})
        return Engine(checkpoint, Compute(self._device, torch.float32))

    @property
    def _device(self) -> torch.device:
        return next(self.checkpoint.unet.parameters()).device


def train_text_to_image(
    recipe: TextToImageRecipe, stills: CaptionedStills, out: Path, report: Report | None = None
) -> Path:
    """Trains a UNet and a text encoder on the latents of captioned stills; see `loop.run`.

    Raises:
        UserError: `out` holds a run of another recipe, or there is neither an autoencoder nor a model to go on from.
    """
    checkpoint, encoder, tokenizer = _before_training(recipe)
    checkpoint.autoencoder.requires_grad_(False).eval()
    folder = RunFolder(out)
    folder.claim(recipe)
    held_out, rest = hold_out_captioned(stills)
    sides = tuple(dict.fromkeys(stage.side for stage in recipe.config.stages))
    latents = _kept_latents(checkpoint, rest, sides, out / LATENTS_FILE)
    task = TextToImageTask(checkpoint, encoder, tokenizer, latents, rest.words, held_out, recipe.dropout)
    return run(task, recipe.config, folder, report)


def _before_training(recipe: TextToImageRecipe) -> tuple[Checkpoint, CLIPTextModel, CLIPTokenizer]:
    """The networks and the tokenizer that a run begins with: new ones over an autoencoder, or those of a model."""
    if bool(recipe.start) == bool(recipe.autoencoder):
        raise UserError(
            "text-to-image starts from an autoencoder of `train vae`, or goes on from a model; expected one"
        )
    if recipe.start:
        home = find(recipe.start, "text_to_image")
        checkpoint = load_checkpoint(home, Compute(torch.device("cpu"), torch.float32))
        return checkpoint, *load_text_encoder(home)
    autoencoder, scale = load_autoencoder(Path(recipe.autoencoder))
    card = replace(MINI_T2I, latents=replace(MINI_T2I.latents, scale=scale))
    tokenizer = build_tokenizer(vocabulary(), recipe.text_length)
    return Checkpoint(card, build_unet(card, recipe), autoencoder, {}), build_text_encoder(tokenizer, recipe), tokenizer


def build_unet(card: ModelCard, recipe: TextToImageRecipe) -> UNet2DConditionModel:
    """The UNet before training."""
    torch.manual_seed(recipe.config.seed)
    levels = len(recipe.widths)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=card.input_channels,
        out_channels=card.target_channels,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        block_out_channels=recipe.widths,
        layers_per_block=1,
        cross_attention_dim=recipe.text_width,
        attention_head_dim=recipe.heads,  # which diffusers reads as their number
        norm_num_groups=8,
    )
    identity_init(unet)
    return unet


def build_text_encoder(tokenizer: CLIPTokenizer, recipe: TextToImageRecipe) -> CLIPTextModel:
    """CLIP's text encoder, small, before training."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(recipe.config.seed + 1)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.text_width,
            intermediate_size=4 * recipe.text_width,
            projection_dim=recipe.text_width,
            num_hidden_layers=recipe.text_layers,
            num_attention_heads=4,
            max_position_embeddings=recipe.text_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _network(engine: Engine, tokens: Tensor, *, guided: bool):
    targets = engine.card.maps.targets
    inputs = Inputs((0, 0), len(tokens), tokens=tokens)
    return make_network(engine, make_conditioning(engine, targets, None, inputs), guided=guided)


def _kept_latents(
    checkpoint: Checkpoint, stills: CaptionedStills, sides: Sequence[int], path: Path
) -> dict[int, Tensor]:
    """The latents of the stills by their side, from the file in the run's folder where it has those of the same."""
    key = hashlib.sha256(stills.pictures.contiguous().numpy().data)
    for value in checkpoint.autoencoder.state_dict().values():
        key.update(value.contiguous().numpy().data)
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("of") == key.hexdigest():
                return {side: file.get_tensor(str(side)) for side in sides}
    latents = {side: _encoded(checkpoint, stills, side) for side in sides}
    with atomic_write(path) as temporary:
        named = {str(side): values for side, values in latents.items()}
        safetensors.torch.save_file(named, temporary, {"of": key.hexdigest()})
    return latents


@torch.inference_mode()
def _encoded(checkpoint: Checkpoint, stills: CaptionedStills, side: int) -> Tensor:
    """(N, 2, C, h, w) float16, the latents of each still, `side` pixels a side, and of its mirror image."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    engine = Engine(
        replace(checkpoint, autoencoder=cast(AutoencoderKL, checkpoint.autoencoder.to(device))),
        Compute(device, torch.float32),
    )
    found = []
    for index in torch.arange(len(stills)).split(32):
        pictures = stills.shown(index, side)
        both = torch.stack((pictures, pictures.flip(3)), 1).flatten(0, 1)
        found.append(encode_pictures(engine, both).half().cpu().unflatten(0, (-1, 2)))
    return torch.cat(found)
