"""What the training tests train: tiny random ground truth, tiny model folders, trainings of a few steps."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from tiny_models import tiny_card, tiny_checkpoint, tiny_lit_card
from unrender.diffusion.card import InputMap, MapCodec, ModelCard
from unrender.diffusion.checkpoints.loader import Checkpoint, save_checkpoint
from unrender.scene.gbuffer import GBuffer
from unrender.train.data import Lit, StillDataset, load_still_dataset
from unrender.train.loop import BatchSpec
from unrender.train.mini import MINI_PICTURES
from unrender.train.recipe import Stage, TrainConfig

SIDE = 16
DRAW = BatchSpec(SIDE, 2, 7)
QUICK = TrainConfig(steps=2, stages=(Stage(1.0, SIDE, 1),), warmup=1, ema_decay=0.5, precision="no", validate_every=0)


def truth(count: int = 4, size: int = 24, **changes: Tensor | None) -> GBuffer:
    """Random stills with every map that training knows, a strip of background at the left."""
    g = torch.Generator().manual_seed(count)

    def smooth(channels: int) -> Tensor:
        coarse = torch.rand(count, channels, 4, 4, generator=g)
        return functional.interpolate(coarse, size=size, mode="bilinear", antialias=True)

    mask = torch.ones(count, 1, size, size)
    mask[..., :3] = 0
    maps: dict[str, Tensor | None] = {
        "rgb": smooth(3),
        "base_color": smooth(3) * mask,
        "normal": functional.normalize(smooth(3) - 0.5, dim=1) * mask,
        "depth": torch.where(mask > 0, 2 + smooth(1), torch.inf),
        "roughness": smooth(1) * mask,
        "metallic": smooth(1) * mask,
        "irradiance": smooth(3) * mask,
        "mask": mask,
    }
    return GBuffer(**(maps | changes), depth_kind="metric", irradiance_kind="metric")


def stills(count: int = 4, **changes: Tensor | None) -> StillDataset:
    return load_still_dataset([truth(count, **changes)])


def lit_stills(count: int = 4, size: int = 24) -> StillDataset:
    """Stills with lights, as a network is shown them."""
    plain = load_still_dataset([truth(count, size)])
    g = torch.Generator().manual_seed(1)
    picture = torch.rand(count, 9, 8, 16, generator=g)
    first, rgb = (plain.maps["rgb"] * share * plain.maps["mask"] for share in (0.5, 0.7))
    return replace(plain, lit=Lit(first, rgb, picture.half()))


def inverse_card(**changes) -> ModelCard:
    """Five pictures in one pass, as `mini` has them."""
    return tiny_card(**({"id": "tiny-inverse", "targets": MINI_PICTURES} | changes))


def forward_card(**changes) -> ModelCard:
    """Told a light or an irradiance, as `mini` is."""
    card = tiny_lit_card(**changes)
    irradiance = InputMap(MapCodec("irradiance", transfer="srgb"), exposure="percentile")
    return card.with_maps(inputs=(*card.maps.inputs, irradiance))


def frozen(card: ModelCard, seed: int = 0) -> Checkpoint:
    """A tiny checkpoint whose autoencoder stays as it is."""
    checkpoint = tiny_checkpoint(card, seed)
    checkpoint.autoencoder.requires_grad_(False)
    return checkpoint


@torch.no_grad()
def opaque(checkpoint: Checkpoint) -> Checkpoint:
    """The same inverse renderer, sure of a surface everywhere: its mask is in the second channel of what is decoded."""
    checkpoint.autoencoder.decoder.conv_out.bias[1] = 3.0
    return checkpoint


def folder_of(card: ModelCard, folder: Path) -> str:
    """A tiny model of `card`, as a folder to start from."""
    save_checkpoint(tiny_checkpoint(card), folder)
    return str(folder)
