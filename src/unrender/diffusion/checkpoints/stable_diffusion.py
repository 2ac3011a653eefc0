"""Text-to-image models in Stable Diffusion's layout, written so that diffusers' own pipeline reads them too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch
import torch

from unrender.diffusion.card import ScheduleCard
from unrender.diffusion.checkpoints.clip.network import WEIGHTS
from unrender.diffusion.checkpoints.clip.tokenizer_files import save_tokenizer
from unrender.diffusion.checkpoints.hub.components import MODEL_INDEX
from unrender.diffusion.checkpoints.loader import Checkpoint, save_checkpoint
from unrender.errors import UserError

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTokenizer

_PIPELINE: dict[str, object] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.36.0",
    "requires_safety_checker": False,
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def save_stable_diffusion(
    checkpoint: Checkpoint, encoder: CLIPTextModel, tokenizer: CLIPTokenizer, folder: Path, dtype: torch.dtype
) -> None:
    """Writes a text-to-image model: `unet`, `vae`, `text_encoder`, `tokenizer`, `scheduler`, the pipeline's index, and
    the card.

    Raises:
        UserError: the card's schedule is none of the DDPM family, which the layout cannot say.
    """
    schedule = checkpoint.card.sampling.schedule
    if not isinstance(schedule, ScheduleCard):
        raise UserError(f"a {schedule.kind} schedule in Stable Diffusion's layout; expected one of the DDPM family")
    checkpoint.autoencoder.register_to_config(scaling_factor=checkpoint.card.latents.scale)
    save_checkpoint(checkpoint, folder, dtype)
    encoder.config.save_pretrained(folder / "text_encoder")
    state = {name: value.detach().to(dtype).contiguous() for name, value in encoder.state_dict().items()}
    safetensors.torch.save_file(state, folder / "text_encoder" / f"{WEIGHTS}.safetensors", {"format": "pt"})
    save_tokenizer(tokenizer, folder / "tokenizer")
    (folder / "scheduler").mkdir(exist_ok=True)
    _write(scheduler_config(schedule), folder / "scheduler" / "scheduler_config.json")
    _write(_PIPELINE, folder / MODEL_INDEX)


def scheduler_config(schedule: ScheduleCard) -> dict[str, object]:
    """The settings of diffusers' DDIM scheduler that walks the same levels."""
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": schedule.train_steps,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "beta_schedule": schedule.beta_schedule,
        "prediction_type": schedule.prediction,
        "timestep_spacing": schedule.spacing,
        "rescale_betas_zero_snr": schedule.zero_terminal_snr,
        "steps_offset": schedule.steps_offset,
        "set_alpha_to_one": schedule.set_alpha_to_one,
        "clip_sample": False,
    }


def _write(table: dict[str, object], path: Path) -> None:
    path.write_text(json.dumps(table, indent=2) + "\n")
