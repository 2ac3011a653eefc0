"""RGB<->X and Ouroboros written out from their official code, step by step and naively, in float32 and before any
rounding to 8 bits. Of unrender there are only the colour curves here, for what goes in and out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from official_folders import write_official
from unrender.device import Compute
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.hub.location import ModelLocation
from unrender.diffusion.checkpoints.loader import load_checkpoint
from unrender.diffusion.engine import Engine
from unrender.diffusion.options import MemoryMode
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.gbuffer import GBuffer

CPU = Compute(torch.device("cpu"), torch.float32)
Size = tuple[int, int]
Network = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Official:
    """The networks of a published folder, as diffusers and transformers load them."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler


def write_published(parent: Path, card: ModelCard) -> Path:
    """A tiny model of `card` in the official layout; its scheduler's file says what the demos override."""
    folder = write_official(parent, card)
    path = _rest(folder) / "scheduler" / "scheduler_config.json"
    said = json.loads(path.read_text()) | {"rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
    path.write_text(json.dumps(said))
    return folder


def read_official(folder: Path, unet: str = "unet") -> Official:
    rest = _rest(folder)
    scheduler = DDIMScheduler.from_pretrained(rest / "scheduler")
    return Official(
        UNet2DConditionModel.from_pretrained(folder / unet),
        AutoencoderKL.from_pretrained(rest / "vae"),
        CLIPTextModel.from_pretrained(rest / "text_encoder"),
        CLIPTokenizer.from_pretrained(rest / "tokenizer"),
        DDIMScheduler.from_config(scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing"),
    )


def engine_of(folder: Path, card: ModelCard, memory: MemoryMode = "normal") -> Engine:
    """unrender's engine for the same folder."""
    return Engine(load_checkpoint(ModelLocation(card, folder, _rest(folder)), CPU), CPU, memory)


def _rest(folder: Path) -> Path:
    return folder if (folder / "vae").is_dir() else folder.parent / "rgb-to-x"


def words(official: Official, text: str) -> Tensor:
    """(1, 77, D)."""
    ids = official.tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    return official.encoder(ids).last_hidden_state


def encoded(official: Official, picture: Tensor, multiplier: float = 0.18215) -> Tensor:
    return official.vae.encode(picture).latent_dist.mode() * multiplier


def decoded(official: Official, latent: Tensor) -> Tensor:
    return official.vae.decode(latent / 0.18215).sample


def plain(official: Official, given: Tensor, told: Tensor) -> Network:
    """No guidance: the noisy target comes first."""
    return lambda latent, t: official.unet(torch.cat((latent, given), 1), t, told).sample


def three_way(
    official: Official, given: Tensor, told: Tensor, text: float, image: float, rescale: float = 0.0
) -> Network:
    """InstructPix2Pix: told and given, given alone, nothing."""
    silent, nothing = words(official, ""), torch.zeros_like(given)

    def network(latent: Tensor, t: Tensor) -> Tensor:
        by_text = official.unet(torch.cat((latent, given), 1), t, told).sample
        by_image = official.unet(torch.cat((latent, given), 1), t, silent).sample
        by_none = official.unet(torch.cat((latent, nothing), 1), t, silent).sample
        mixed = by_none + text * (by_text - by_image) + image * (by_image - by_none)
        if rescale > 0:
            as_deviating = mixed * by_text.std(dim=(1, 2, 3), keepdim=True) / mixed.std(dim=(1, 2, 3), keepdim=True)
            mixed = rescale * as_deviating + (1 - rescale) * mixed
        return mixed

    return network


def walked(official: Official, noise: Tensor, network: Network, steps: int, *, clean: bool = False) -> Tensor:
    """DDIM; the official code decodes `prev_sample` of the last step, re-noised, instead of the `clean` latent."""
    official.scheduler.set_timesteps(steps)
    latent = result = noise
    for t in official.scheduler.timesteps:
        step = official.scheduler.step(network(latent, t), t, latent)
        latent = step.prev_sample
        result = step.pred_original_sample if clean else latent
    return result


def smooth(picture: Tensor, size: Size) -> Tensor:
    """torchvision's Resize of a float tensor."""
    if tuple(picture.shape[2:]) == size:
        return picture
    return functional.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)


def padded(picture: Tensor) -> Tensor:
    """To a multiple of 8, by default: its border is repeated to the right and below."""
    height, width = picture.shape[2:]
    return functional.pad(picture, (0, -width % 8, 0, -height % 8), mode="replicate")


def preprocessed(picture: Tensor) -> Tensor:
    """diffusers' VaeImageProcessor: pixels are dropped to come to a multiple of 8, then [0, 1] becomes [-1, 1]."""
    height, width = picture.shape[2:]
    return functional.interpolate(picture, (height // 8 * 8, width // 8 * 8)) * 2 - 1


def tonemapped(linear: Tensor) -> Tensor:
    """An EXR picture as the official loader exposes it: log-average luminance to 0.18, by way of Yxy, and clamped."""
    r, g, b = linear.unbind(1)
    x = 0.4124564 * r + 0.3575761 * g + 0.1804375 * b
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = 0.0193339 * r + 0.1191920 * g + 0.9503041 * b
    total = (x + y + z).clamp(min=1e-4)
    small_x, small_y = x / total, y / total
    average = (0.2125 * r + 0.7154 * g + 0.0721 * b).clamp(min=1e-6).log().mean().exp()
    y = y * 0.18 / average.clamp(min=1e-6)
    x = small_x / small_y.clamp(min=1e-6) * y
    z = (1 - small_x - small_y) / small_y.clamp(min=1e-4) * y
    r = 3.2404542 * x - 1.5371385 * y - 0.4985314 * z
    g = -0.9692660 * x + 1.8760108 * y + 0.0415560 * z
    b = 0.0556434 * x - 0.2040259 * y + 1.0572252 * z
    return torch.stack((r, g, b), 1).clamp(0, 1)


def display_code(picture: Tensor) -> Tensor:
    """A decoded picture as its file says it: value ** (1 / 2.2)."""
    return (picture / 2 + 0.5).clamp(0, 1) ** (1 / 2.2)


def codes(size: Size, seed: int, channels: int = 3) -> Tensor:
    """(1, 3, H, W) 8-bit codes / 255, with black and white among them; with one channel, three times the same."""
    values = torch.randint(0, 256, (1, channels, *size), generator=torch.Generator().manual_seed(seed)) / 255
    values[..., :3, :5], values[..., -4:, -6:] = 0, 1
    return values.expand(-1, 3, -1, -1).clone()


def as_power(linear: Tensor) -> Tensor:
    """Linear light to what these models take for linear: its sRGB code to the power 2.2."""
    return linear_to_srgb(linear.clamp(0, 1)) ** 2.2


def as_light(code: Tensor) -> Tensor:
    """Display codes to the linear light that unrender has in memory."""
    return srgb_to_linear(code)


def close(found: Tensor, right: Tensor, what: str = "") -> None:
    torch.testing.assert_close(found, right, atol=1e-4, rtol=0, msg=lambda said: f"{what}: {said}")


def close_light(found: Tensor, right: Tensor, what: str = "") -> None:
    """Linear light, compared before the power 1 / 2.2, whose slope at black is infinite and makes much of rounding."""
    close(as_power(found), as_power(right), what)


def close_direction(found: Tensor, right: Tensor, what: str = "") -> None:
    """Unit normals against vectors of any length: the shorter one is, the less is known of its direction."""
    close(found * right.norm(dim=1, keepdim=True), right, what)


MULTIPLIERS = {
    "albedo": 0.17301377137652138,
    "normal": 0.17483895473058078,
    "roughness": 0.1680724853626448,
    "metallic": 0.13135013390855135,
}
"""Of the latents of X->RGB's maps, in the network's order; irradiance, which is not encoded, comes last."""


def as_vectors(code: Tensor) -> Tensor:
    """A normal map of 8 bits as the official loader reads it: grey is no exception."""
    return functional.normalize(code * 2 - 1, dim=1, eps=1e-6)


def official_maps(files: dict[str, Tensor], *, scene: bool = False) -> dict[str, Tensor]:
    """Map files, codes / 255, as the official loaders read them; `scene`: the irradiance is an EXR's linear light."""
    read = dict(files)
    for name in read.keys() & {"albedo", "irradiance"}:
        read[name] = files[name] ** 2.2
    if "irradiance" in read and scene:
        read["irradiance"] = tonemapped(files["irradiance"])
    if "normal" in read:
        read["normal"] = as_vectors(files["normal"])
    return read


def official_given(official: Official, maps: dict[str, Tensor], shape: Size) -> Tensor:
    """(1, 19, h, w) for maps of `shape` (height, width): albedo, normal, roughness, metallic, irradiance; zeros for
    those that are missing."""
    size = shape[0] // 8, shape[1] // 8
    parts = []
    for name, multiplier in MULTIPLIERS.items():
        if name not in maps:
            parts.append(torch.zeros(1, 4, *size))
            continue
        picture = maps[name] if name == "normal" else preprocessed(maps[name])
        parts.append(encoded(official, picture, multiplier))
    if "irradiance" in maps:
        parts.append(smooth(preprocessed(maps["irradiance"]), size))
    else:
        parts.append(torch.zeros(1, 3, *size))
    return torch.cat(parts, 1)


def gbuffer_of_files(files: dict[str, Tensor], *, scene: bool = False) -> GBuffer:
    """The same files read with unrender's meanings; a normal of grey, 128, is none."""
    maps = {}
    for name, code in files.items():
        if name in ("roughness", "metallic"):
            maps[name] = code[:, :1]
        elif name == "normal":
            grey = (code * 255).round().eq(128).all(1, keepdim=True)
            maps[name] = functional.normalize(code * 2 - 1, dim=1).masked_fill(grey, 0.0)
        elif name == "irradiance" and scene:
            maps[name] = code
        else:
            maps["base_color" if name == "albedo" else name] = as_light(code)
    return GBuffer(irradiance_kind="metric" if scene else "relative", **maps)


def map_files(size: Size, names: Sequence[str] = (*MULTIPLIERS, "irradiance")) -> dict[str, Tensor]:
    """Codes / 255 of the maps of `names`, with a patch of normals that are none."""
    single = ("roughness", "metallic")
    files = {name: codes(size, seed, 1 if name in single else 3) for seed, name in enumerate(names, 10)}
    if "normal" in files:
        files["normal"][..., 8:20, 8:20] = 128 / 255
    return files
