"""The loss of each map, as in E2E-FT and Ouroboros."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import MapCodec, TargetPicture
from unrender.diffusion.codec import encode_map
from unrender.train.data import Batch
from unrender.train.losses import (
    affine_invariant_l1,
    affine_invariant_squared,
    angular_loss,
    gradient_l1,
    masked_mean,
    mean_absolute,
    mean_squared,
    structure_loss,
)


@dataclass(frozen=True)
class Weights:
    """The weights of the losses.

    Attributes:
        base_color, normal, depth, roughness, metallic, mask, irradiance, sky, rgb: of the map of that name; all
            others count 1.
        anchor: of the plain error beside the affine-invariant one, which keeps depth and irradiance in the range of
            their codecs.
        gradient: of the error of gradients, beside that of values, of colours, depth, roughness and metalness.
        structure: of 1 - SSIM of base colour and rgb, beside their error.
        deviation: of every map that says how far off another one is.
        absolute: whether errors of values are absolute (their optimum, the median, is sharp where the mean of two
            answers is a blur) rather than squared.
    """

    base_color: float = 2.0
    normal: float = 1.0
    depth: float = 1.0
    roughness: float = 0.3
    metallic: float = 0.3
    mask: float = 0.5
    irradiance: float = 1.0
    sky: float = 0.3
    rgb: float = 2.0
    anchor: float = 0.5
    gradient: float = 0.0
    structure: float = 0.0
    deviation: float = 0.2
    absolute: bool = False

    def of(self, name: str) -> float:
        """The weight of a map."""
        return getattr(self, name, 1.0)


def task_losses(
    predicted: Mapping[str, Tensor], batch: Batch, targets: Sequence[TargetPicture], weights: Weights
) -> dict[str, Tensor]:
    """The weighted loss of each map, over the pixels of surfaces and the views whose map is known: angle for normals,
    affine-invariant L1 for depth, affine-invariant squared error for irradiance, squared or absolute error for the
    rest; and squared error of a deviation from the error that is.

    Args:
        predicted: (B, 1 or 3, H, W) by name, the network's outputs, in about [-1, 1].
    """
    losses = {}
    for codec in (codec for picture in targets for codec in picture.maps):
        about = codec.map.removesuffix("_deviation")
        if about != codec.map:
            losses[codec.map] = weights.deviation * _deviation_loss(predicted, batch, codec, about)
        else:
            losses[codec.map] = weights.of(codec.map) * _loss(predicted[codec.map], batch, codec, weights)
    return losses


def actual_deviation(predicted: Mapping[str, Tensor], batch: Batch, about: str) -> Tensor:
    """How far the predicted map `about` is from the truth, (B, 1, H, W) in [0, 1]: the mean absolute error of its
    values stretched to [0, 1], of colours on the display curve; of normals the angle's share of 90 degrees, at most 1.
    """
    guess = predicted[about].detach().float()
    # The curve is that of every card that has deviations.
    target = encode_map(batch.maps[about], MapCodec(about, transfer="srgb" if about == "base_color" else "linear"))
    if about != "normal":
        return ((guess - target).abs().mean(1, keepdim=True) / 2).clamp(max=1)
    cosine = functional.cosine_similarity(guess, target, dim=1, eps=1e-6)[:, None]
    return (torch.acos(cosine.clamp(-1, 1)) / (math.pi / 2)).clamp(max=1)


def _deviation_loss(predicted: Mapping[str, Tensor], batch: Batch, codec: MapCodec, about: str) -> Tensor:
    known = batch.known[about].to(batch.photo)[:, None, None, None]
    off = actual_deviation(predicted, batch, about)
    return mean_squared((predicted[codec.map] + 1) / 2, off, batch.surface() * known)


def _loss(guess: Tensor, batch: Batch, codec: MapCodec, weights: Weights) -> Tensor:
    if codec.map not in batch.maps:
        return 0.0 * guess.sum()
    target = encode_map(batch.maps[codec.map], codec)
    known = batch.known[codec.map].to(guess)[:, None, None, None]
    everywhere = torch.ones_like(guess[:, :1]) * known
    surface = batch.surface() * known
    if codec.map == "normal":
        edges = weights.gradient * gradient_l1(guess, target, surface) if weights.gradient else 0.0
        return angular_loss(guess, target, surface) + edges
    if codec.map == "depth":
        plain = masked_mean((guess - target).abs(), surface)
        edges = weights.gradient * gradient_l1(guess, target, surface) if weights.gradient else 0.0
        return affine_invariant_l1(guess, target, surface) + weights.anchor * plain + edges
    if codec.map == "irradiance":
        plain = mean_squared(guess, target, surface)
        return affine_invariant_squared(guess, target, surface) + weights.anchor * plain
    where = everywhere if codec.map in ("mask", "sky", "rgb") else surface
    error = mean_absolute if weights.absolute else mean_squared
    loss = error(guess, target, where)
    if weights.gradient and codec.map not in ("mask", "sky"):
        loss = loss + weights.gradient * gradient_l1(guess, target, where)
    if weights.structure and codec.map in ("base_color", "rgb"):
        loss = loss + weights.structure * structure_loss(guess, target, where)
    return loss
