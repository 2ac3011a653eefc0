"""A text-to-image model as the start of a renderer: its first layer is widened for more latents, its last one too."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from unrender.device import Compute
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.clip.prompts import prompt_tokens
from unrender.diffusion.checkpoints.hub.cache import snapshots
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.loader import Checkpoint, load_network
from unrender.diffusion.checkpoints.official import refined
from unrender.errors import UserError

FULL = Compute(torch.device("cpu"), torch.float32)

SCALES_BIAS = ("E2E-FT",)
"""Systems whose own training divides the first layer's bias as well; Marigold and its successors keep it."""


def load_base(base: str, card: ModelCard) -> Checkpoint:
    """The networks of a base, widened to what `card` wants, with the card's prompts embedded by its text encoder.

    Args:
        base: a folder in Stable Diffusion 2's layout (unet, vae, text_encoder, tokenizer, scheduler), or a hub id whose
            files are in the hub's cache.

    Raises:
        UserError: it is not on this machine, incomplete, or cannot be widened for `card`.
    """
    location = ModelLocation(card, _folder(base))
    if card.task_numbers:
        raise UserError(f"{card.id} is conditioned on a task vector, for which {base} has no layer; choose another")
    unet = load_network(UNet2DConditionModel, location.component("unet"), FULL)
    widen(unet, card)
    autoencoder = load_network(AutoencoderKL, location.component("vae"), FULL)
    return Checkpoint(refined(card, location), unet, autoencoder, prompt_tokens(location), home=location)


@torch.no_grad()
def widen(unet: UNet2DConditionModel, card: ModelCard) -> None:
    """Gives `unet` the channels that `card` wants, in place.

    The first layer's weights are repeated for every latent that comes in and divided by their number, so that the
    network answers the same latent in all places as the base answers that latent (Marigold, section 3.2; Ke et al.
    2024). Channels that bypass the VAE start from zero weights. The last layer is repeated for every target picture.

    Raises:
        UserError: the base's input or output is not one latent of the card's.
    """
    for what, have in (("takes", unet.conv_in.in_channels), ("gives", unet.conv_out.out_channels)):
        if have != card.latents.channels:
            raise UserError(f"the base {what} {have} channels; expected {card.latents.channels}, a latent of {card.id}")
    pictures = card.target_channels // card.latents.channels
    noisy = 0 if card.sampling.noise == "none" else pictures
    copies = noisy + sum(given.encoded for given in card.maps.inputs)
    first, last = unet.conv_in.state_dict(), unet.conv_out.state_dict()
    copy = first["weight"] / copies
    shown = [copy if given.encoded else _zero_weights(copy, len(given.codec.channels)) for given in card.maps.inputs]
    targets = [copy] * noisy
    parts = [*shown, *targets] if card.latents.order == "inputs_first" else [*targets, *shown]
    bias = first["bias"] / copies if card.identity.system in SCALES_BIAS else first["bias"]
    unet.conv_in = _convolution(torch.cat(parts, dim=1), bias)
    unet.conv_out = _convolution(last["weight"].repeat(pictures, 1, 1, 1), last["bias"].repeat(pictures))
    unet.register_to_config(in_channels=card.input_channels, out_channels=card.target_channels)


def _zero_weights(weight: Tensor, channels: int) -> Tensor:
    return weight.new_zeros(len(weight), channels, *weight.shape[2:])


def _convolution(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """The layer of these weights, (out, in, k, k), that keeps the size of its input."""
    outward, inward, side, _ = weight.shape
    made = nn.Conv2d(inward, outward, side, padding=side // 2)
    made.load_state_dict({"weight": weight, "bias": bias})
    return made


def _folder(base: str) -> Path:
    if Path(base).is_dir():
        return Path(base)
    here = snapshots(base)
    if not here:
        raise UserError(f"no base {base} on this machine; expected a folder in Stable Diffusion 2's layout")
    return here[0]
