"""What of a batch conditions a network: all that is known, less what is dropped so that it learns to do without."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.card import InputMap, ModelCard
from unrender.train.data import Batch
from unrender.train.loop import BatchSpec

LIT = 0.6
"""Probability that a view whose irradiance is known is conditioned on its light instead."""


@dataclass(frozen=True)
class Conditions:
    """What each of B views is conditioned on.

    Attributes:
        maps: (B, given maps) of the card, in its order.
        light: (B,) whether on the light.
    """

    maps: Tensor
    light: Tensor


def condition_on_all(card: ModelCard, batch: Batch) -> Conditions:
    """Everything that is known; of light and irradiance, the light where it is known."""
    return _with_lights(card, batch, _known_light(batch))


def drop_conditions(card: ModelCard, batch: Batch, spec: BatchSpec, dropout: float) -> Conditions:
    """What the batch of `spec` is conditioned on: each known map, dropped with the probability `dropout`, and either
    the light, with its radiance hint, or the irradiance. An inverse renderer always sees the photo."""
    generator = spec.generator(4)
    lit = torch.rand(len(batch), generator=generator).to(batch.photo.device) < LIT
    irradiance = batch.known.get("irradiance", torch.zeros_like(lit))
    conditions = _with_lights(card, batch, _known_light(batch) & (lit | ~irradiance))
    kept = torch.rand(conditions.maps.shape, generator=generator).to(batch.photo.device) >= dropout
    always = torch.tensor(
        [given.radiance_hint != "" or given.codec.map in ("rgb", "irradiance") for given in card.maps.inputs]
    )
    return Conditions(conditions.maps & (kept | always.to(kept.device)), conditions.light)


def _with_lights(card: ModelCard, batch: Batch, light: Tensor) -> Conditions:
    return Conditions(
        torch.stack([_known_input(given, card, batch, light) for given in card.maps.inputs], dim=1), light
    )


def _known_input(given: InputMap, card: ModelCard, batch: Batch, light: Tensor) -> Tensor:
    if card.task == "inverse":
        return torch.ones_like(light)
    if given.radiance_hint:
        return light
    known = batch.known.get(given.codec.map, torch.zeros_like(light))
    return known & ~light if card.light and given.codec.map == "irradiance" else known


def _known_light(batch: Batch) -> Tensor:
    return torch.full((len(batch),), batch.lit is not None, device=batch.photo.device)
