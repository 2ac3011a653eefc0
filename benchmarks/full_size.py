"""Full-size networks with random weights, for benchmarks: what they cost does not depend on what they have learned."""

from __future__ import annotations

import platform

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.utils import logging

from unrender.device import Compute
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.architecture import WORDS, build_unet, build_vae
from unrender.diffusion.checkpoints.loader import Checkpoint
from unrender.diffusion.networks.layout import lay_out


def full_size(card: ModelCard, compute: Compute, seed: int = 0) -> Checkpoint:
    """A checkpoint of `card` at its published size, in the precision and layout that the loader gives it."""
    logging.set_verbosity_error()  # of layers that are kept in float32 there are none here
    torch.manual_seed(seed)
    unet, vae = (
        lay_out(network.to(compute.device, compute.dtype), compute.device).eval()
        for network in (build_unet(card), build_vae())
    )
    length = 77 if card.padded_prompts else 2
    tokens = {prompt: torch.randn(length, WORDS) for prompt in card.prompts}
    return Checkpoint(card, unet, vae, tokens)


def scheduler() -> DDIMScheduler:
    """diffusers' scheduler as RGB->X and Marigold v1-1 set it."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


def machine() -> str:
    """One line about where the numbers come from."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{platform.machine()}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}"
