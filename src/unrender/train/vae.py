"""Trains a VAE from scratch on photos and maps (Kingma & Welling 2014; Rombach et al. 2022, section 3.1, without the
adversarial loss)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import cast

import safetensors.torch
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from unrender.diffusion.card import MapCodec, TargetPicture
from unrender.diffusion.codec import encode_picture
from unrender.diffusion.decoding import downsampling_factor
from unrender.errors import UserError
from unrender.files.tables import read_table
from unrender.train.augmentation import crop, mirror
from unrender.train.captioned import CaptionedStills, hold_out_captioned
from unrender.train.data import Batch, Stills, hold_out, sample_batch, whole_batch
from unrender.train.loop import BatchSpec, Networks, Report, run
from unrender.train.mini import MINI_PICTURES, build_autoencoder
from unrender.train.recipe import Stage, TrainConfig
from unrender.train.run_folder import RunFolder
from unrender.train.sheets import sheet

SCALE_FILE = "latents.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
PHOTO_PICTURE = TargetPicture("photo", (MapCodec("rgb", transfer="srgb"),))


@dataclass(frozen=True)
class VaeRecipe:
    """Attributes:
    config: the training config.
    divergence: weight of the Kullback-Leibler divergence (mean over latents), beside the errors of the pictures.
    edges: weight of the error of image gradients, which keeps edges sharp.
    widths: channels of each level; every level but the last halves the picture.
    """

    config: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=3200, stages=(Stage(0.75, 64, 16), Stage(0.25, 128, 8)), lr=8e-4, final_lr=0.05, ema_decay=0.995
        )
    )
    divergence: float = 1e-5
    edges: float = 1.0
    widths: tuple[int, ...] = (16, 32, 64)


PHOTOS = VaeRecipe(
    TrainConfig(steps=2400, stages=(Stage(0.75, 64, 16), Stage(0.25, 128, 8)), lr=8e-4, final_lr=0.05, ema_decay=0.995),
    divergence=1e-4,
    widths=(16, 32, 64, 64),
)
SMOKE = VaeRecipe(TrainConfig(steps=60, stages=(Stage(1.0, 32, 4),), warmup=10, ema_decay=0.9, save_every=20))
"""Checks that the recipe runs; not measured."""
RECIPES = {"mini": VaeRecipe(), "photos": PHOTOS, "smoke": SMOKE}
"""`mini`: the VAE of the shipped forward model and of the claims' networks, 16 minutes on 2,250 stills (`unrender train
vae --data old`, docs/mini.md). Its reconstructions alone: not measured. `photos`: that of `mini-t2i`, 8x, of pictures
alone, of whose quarter of the latents a network that makes pictures of words learns four times as fast: 31.6 dB (sRGB)
on 24 held-out pictures, of 1,000 worlds under three lights each."""


@dataclass(frozen=True)
class VaeTask:
    """The autoencoder and its training data.

    Attributes:
        autoencoder, recipe: what learns, and how.
        draw: the pictures (B, 3, S, S) in [-1, 1] of a batch.
        held_out: (B, 3, S, S) pictures that validation looks at, and that say how large latents are.
    """

    autoencoder: AutoencoderKL
    recipe: VaeRecipe
    draw: Callable[[BatchSpec], Tensor]
    held_out: Tensor

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """The autoencoder alone."""
        return {"vae": _Reconstruction(self.autoencoder)}

    def losses(self, networks: Networks, spec: BatchSpec) -> dict[str, Tensor]:
        """Absolute and squared error, error of gradients, and divergence."""
        pictures = self.draw(spec).to(self._device)
        noise = torch.randn(self._latent_shape(pictures), generator=spec.generator(2)).to(pictures)
        output, mean, logvar = networks["vae"](pictures, noise)
        error = output - pictures
        return {
            "pictures": error.abs().mean() + error.square().mean(),
            "edges": self.recipe.edges * (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()),
            "divergence": self.recipe.divergence * 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(),
        }

    @torch.no_grad()
    def validate(self) -> dict[str, Tensor]:
        """Held-out pictures above their reconstructions."""
        pictures = self.held_out.to(self._device)
        with torch.autocast(pictures.device.type, enabled=False):
            output = self.autoencoder(pictures).sample
        return {"pictures": sheet([pictures * 0.5 + 0.5, output * 0.5 + 0.5])}

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Writes the autoencoder in diffusers' layout, its latents centred, and beside it their scale."""
        latents = self.autoencoder.encode(self.held_out.to(self._device)).latent_dist.mode()
        mean = latents.mean((0, 2, 3))
        latents = latents - mean[:, None, None]
        centred = centre_latents(self.autoencoder, mean)
        self.autoencoder.save_config(folder)
        state = {name: value.detach().half().contiguous() for name, value in centred.state_dict().items()}
        safetensors.torch.save_file(state, folder / WEIGHTS_FILE)
        about = {"latent_scale": 1 / float(latents.std())}
        (folder / SCALE_FILE).write_text(json.dumps(about, indent=2) + "\n")

    @property
    def _device(self) -> torch.device:
        return next(self.autoencoder.parameters()).device

    def _latent_shape(self, pictures: Tensor) -> tuple[int, ...]:
        factor = downsampling_factor(self.autoencoder)
        height, width = pictures.shape[2:]
        return len(pictures), self.autoencoder.config["latent_channels"], height // factor, width // factor


def train_vae(recipe: VaeRecipe, stills: Stills | CaptionedStills, out: Path, report: Report | None = None) -> Path:
    """Trains an autoencoder on photos and on the pictures of their maps, or, of captioned stills, on these alone; see
    `loop.run`.

    Raises:
        UserError: `out` holds a run of another recipe, or there are too few stills to hold some out.
    """
    folder = RunFolder(out)
    if isinstance(stills, CaptionedStills):
        held_out, rest = hold_out_captioned(stills)
        draw, shown = partial(_windows, rest), held_out.shown(torch.arange(len(held_out)))
    else:
        held, others = hold_out(stills)
        draw, shown = partial(_photos_and_maps, others), _each_picture(held)
    folder.claim(recipe)
    task = VaeTask(build_autoencoder(recipe.config.seed, widths=recipe.widths), recipe, draw, shown)
    return run(task, recipe.config, folder, report)


@torch.no_grad()
def centre_latents(autoencoder: AutoencoderKL, mean: Tensor) -> AutoencoderKL:
    """A copy whose latents are lower by `mean` (C,), and that decodes these to the same pictures: diffusion starts from
    noise of mean zero, and what it makes of noise is the harder the farther off its latents lie."""
    centred = copy.deepcopy(autoencoder)
    inward, outward = centred.quant_conv, centred.post_quant_conv
    assert inward is not None
    assert outward is not None
    assert inward.bias is not None
    assert outward.bias is not None
    inward.bias[: len(mean)] -= mean
    outward.bias += outward.weight[:, :, 0, 0] @ mean
    return centred


def load_autoencoder(folder: Path) -> tuple[AutoencoderKL, float]:
    """The autoencoder that `train_vae` wrote, and the factor that scales its latents to unit deviation.

    Raises:
        UserError: the folder has no autoencoder.
    """
    if not (folder / SCALE_FILE).is_file():
        raise UserError(f"{folder} has no autoencoder of `unrender train vae`; expected its OUT/model")
    about, config = read_table(folder / SCALE_FILE), read_table(folder / "config.json")
    try:
        autoencoder = cast(AutoencoderKL, AutoencoderKL.from_config(config))
        autoencoder.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS_FILE))
        return autoencoder, float(about["latent_scale"])
    except Exception as error:  # of diffusers, torch and safetensors, for as many kinds of damage
        raise UserError(f"{folder} is damaged: its autoencoder cannot be read ({type(error).__name__})") from error


def _photos_and_maps(stills: Stills, spec: BatchSpec) -> Tensor:
    """One picture of each view of a batch: photos and the pictures of maps in turn."""
    return _one_of_each(sample_batch(stills, spec), spec)


def _windows(stills: CaptionedStills, spec: BatchSpec) -> Tensor:
    """Random windows of pictures, mirrored at random."""
    generator = spec.generator(0)
    pictures = {"rgb": stills.shown(torch.randint(len(stills), (spec.count,), generator=generator))}
    flip = torch.rand(spec.count, generator=generator) < 0.5
    return crop(mirror(pictures, flip), spec.side, generator)["rgb"]


def _each_picture(stills: Stills) -> Tensor:
    """The photos of the first few stills, and those pictures of their maps that all of them have."""
    batch = whole_batch(stills.part(0, 8), 128)
    carried = [picture for picture in MINI_PICTURES if bool(_known(batch, picture).all())]
    return torch.cat([encode_picture(batch.maps, picture) for picture in (PHOTO_PICTURE, *carried)])


def _one_of_each(batch: Batch, spec: BatchSpec) -> Tensor:
    """One picture (3, H, W) of each view of a batch: a third of them photos, the others pictures of its maps."""
    pictures: list[Sequence[Tensor]] = [encode_picture({"rgb": batch.photo}, PHOTO_PICTURE).unbind()]
    pictures += [encode_picture(batch.maps, picture).unbind() for picture in MINI_PICTURES]
    weights = torch.stack([torch.full((len(batch),), 2.0), *(_known(batch, picture) for picture in MINI_PICTURES)], 1)
    chosen = torch.multinomial(weights, 1, generator=spec.generator(1))[:, 0]
    return torch.stack([pictures[kind][i] for i, kind in enumerate(chosen.tolist())])


def _known(batch: Batch, picture: TargetPicture) -> Tensor:
    """(B,) 1 for the views that have all maps of a picture."""
    return torch.stack([batch.known[codec.map] for codec in picture.maps]).all(0).float()


class _Reconstruction(nn.Module):
    """Encodes, samples the posterior and decodes: reconstructions, and the latents' mean and log variance. A module,
    because several processes train through one forward call."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        distribution = self.autoencoder.encode(pictures).latent_dist
        latent = distribution.mean + distribution.std * noise.to(distribution.mean)
        output = self.autoencoder.decode(latent).sample.float()
        return output, distribution.mean.float(), distribution.logvar.float()
