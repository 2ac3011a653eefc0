"""The loss of each map, as in E2E-FT and Ouroboros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.card import MapCodec, TargetPicture
from unrender.diffusion.codec import encode_map
from unrender.train.data import Batch
from unrender.train.losses import affine_invariant_l1, affine_invariant_squared, angular_loss, masked_mean, mean_squared


@dataclass(frozen=True)
class Weights:
    """The weights of the losses.

    Attributes:
        base_color, normal, depth, roughness, metallic, mask, irradiance, rgb: of the map of that name; all others
            count 1.
        anchor: of the plain error beside the affine-invariant one, which keeps depth and irradiance in the range of
            their codecs.
    """

    base_color: float = 2.0
    normal: float = 1.0
    depth: float = 1.0
    roughness: float = 0.3
    metallic: float = 0.3
    mask: float = 0.5
    irradiance: float = 1.0
    rgb: float = 2.0
    anchor: float = 0.5

    def of(self, name: str) -> float:
        """The weight of a map."""
        return getattr(self, name, 1.0)


def task_losses(
    predicted: Mapping[str, Tensor], batch: Batch, targets: Sequence[TargetPicture], weights: Weights
) -> dict[str, Tensor]:
    """The weighted loss of each map, over the pixels of surfaces and the views whose map is known: angle for normals,
    affine-invariant L1 for depth, affine-invariant squared error for irradiance, squared error for the rest.

    Args:
        predicted: (B, 1 or 3, H, W) by name, the network's outputs, in about [-1, 1].
    """
    return {
        codec.map: weights.of(codec.map) * _loss(predicted[codec.map], batch, codec, weights)
        for picture in targets
        for codec in picture.maps
    }


def _loss(guess: Tensor, batch: Batch, codec: MapCodec, weights: Weights) -> Tensor:
    target = encode_map(batch.maps[codec.map], codec)
    known = batch.known[codec.map].to(guess)[:, None, None, None]
    everywhere = torch.ones_like(guess[:, :1]) * known
    surface = batch.surface() * known
    if codec.map == "normal":
        return angular_loss(guess, target, surface)
    if codec.map == "depth":
        plain = masked_mean((guess - target).abs(), surface)
        return affine_invariant_l1(guess, target, surface) + weights.anchor * plain
    if codec.map == "irradiance":
        plain = mean_squared(guess, target, surface)
        return affine_invariant_squared(guess, target, surface) + weights.anchor * plain
    return mean_squared(guess, target, everywhere if codec.map in ("mask", "rgb") else surface)
