"""The networks of an official folder as diffusers and transformers load them, 8-bit photos to show them, and unrender
on the same folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from tiny_models import changed
from unrender.diffusion.card import ModelCard
from unrender.diffusion.card.file import write_card
from unrender.diffusion.checkpoints.clip.prompts import prompt_tokens
from unrender.diffusion.options import InferenceOptions
from unrender.inverse.renderer import InverseRenderer
from unrender.scene.color import srgb_to_linear
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

SCALE = 0.18215
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Networks:
    """The parts of a Stable Diffusion model."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler

    def empty_tokens(self) -> torch.Tensor:
        """(1, 2, D): the empty prompt without padding, its start and its end."""
        ids = self.tokenizer("", padding="do_not_pad", return_tensors="pt").input_ids
        assert ids.shape == (1, 2)
        return self.text_encoder(ids)[0]


def tame_decoder(folder: Path, gain: float, bias: tuple[float, float, float]) -> None:
    """Changes the contrast and the mean colour of what a folder's autoencoder decodes."""
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        vae.decoder.conv_out.weight *= gain
        vae.decoder.conv_out.bias += torch.tensor(bias)
    vae.save_pretrained(folder / "vae")


def depth_at_one_end(folder: Path) -> None:
    """Depth is clipped at its far end only: so it shows both that it is clipped, and whether it is stretched."""
    tame_decoder(folder, 0.3, (0.6, 0.6, 0.6))


def normals_of_length(folder: Path) -> None:
    """Normals have a length, as those of trained networks do, and are clipped here and there. Tiny vectors that are
    made unit would blow up the last digits."""
    tame_decoder(folder, 0.4, (0.0, 0.0, 1.0))


@lru_cache
def load_networks(folder: Path, **scheduler) -> Networks:
    """The networks of a folder; `scheduler` is what official code says over the scheduler's file."""
    return Networks(
        UNet2DConditionModel.from_pretrained(folder / "unet"),
        AutoencoderKL.from_pretrained(folder / "vae"),
        CLIPTextModel.from_pretrained(folder / "text_encoder"),
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        DDIMScheduler.from_pretrained(folder / "scheduler", **scheduler),
    )


def load_renderer(
    folder: Path, card: ModelCard, long_side: int | None = None, *, faithful: bool = False
) -> InverseRenderer:
    """The folder read by unrender, in float32, as `card` says, working at `long_side` pixels."""
    renderer = _load(folder, card, faithful)
    size = renderer.card.maps.size
    return with_card(renderer, size=replace(size, long_side=size.long_side if long_side is None else long_side))


@lru_cache
def _load(folder: Path, card: ModelCard, faithful: bool) -> InverseRenderer:
    write_card(card, folder)
    return InverseRenderer.from_pretrained(folder, InferenceOptions(device="cpu", dtype="float32", faithful=faithful))


def with_card(renderer: InverseRenderer, **changes) -> InverseRenderer:
    """The same networks, read by a card that says something else."""
    checkpoint = renderer.engine.checkpoint
    card = changed(checkpoint.card, **changes)
    tokens = prompt_tokens(replace(checkpoint.home, card=card))
    return InverseRenderer(replace(renderer.engine, checkpoint=replace(checkpoint, card=card, tokens=tokens)))


def with_habit(renderer: InverseRenderer, habit: dict) -> InverseRenderer:
    """The same networks, read by a card that differs in one habit: of the card, of its size rule or schedule (names
    and values), of the first map's `codec`, or the `target_order`."""
    card, changes = renderer.card, dict(habit)
    for name, part in (("size", card.maps.size), ("schedule", card.sampling.schedule)):
        if name in changes:
            changes[name] = replace(part, **changes[name])
    if "codec" in changes:
        first = card.maps.targets[0]
        altered = replace(first, maps=(replace(first.maps[0], **changes.pop("codec")),))
        changes["targets"] = (altered, *card.maps.targets[1:])
    if "target_order" in changes:
        changes["targets"] = tuple(card.maps.targets[index] for index in changes.pop("target_order"))
    return with_card(renderer, **changes)


def photo_codes(height: int, width: int, seed: int = 3) -> torch.Tensor:
    """(1, 3, H, W) uint8: an 8-bit picture, smooth with some grain."""
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(1, 3, 6, 6, generator=generator)
    smooth = functional.interpolate(smooth, size=(height, width), mode="bicubic", align_corners=True)
    grain = torch.rand(1, 3, height, width, generator=generator)
    return ((0.75 * smooth + 0.25 * grain).clamp(0, 1) * 255).round().to(torch.uint8)


def as_frames(codes: torch.Tensor) -> Frames:
    """An 8-bit picture as unrender reads it: scene-linear."""
    return Frames(srgb_to_linear(codes / 255))


def scene_referred(codes: torch.Tensor) -> tuple[Frames, torch.Tensor]:
    """A scene-referred picture, far brighter than a display can show, and the sRGB values in [0, 1] that it is shown
    with: nine pixels of ten are below a luminance of 0.6."""
    linear = 40 * srgb_to_linear(codes / 255) ** 2
    luminance = (0.2126 * linear[:, 0] + 0.7152 * linear[:, 1] + 0.0722 * linear[:, 2]).flatten()
    ninth = luminance.sort().values[-(-9 * len(luminance) // 10) - 1]
    shown = (linear * 0.6 / ninth).clamp(0, 1)
    return Frames(linear, hdr=True), srgb_encoded(shown)


def srgb_encoded(linear: torch.Tensor) -> torch.Tensor:
    """Linear values in [0, 1] on the sRGB curve."""
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055)


def resized(picture: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """torchvision's `resize` of a tensor, bilinear, antialiased: integers go through floats, and are rounded."""
    found = functional.interpolate(picture.float(), size=tuple(size), mode="bilinear", antialias=True)
    return found if picture.is_floating_point() else found.round().to(picture.dtype)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) vectors made unit."""
    return vectors / vectors.norm(dim=1, keepdim=True)


def plain_inputs(networks: Networks, codes: torch.Tensor, long_side: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """What unrender shows the network by default, written out: (the photo's latent, the height and width of the content
    on the canvas). Resized as light, whole pixels, its border replicated to a multiple of 8."""
    height, width = codes.shape[2:]
    size = height * long_side // max(height, width), width * long_side // max(height, width)
    linear = resized(srgb_to_linear(codes / 255), size) if long_side else srgb_to_linear(codes / 255)
    encoded = srgb_encoded(linear)
    below, right = -linear.shape[2] % 8, -linear.shape[3] % 8
    shown = functional.pad(encoded * 2 - 1, (0, right, 0, below), mode="replicate")
    return networks.vae.encode(shown).latent_dist.mean * SCALE, (linear.shape[2], linear.shape[3])


def decoded(networks: Networks, latent: torch.Tensor, content: tuple[int, int]) -> torch.Tensor:
    """A picture without its padding."""
    return networks.vae.decode(latent / SCALE).sample[..., : content[0], : content[1]]


def largest_difference(found: GBuffer, expected: dict[str, torch.Tensor]) -> float:
    """Over all maps that are expected."""
    return max(float((found.maps[name] - values).abs().max()) for name, values in expected.items())
