"""The inverse renderer."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unrender.diffusion.card import ModelCard
from unrender.diffusion.engine import Engine, Prediction, load_engine, run
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.latent_cache import LatentCache
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.files.natural import FramesLike, as_frames
from unrender.inverse.ensemble import ensemble
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.holes import with_filled_holes

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
        cls,
        model: str | Path = "mini",
        inference: InferenceOptions = DEFAULT_INFERENCE,
        *,
        domain: str = "",
        attend: bool = False,
    ) -> InverseRenderer:
        """The renderer of an embedded or published model (`unrender models list`), or of a model folder.

        Args:
            inference: device, precision, memory, size, and how faithfully the official code is followed.
            domain: the kind of scene, for models that are conditioned on it ("indoor", "outdoor", "object").
            attend: let the frames of a call attend to one another, as the views of a set may.

        Raises:
            UserError: no such model, one that was not pulled, a broken folder, or a device that is not present.
        """
        return cls(load_engine(model, "inverse", inference, domain, attend=attend))

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.engine.card

    def __call__(
        self,
        photo: FramesLike,
        maps: Sequence[str] | None = None,
        *,
        steps: int | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
        ensemble_size: int = 1,
    ) -> GBuffer:
        """The G-buffer of a picture or clip, at its size, with the picture itself as `rgb`.

        Args:
            photo: (T, 3, H, W) scene-linear frames of any size; scene-referred ones are exposed for display first. A
                path, a tensor or an array is taken as `files.as_frames` takes it.
            maps: names of the maps wanted; every one that the model predicts when None. `mask` always comes along where
                the model or the photo has one.
            steps: denoising steps; the card's own number when None.
            noise: (T, C, h, w) to start from instead of the card's noise; `noise_shape` says the shape. Of an ensemble
                (N, T, C, h, w), one for each prediction.
            seed: of the noise.
            ensemble_size: predictions that are combined, each from noise of its own (see `ensemble`).

        Raises:
            UserError: an unknown map, a picture too small or too narrow, noise of another shape, or an ensemble where
                there is no noise.
        """
        photo, wanted = as_frames(photo), check_maps(maps, self.card)
        seen = with_filled_holes(photo)
        if ensemble_size > 1:
            noises = self._ensemble_noise(noise, ensemble_size)
            once = replace(self, engine=replace(self.engine, cache=self.engine.cache or LatentCache()))
            return ensemble(
                [once(photo, wanted, steps=steps, noise=own, seed=seed + k) for k, own in enumerate(noises)]
            )
        prediction = run(self.engine, Inputs.of_photo(seen), maps=wanted, noise=noise, steps=steps, seed=seed)
        return finish_maps(prediction.gbuffer((*wanted, "mask")), photo, wanted, in_place=True)

    def pictures(
        self,
        photo: FramesLike,
        maps: Sequence[str] | None = None,
        *,
        steps: int | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        """The decoded pictures by name, (T, C, h, w) float32, about [-1, 1], without padding, at the size of the
        network, as the VAE gives them. Arguments as in `__call__`. For holding the engine against another
        implementation number by number."""
        return self._prediction(photo, maps, noise, steps, seed).pictures()

    def latents(
        self,
        photo: FramesLike,
        maps: Sequence[str] | None = None,
        *,
        steps: int | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor:
        """The clean latents (T, targets x C, h, w), float32, of the targets that carry `maps`. Arguments as in
        `__call__`."""
        return self._prediction(photo, maps, noise, steps, seed).latents

    def noise_shape(self, photo: FramesLike) -> tuple[int, int, int, int]:
        """The shape that `noise` must have for `photo`."""
        photo = as_frames(photo)
        return self.engine.noise_shape(photo.size, len(photo), photo.name)

    def _prediction(
        self, photo: FramesLike, maps: Sequence[str] | None, noise: Tensor | None, steps: int | None, seed: int
    ) -> Prediction:
        wanted = check_maps(maps, self.card)
        inputs = Inputs.of_photo(with_filled_holes(as_frames(photo)))
        return run(self.engine, inputs, maps=wanted, noise=noise, steps=steps, seed=seed, flip_tta=False)

    def _ensemble_noise(self, noise: Tensor | None, members: int) -> Sequence[Tensor | None]:
        """The noise of every member, None where each draws its own."""
        if noise is None and self.card.sampling.noise in ("zeros", "none"):
            raise UserError(
                f"{self.card.id} starts from no noise: all its predictions would be alike; expected an ensemble of one"
            )
        if noise is None:
            return [None] * members
        if noise.ndim != 5 or len(noise) != members:
            raise UserError(f"the noise has shape {tuple(noise.shape)}; expected ({members}, T, C, h, w), one a member")
        return list(noise)


def check_maps(maps: Sequence[str] | None, card: ModelCard) -> tuple[str, ...]:
    """The maps requested, the card's usual ones when None.

    Raises:
        UserError: the model gives no such map; the nearest name is suggested.
    """
    for name in maps or ():
        if name not in card.map_names:
            raise unknown_map(name, card.map_names, f"model {card.id} gives")
    return tuple(maps) if maps else card.usual_maps


def unknown_map(name: str, known: Collection[str], by: str) -> UserError:
    """What to say where nobody gives a map; the nearest name is suggested."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
    return UserError(f"{by} no map {name}; {hint}")


def finish_maps(gbuffer: GBuffer, photo: Frames, wanted: Sequence[str], *, in_place: bool = False) -> GBuffer:
    """Puts the photo in, its alpha into the mask, and takes normal and depth away where there is no surface: from the
    maps themselves where `in_place` says that nobody else has them."""
    mask = gbuffer.mask
    if photo.mask is not None:
        mask = photo.mask if mask is None else mask * photo.mask
    if mask is not None:
        fill = torch.inference_mode()(Tensor.masked_fill_) if in_place else Tensor.masked_fill
        if gbuffer.normal is not None:
            gbuffer = gbuffer.with_maps(normal=fill(gbuffer.normal, mask < SURFACE, 0.0))
        if gbuffer.depth is not None:
            gbuffer = gbuffer.with_maps(depth=fill(gbuffer.depth, mask < SURFACE, torch.inf))
    unwanted = {name: None for name in gbuffer.maps if name not in wanted}
    kept = gbuffer.with_maps(**unwanted, rgb=photo.rgb)
    return replace(kept, fps=photo.fps, plate=photo.plate, plates=photo.plates).with_maps(mask=mask)
