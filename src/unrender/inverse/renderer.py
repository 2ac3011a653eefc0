"""The inverse renderer."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unrender.device import Compute, DeviceName, DtypeName, choose_compute
from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.loader import Checkpoint, load_checkpoint
from unrender.diffusion.checkpoints.registry import resolve
from unrender.diffusion.codec import decode_maps, encode_photo
from unrender.diffusion.decoding import Memory, decode, encode
from unrender.diffusion.noise import draw_noise
from unrender.diffusion.sampler import Condition, denoise
from unrender.diffusion.schedule import make_schedule
from unrender.errors import UserError
from unrender.inverse.enlarge import enlarge
from unrender.inverse.framing import Framing, frame_picture, plan_framing, unframe
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer, concatenate
from unrender.scene.tone import percentile_gain

SURFACE = 0.25
"""A pixel whose mask is below this has no normal and no depth. Under a half, because a hole in a surface that is there
harms what is made of the maps more than a surface where there is none."""

EXPOSURE = (90.0, 0.6)
"""Scene-referred frames are exposed as a camera would have: this percentile of luminance comes to this value. Each
frame by itself, so that a clip read frame by frame gives what the whole clip gives."""


@dataclass(frozen=True)
class InverseRenderer:
    """Takes pictures apart, as the card of its checkpoint says.

    Attributes:
        checkpoint: card, networks and tokens, on `compute.device` in `compute.dtype`.
        compute: where the networks run, and in which precision.
        memory: `tiled` decodes in tiles, slower and in less memory.
    """

    checkpoint: Checkpoint
    compute: Compute
    memory: Memory = "whole"

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = "mini",
        *,
        device: DeviceName = "auto",
        dtype: DtypeName = "auto",
        memory: Memory = "whole",
    ) -> InverseRenderer:
        """The renderer of an embedded model (`unrender models list`) or of a model folder.

        Raises:
            UserError: no such model, a broken folder, or a device that is not present.
        """
        compute = choose_compute(device, dtype)
        return cls(load_checkpoint(resolve(model), compute), compute, memory)

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.checkpoint.card

    def __call__(
        self,
        photo: Frames,
        maps: Sequence[str] | None = None,
        *,
        steps: int | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
    ) -> GBuffer:
        """The G-buffer of a picture or clip, at its size, with the picture itself as `rgb`.

        Args:
            photo: (T, 3, H, W) scene-linear frames of any size; scene-referred ones are exposed for display first.
            maps: names of the maps wanted; every one that the model gives when None. `mask` always comes along where
                the model or the photo has one.
            steps: denoising steps; the card's own number when None.
            noise: (T, C, h, w) to start from instead of the card's noise; `noise_shape` says the shape.
            seed: of the noise.

        Raises:
            UserError: an unknown map, or a picture too small or too narrow.
        """
        wanted = check_maps(maps, self.card)
        framing = plan_framing(photo.size, self.card.size, photo.name)
        display = photo.rgb * percentile_gain(photo.rgb, *EXPOSURE) if photo.hdr else photo.rgb
        noise = self._noise(framing, len(photo), seed) if noise is None else noise
        # One frame at a time: a clip needs no more memory than a still.
        parts = [
            self._take_apart(display[t : t + 1], noise[t : t + 1], framing, wanted, steps) for t in range(len(photo))
        ]
        return _finish(concatenate(parts), photo, wanted)

    def latents(self, rgb: Tensor, noise: Tensor, steps: int | None = None) -> Tensor:
        """The clean latents (B, C, h, w), float32, of pictures (B, 3, H, W): linear, for display, at a size that the
        network takes. For holding the engine against another implementation number by number."""
        card, dtype, device = self.card, self.compute.dtype, self.compute.device
        with torch.inference_mode():
            picture = encode_photo(rgb, card).to(device, dtype)
            photo = encode(self.checkpoint.autoencoder, picture, card.latent_scale)
            walks = [self._walk(photo, noise.to(device, dtype), name, steps) for name in self._prompts()]
            return torch.cat(walks, dim=1).float()

    def decode(self, latents: Tensor) -> list[Tensor]:
        """Clean latents (B, C, h, w) to one picture (B, C', H, W), float32, for each `card.pictures`, in one batch."""
        card = self.card
        with torch.inference_mode():
            stacked = latents.unflatten(1, (len(card.pictures), card.latent_channels)).flatten(0, 1)
            stacked = stacked.to(self.compute.device, self.compute.dtype)
            decoded = decode(self.checkpoint.autoencoder, stacked, card.latent_scale, self.memory).float().cpu()
            return list(decoded.unflatten(0, (len(latents), len(card.pictures))).unbind(1))

    def noise_shape(self, photo: Frames) -> tuple[int, int, int, int]:
        """The shape that `noise` must have for `photo`."""
        return self._noise_shape(plan_framing(photo.size, self.card.size, photo.name), len(photo))

    def _noise_shape(self, framing: Framing, frames: int) -> tuple[int, int, int, int]:
        factor = 2 ** (len(self.checkpoint.autoencoder.config["block_out_channels"]) - 1)
        height, width = framing.canvas
        return frames, self.card.target_channels, height // factor, width // factor

    def _noise(self, framing: Framing, frames: int, seed: int) -> Tensor:
        return draw_noise(self.card.noise, self._noise_shape(framing, frames), seed, shared=True)

    def _prompts(self) -> list[str]:
        """The tokens' name of each pass."""
        return [""] if self.card.passes == "stacked" else [picture.name for picture in self.card.pictures]

    def _walk(self, photo: Tensor, noise: Tensor, prompt: str, steps: int | None) -> Tensor:
        schedule = make_schedule(self.card.schedule)
        tokens = self.checkpoint.tokens[prompt].to(photo).expand(len(photo), -1, -1)

        def network(latent: Tensor, timestep: int, context: Tensor) -> Tensor:
            return self.checkpoint.unet(latent, timestep, context, return_dict=False)[0]

        condition = Condition(photo, tokens, self.card.concatenation)
        return denoise(network, schedule, condition, noise, steps or self.card.schedule.steps)

    def _take_apart(
        self, rgb: Tensor, noise: Tensor, framing: Framing, wanted: Sequence[str], steps: int | None
    ) -> GBuffer:
        maps = self._maps(rgb, noise, framing, steps)
        if self.card.mirrored:
            maps = average_mirrored(maps, self._maps(rgb.flip(3), noise, framing, steps))
        kept = {name: value for name, value in maps.items() if name in (*wanted, "mask")}
        return enlarge(gbuffer_of(kept, self.card), rgb, self.card.size.guided)

    def _maps(self, rgb: Tensor, noise: Tensor, framing: Framing, steps: int | None) -> dict[str, Tensor]:
        """Every map of one frame, at the size of the framing's content."""
        decoded = self.decode(self.latents(frame_picture(rgb, framing), noise, steps))
        maps: dict[str, Tensor] = {}
        for picture, target in zip(decoded, self.card.pictures, strict=True):
            maps |= decode_maps(unframe(picture, framing), target)
        return maps


def average_mirrored(maps: dict[str, Tensor], mirrored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of the maps of a picture and of its mirror image, (B, C, H, W) each: turned back, normals with their x
    the other way, and unit again."""
    means = {}
    for name, values in maps.items():
        turned = mirrored[name].flip(3)
        if name == "normal":
            turned = turned * turned.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
            means[name] = torch.nn.functional.normalize(values + turned, dim=1)
        else:
            means[name] = (values + turned) / 2
    return means


def gbuffer_of(maps: dict[str, Tensor], card: ModelCard) -> GBuffer:
    """Maps that a model gave as a G-buffer that says so."""
    return GBuffer(depth_kind=card.depth_kind, model=card.id, **maps)  # ty: ignore[invalid-argument-type]


def check_maps(maps: Sequence[str] | None, card: ModelCard) -> tuple[str, ...]:
    """The maps that were asked for, all of the card's when None.

    Raises:
        UserError: the model gives no such map; the nearest name is suggested.
    """
    for name in maps or ():
        if name not in card.map_names:
            near = difflib.get_close_matches(name, card.map_names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"right is {', '.join(card.map_names)}"
            raise UserError(f"model {card.id} gives no map {name}; {hint}")
    return tuple(maps) if maps else card.map_names


def _finish(gbuffer: GBuffer, photo: Frames, wanted: Sequence[str]) -> GBuffer:
    """Puts the photo in, its alpha into the mask, and takes normal and depth away where there is no surface."""
    mask = gbuffer.mask
    if photo.mask is not None:
        mask = photo.mask if mask is None else mask * photo.mask
    if mask is not None:
        nothing = mask < SURFACE
        if gbuffer.normal is not None:
            gbuffer = gbuffer.with_maps(normal=gbuffer.normal.masked_fill(nothing, 0.0))
        if gbuffer.depth is not None:
            gbuffer = gbuffer.with_maps(depth=gbuffer.depth.masked_fill(nothing, torch.inf))
    unwanted = {name: None for name in gbuffer.maps if name not in wanted}
    return replace(gbuffer.with_maps(**unwanted, rgb=photo.rgb), fps=photo.fps).with_maps(mask=mask)
