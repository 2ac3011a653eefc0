"""Between the conventions of unrender and the [-1, 1] pictures of a checkpoint. Every function is differentiable."""

from __future__ import annotations

import torch
from torch import Tensor

from unrender.diffusion.card import MapCodec, ModelCard, TargetPicture, Transfer
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.gbuffer import CHANNELS

RELATIVE_NEAR = 1.0
"""Relative depth is known up to scale and shift; the value 0 of a checkpoint is put here, so that depth is positive and
the range [0, 1] of a checkpoint becomes [1, 2]."""

_GAMMA = 2.2


def encode_transfer(linear: Tensor, transfer: Transfer) -> Tensor:
    """Linear values in [0, 1] to values on the curve `transfer`, in [0, 1]."""
    if transfer == "srgb":
        return linear_to_srgb(linear)
    return linear ** (1 / _GAMMA) if transfer == "gamma22" else linear


def decode_transfer(encoded: Tensor, transfer: Transfer) -> Tensor:
    """Values in [0, 1] on the curve `transfer` to linear values in [0, 1]."""
    if transfer == "srgb":
        return srgb_to_linear(encoded)
    return encoded**_GAMMA if transfer == "gamma22" else encoded


def encode_photo(rgb_linear: Tensor, card: ModelCard) -> Tensor:
    """Display-referred linear photo (B, 3, H, W), clipped to [0, 1], to what the autoencoder encodes, in [-1, 1]."""
    return encode_transfer(rgb_linear.clamp(0, 1), card.photo_transfer) * 2 - 1


def decode_maps(picture: Tensor, target: TargetPicture) -> dict[str, Tensor]:
    """A decoded picture (B, C, H, W), about [-1, 1], to the maps it carries, each (B, 1 or 3, H, W), in unrender's
    conventions: unit normals, colours linear in [0, 1], relative depth >= `RELATIVE_NEAR`."""
    return {codec.map: _decode_map(picture[:, list(codec.channels)], codec) for codec in target.maps}


def raw_map(picture: Tensor, codec: MapCodec) -> Tensor:
    """The channels of a decoded picture (B, C, H, W) that carry one map, as the network gave them, about [-1, 1] and
    unclipped: (B, 1 or 3, H, W). Training losses are taken here."""
    values = picture[:, list(codec.channels)]
    return values.mean(1, keepdim=True) if CHANNELS[codec.map] == 1 else values


def encode_map(values: Tensor, codec: MapCodec) -> Tensor:
    """A map in unrender's conventions (B, 1 or 3, H, W) to the [-1, 1] that `codec` wants of the network: the inverse
    of `decode_maps`. Depth is the relative one, in `RELATIVE_NEAR` + [0, 1]."""
    if codec.map == "normal":
        return values * values.new_tensor(codec.signs)[:, None, None]
    if codec.map == "depth":
        return (values - RELATIVE_NEAR) * 2 - 1
    return encode_transfer(values.clamp(0, 1), codec.transfer) * 2 - 1


def _decode_map(values: Tensor, codec: MapCodec) -> Tensor:
    if CHANNELS[codec.map] == 1:
        values = values.mean(1, keepdim=True)
    if codec.map == "normal":
        mirrored = values * values.new_tensor(codec.signs)[:, None, None]
        return torch.nn.functional.normalize(mirrored, dim=1)
    unit = ((values + 1) / 2).clamp(0, 1)
    if codec.map == "depth":
        return RELATIVE_NEAR + unit
    return decode_transfer(unit, codec.transfer)
