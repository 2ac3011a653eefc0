"""Tiny text-to-image models with random weights, in Stable Diffusion's layout, without a word of unrender's own."""

import json
from pathlib import Path
from typing import Any

from official_folders import write_official
from unrender.diffusion.checkpoints.published.stable_diffusion import STABLE_DIFFUSION

CARDS = {card.sampling.schedule.prediction: card for card in STABLE_DIFFUSION}
SIDE = 64
"""Pixels of its pictures: latents of 8 x 8."""


def sd_folder(parent: Path, prediction: str = "v_prediction", name: str = "some-model", **scheduler: Any) -> Path:
    """A folder that predicts `prediction` and says so in its scheduler's file, as Stable Diffusion 2.1 and its base do;
    `scheduler` changes that file."""
    folder = write_official(parent, CARDS[prediction]).rename(parent / name)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": prediction} | scheduler))
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": SIDE // 8}))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "feature_extractor": [None, None],
        "safety_checker": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
