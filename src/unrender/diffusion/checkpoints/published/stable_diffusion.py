"""Stable Diffusion: pictures from words (Rombach et al., CVPR 2022). Reference: diffusers.

2.1 predicts v at 768 pixels, 2.1-base the noise at 512. A folder in the layout that is neither of these says the same
of itself in its own files (`stable_diffusion_card`): any fine-tuned model is read, Stable Diffusion 1 too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from unrender.diffusion.card import (
    Grouping,
    Guidance,
    Identity,
    LatentsCard,
    MapCodec,
    MapsCard,
    ModelCard,
    Prediction,
    SamplingCard,
    ScheduleCard,
    SizeRule,
    Source,
    TargetPicture,
    TextPrompt,
)
from unrender.errors import UserError
from unrender.files.tables import read_table

PICTURE = (TargetPicture("rgb", (MapCodec("rgb", transfer="srgb"),)),)
GUIDANCE = Guidance(text=7.5, image=1.0)
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_PIPELINE = "StableDiffusionPipeline"


def _card(identity: Identity, side: int, schedule: ScheduleCard, latents: LatentsCard, multiple: int = 64) -> ModelCard:
    return ModelCard(
        identity,
        task="text_to_image",
        # What is made is seen on a display, and resized there.
        maps=MapsCard(PICTURE, (), SizeRule(long_side=side, multiple=multiple, min_side=multiple, space="encoded")),
        latents=latents,
        conditioning=(TextPrompt(padded=True),),
        sampling=SamplingCard(schedule, "gaussian", GUIDANCE, Grouping(shared_noise="none")),
    )


def _published(name: str, side: int, prediction: Prediction, description: str) -> ModelCard:
    repository = f"sd2-community/{name}"
    identity = Identity(repository, "Stable Diffusion", "OpenRAIL++-M", True, Source(repository), description)
    return _card(identity, side, ScheduleCard(prediction, "leading", steps=50), LatentsCard())


STABLE_DIFFUSION = (
    _published("stable-diffusion-2-1", 768, "v_prediction", "words to picture, 768 pixels (mirror)"),
    _published("stable-diffusion-2-1-base", 512, "epsilon", "words to picture, 512 pixels (mirror)"),
)
"""From a mirror: the original repositories were removed in 2025."""


def stable_diffusion_card(folder: Path) -> ModelCard | None:
    """The card of a folder in Stable Diffusion's layout, as its own files say it; None for any other folder.

    Raises:
        UserError: it is one, and a file of it is missing or says what cannot be.
    """
    index = folder / "model_index.json"
    if not index.is_file() or read_table(index).get("_class_name") != _PIPELINE:
        return None
    unet, vae, scheduler = (
        _settings(folder / part) for part in ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json")
    )
    channels = int(vae.get("latent_channels", 4))
    ends = unet.get("in_channels", 4), unet.get("out_channels", 4)
    if ends != (channels, channels) or unet.get("class_embed_type"):
        return None  # an inpainting model, or one that was made into something else
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in _PREDICTIONS:
        raise UserError(f"{folder}: its scheduler predicts {prediction}; expected one of {', '.join(_PREDICTIONS)}")
    zero_snr = bool(scheduler.get("rescale_betas_zero_snr", False))
    spacing = "trailing" if zero_snr else "leading"
    factor = 2 ** (len(vae.get("block_out_channels", (0, 0, 0, 0))) - 1)
    multiple = factor * 2 ** (len(unet.get("block_out_channels", (0, 0, 0, 0))) - 1)
    identity = Identity(folder.resolve().name, "Stable Diffusion", description="words to picture")
    return _card(
        identity,
        factor * _side(unet.get("sample_size") or 64),
        ScheduleCard(cast(Prediction, prediction), spacing, zero_terminal_snr=zero_snr, steps=50),
        LatentsCard(channels, float(vae.get("scaling_factor") or 0.18215)),
        multiple,
    )


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path.parents[1]} has no {path.parent.name}/{path.name}; expected Stable Diffusion's layout")
    return read_table(path)


def _side(size: Any) -> int:
    return max(size) if isinstance(size, list) else int(size)
