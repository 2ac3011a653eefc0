"""The two cycles of Ouroboros (Sun et al., ICCV 2025, section 3.2), through both networks in one step each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.diffusion.card import NoiseKind
from unrender.diffusion.codec import RELATIVE_NEAR, decode_maps, encode_map
from unrender.diffusion.decoding import Memory
from unrender.scene.alignment import fit_scale
from unrender.scene.color import linear_to_srgb
from unrender.train.data import VALID_COVERAGE, Batch
from unrender.train.dropout import Conditions, condition_on_all
from unrender.train.learner import Learner
from unrender.train.losses import mean_squared

Maps = dict[str, Tensor]


@dataclass(frozen=True)
class Pair:
    """Two single-step networks that undo one another.

    Attributes:
        inverse, forward: the two; the inverse one gives all its pictures in one pass, irradiance among them.
        noise: what each step starts from.
        memory: how the decoder is run.
    """

    inverse: Learner
    forward: Learner
    noise: NoiseKind
    memory: Memory = "whole"

    def decompose(self, batch: Batch, seed: int) -> Tensor:
        """The pictures (B, targets, 3, H, W) that `batch.photo` is decomposed into; differentiable."""
        targets = self.inverse.passes()[0]
        conditioning = self.inverse.condition(batch, targets, condition_on_all(self.inverse.card, batch))
        noise = self.inverse.noise(self.noise, self.inverse.blank(batch, targets), seed)
        return self.inverse.pictures(self.inverse.single_step(conditioning, noise), targets, self.memory)

    def recompose(self, batch: Batch, conditions: Conditions, seed: int) -> Tensor:
        """The picture (B, 3, H, W) in about [-1, 1] that `batch.maps` are recomposed into; differentiable."""
        targets = self.forward.passes()[0]
        conditioning = self.forward.condition(batch, targets, conditions)
        noise = self.forward.noise(self.noise, self.forward.blank(batch, targets), seed)
        return self.forward.maps(self.forward.single_step(conditioning, noise), targets, self.memory)["rgb"]


@dataclass(frozen=True)
class Reconstruction:
    """What a photo's maps make: `rgb` (B, 3, H, W) on display codes in [0, 1], and where they say that there is a
    surface, `surface` (B, 1, H, W)."""

    rgb: Tensor
    surface: Tensor


def recompose(pair: Pair, batch: Batch, pictures: Tensor, seed: int) -> Reconstruction:
    """The picture that `pictures`, what `pair.decompose` makes of a photo, make again.

    A photograph's exposure is in none of the maps, so it is scaled to the photo by least squares, picture by picture.
    """
    maps = _maps(pair.inverse, pictures)
    surface = (maps["mask"] > VALID_COVERAGE).float() if "mask" in maps else torch.ones_like(batch.photo[:, :1])
    seen = on_surfaces(maps, surface)
    known = {name: torch.ones_like(batch.known["rgb"]) for name in seen}
    answer = pair.recompose(replace(batch, maps=seen, known=known, lit=None), _by_irradiance(pair, batch), seed)
    linear = decode_maps(answer, pair.forward.passes()[0][0])["rgb"]
    with torch.no_grad():
        scale = fit_scale(linear, batch.photo, surface)
    return Reconstruction(linear_to_srgb((linear * scale).clamp(0, 1)), surface)


def photo_cycle(pair: Pair, batch: Batch, pictures: Tensor, seed: int) -> Tensor:
    """|I - I~|^2 of a photo and of what its maps make, on display codes, over what the maps say is surface."""
    again = recompose(pair, batch, pictures, seed)
    return mean_squared(again.rgb, linear_to_srgb(batch.photo), again.surface)


def maps_cycle(pair: Pair, batch: Batch, seed: int) -> Tensor:
    """|X - X~|^2 of maps and of what comes back of them by way of the picture that they make: the mean over the maps
    that are known, in the network's [-1, 1], over surfaces, of views whose irradiance is known."""
    answer = pair.recompose(batch, _by_irradiance(pair, batch), seed)
    photo = decode_maps(answer, pair.forward.passes()[0][0])["rgb"]
    pictures = pair.decompose(replace(batch, photo=photo), seed + 1)
    surface = batch.surface() * batch.known["irradiance"].to(photo)[:, None, None, None]
    errors = []
    for index, target in enumerate(pair.inverse.passes()[0]):
        for codec in target.maps:
            known = batch.known.get(codec.map)
            if known is not None and bool(known.any()):
                guess = pictures[:, index, list(codec.channels)]
                truth = encode_map(batch.maps[codec.map], codec).expand_as(guess)
                errors.append(mean_squared(guess, truth, surface * known.to(surface)[:, None, None, None]))
    return torch.stack(errors).mean()


def leakage(pictures: Tensor, before: Tensor) -> Tensor:
    """How far the pictures (B, pictures, 3, H, W) of a photo have moved from what they were `before` cycle training:
    mean squared difference."""
    return (pictures - before).square().mean()


def on_surfaces(maps: Mapping[str, Tensor], surface: Tensor) -> Maps:
    """Maps as a forward network knows them: nothing where there is no surface, and there as far as can be."""
    seen = {name: values * surface for name, values in maps.items()}
    if "depth" in seen:
        seen["depth"] = seen["depth"] + (1 - surface) * (RELATIVE_NEAR + 1)
    return seen


def _maps(inverse: Learner, pictures: Tensor) -> Maps:
    targets = inverse.passes()[0]
    return {
        name: values for i, target in enumerate(targets) for name, values in decode_maps(pictures[:, i], target).items()
    }


def _by_irradiance(pair: Pair, batch: Batch) -> Conditions:
    """Every map, and no light."""
    inputs = pair.forward.card.maps.inputs
    maps = torch.tensor([given.radiance_hint == "" for given in inputs], device=batch.photo.device)
    return Conditions(maps.expand(len(batch), -1), torch.zeros(len(batch), dtype=torch.bool, device=batch.photo.device))
