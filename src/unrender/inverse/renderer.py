"""The inverse renderer."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unrender.diffusion.card import ModelCard, TargetPicture
from unrender.diffusion.codec import decode_codes, read_codes
from unrender.diffusion.engine import Engine, decode_pictures, give, load_engine, walk
from unrender.diffusion.framing import plan_framing, unframe
from unrender.diffusion.latent_cache import LatentCache
from unrender.diffusion.options import InferenceOptions
from unrender.diffusion.preprocessing import present
from unrender.errors import UserError
from unrender.inverse.enlarge import enlarge
from unrender.inverse.ensemble import ensemble
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer, concatenate
from unrender.scene.resize import resize_picture

SURFACE = 0.25
"""A pixel whose mask is below this has no normal and no depth. Under a half, because a hole in a surface that is there
harms what is made of the maps more than a surface where there is none."""

DEFAULT_INFERENCE = InferenceOptions()


@dataclass(frozen=True)
class InverseRenderer:
    """Takes pictures apart, as the card of its checkpoint says.

    Attributes:
        engine: the checkpoint, and where and how it runs.
    """

    engine: Engine

    @classmethod
    def from_pretrained(
        cls, model: str | Path = "mini", inference: InferenceOptions = DEFAULT_INFERENCE, *, domain: str = ""
    ) -> InverseRenderer:
        """The renderer of an embedded or published model (`unrender models list`), or of a model folder.

        Args:
            running: device, precision, memory, size, and how faithfully the official code is followed.
            domain: what kind of scene it is, for models that are told ("indoor", "outdoor", "object").

        Raises:
            UserError: no such model, one that was not pulled, a broken folder, or a device that is not present.
        """
        return cls(load_engine(model, "inverse", inference, domain))

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.engine.card

    def __call__(
        self,
        photo: Frames,
        maps: Sequence[str] | None = None,
        *,
        steps: int | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
        ensemble_size: int = 1,
    ) -> GBuffer:
        """The G-buffer of a picture or clip, at its size, with the picture itself as `rgb`.

        Args:
            photo: (T, 3, H, W) scene-linear frames of any size; scene-referred ones are exposed for display first.
            maps: names of the maps wanted; every one that the model gives when None. `mask` always comes along where
                the model or the photo has one.
            steps: denoising steps; the card's own number when None.
            noise: (T, C, h, w) to start from instead of the card's noise; `noise_shape` says the shape.
            seed: of the noise.
            members: answers that are brought together, each from noise of its own (see `ensemble`).

        Raises:
            UserError: an unknown map, a picture too small or too narrow, or several members where there is no noise.
        """
        wanted = check_maps(maps, self.card)
        if ensemble_size > 1:
            self._check_members(noise)
            once = replace(self, engine=replace(self.engine, memo=self.engine.memo or LatentCache()))
            return ensemble([once(photo, wanted, steps=steps, seed=seed + k) for k in range(ensemble_size)])
        framing = plan_framing(photo.size, self.card.size, photo.name)
        noise = self.engine.draw_noise(framing.canvas, len(photo), seed) if noise is None else noise
        # One frame at a time: a clip needs no more memory than a still.
        parts = [self._take_apart(photo.frame(t), noise[t : t + 1], wanted, steps, seed) for t in range(len(photo))]
        return _finish(concatenate(parts), photo, wanted)

    def pictures(
        self,
        photo: Frames,
        maps: Sequence[str] | None = None,
        *,
        steps: int | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """The decoded pictures by name, (T, C, h, w) float32, about [-1, 1], without padding, at the size of the
        network, as the autoencoder gives them. Arguments as in `__call__`. For holding the engine against another
        implementation number by number."""
        framing = plan_framing(photo.size, self.card.size, photo.name)
        wanted = self._wanted(check_maps(maps, self.card))
        decoded = decode_pictures(self.engine, self.latents(photo, maps, steps=steps, noise=noise, seed=seed))
        return {target.name: unframe(one, framing) for target, one in zip(wanted, decoded, strict=True)}

    @torch.inference_mode()
    def latents(
        self,
        photo: Frames,
        maps: Sequence[str] | None = None,
        *,
        steps: int | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """The clean latents (T, pictures x C, h, w), float32, of the pictures that carry `maps`. Arguments as in
        `__call__`."""
        engine, given = self.engine, self.card.given[0]
        framing = plan_framing(photo.size, self.card.size, photo.name)
        noise = engine.draw_noise(framing.canvas, len(photo), seed) if noise is None else noise
        shown = present(photo.rgb, given, self.card.size, framing, scene=photo.hdr)
        latent = give(engine, [shown], engine.latent_size(framing.canvas), seed=seed)
        pictures = self._wanted(check_maps(maps, self.card))
        return walk(engine, latent, noise, pictures=pictures, steps=steps, photo=(shown + 1) / 2).float()

    def noise_shape(self, photo: Frames) -> tuple[int, int, int, int]:
        """The shape that `noise` must have for `photo`."""
        framing = plan_framing(photo.size, self.card.size, photo.name)
        return self.engine.noise_shape(framing.canvas, len(photo))

    def _check_members(self, noise: Tensor | None) -> None:
        if noise is not None or self.card.noise in ("zeros", "none"):
            why = "starts from no noise" if noise is None else "was given its noise"
            raise UserError(f"{self.card.id} {why}: all members would be alike; one is right")

    def _wanted(self, maps: Sequence[str]) -> list[TargetPicture]:
        """The pictures that carry the maps asked for; all, where one pass gives all or they attend to one another."""
        card = self.card
        if card.passes == "stacked" or card.joint_attention:
            return list(card.pictures)
        return [p for p in card.pictures if any(codec.map in maps for codec in p.maps)]

    def _take_apart(self, photo: Frames, noise: Tensor, wanted: Sequence[str], steps: int | None, seed: int) -> GBuffer:
        maps = self._maps(photo, noise, wanted, steps, seed)
        if self.card.mirrored:
            turned = self._maps(replace(photo, rgb=photo.rgb.flip(3)), noise, wanted, steps, seed)
            maps = average_mirrored(maps, turned)
        kept = {name: value for name, value in maps.items() if name in (*wanted, "mask")}
        return enlarge(gbuffer_of(kept, self.card), photo.rgb, self.card.size.guided)

    def _maps(
        self, photo: Frames, noise: Tensor, wanted: Sequence[str], steps: int | None, seed: int
    ) -> dict[str, Tensor]:
        """Every map of one frame: at the size of the network where maps are resized in unrender's conventions, at that
        of the photo where they are resized as the official pipeline hands them over."""
        pictures = self.pictures(photo, wanted, steps=steps, noise=noise, seed=seed)
        rule, maps = self.card.size, {}
        for target in self._wanted(wanted):
            codes = read_codes(pictures[target.name], target)
            for codec in target.maps:
                values = codes[codec.map]
                if rule.space != "linear":
                    values = resize_picture(values, photo.size, codec.back or rule.back)
                maps[codec.map] = decode_codes(values, codec)
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
    """Maps that a model gave as a G-buffer that says so. The irradiance of a network has an exposure of its own."""
    return GBuffer(
        depth_kind=card.depth_kind,
        irradiance_kind="relative" if "irradiance" in card.map_names else "metric",
        model=card.id,
        **maps,  # ty: ignore[invalid-argument-type]
    )


def check_maps(maps: Sequence[str] | None, card: ModelCard) -> tuple[str, ...]:
    """The maps that were asked for, all of the card's when None.

    Raises:
        UserError: the model gives no such map; the nearest name is suggested.
    """
    for name in maps or ():
        if name not in card.map_names:
            raise unknown_map(name, card.map_names, f"model {card.id} gives")
    return tuple(maps) if maps else card.map_names


def unknown_map(name: str, known: Collection[str], by: str) -> UserError:
    """What to say where nobody gives a map; the nearest name is suggested."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"right is {', '.join(known)}"
    return UserError(f"{by} no map {name}; {hint}")


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
