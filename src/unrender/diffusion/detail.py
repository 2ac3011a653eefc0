"""A small answer brought to the picture's own resolution by a `DetailNetwork`. Training and inference call the same."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unrender.diffusion.card import ModelCard, TargetPicture
from unrender.diffusion.codec import encode_map
from unrender.diffusion.model import Engine, Size
from unrender.diffusion.upsampling import guided_upsample
from unrender.scene.color import luminance
from unrender.scene.gbuffer import CHANNELS
from unrender.scene.resize import resize_picture


def detail_size(engine: Engine, size: Size) -> Size:
    """(height, width) that the detail network of a model sees a picture of `size` at: its own, up to the card's
    limit."""
    detail = engine.card.maps.detail
    longest = max(size)
    if detail is None or longest <= detail.long_side:
        return size
    return max(1, round(size[0] * detail.long_side / longest)), max(1, round(size[1] * detail.long_side / longest))


def refined_maps(network: nn.Module, card: ModelCard, photo: Tensor, small: Tensor) -> Tensor:
    """What an inverse model says of a `photo` (B, 3, H, W), at its size, from the decoded picture `small` (B, C, h, w)
    of a network that saw less; all in about [-1, 1]. The first answer is the small one enlarged as it is without a
    detail network: maps that the card calls guided along the photo's edges.

    Args:
        network: a `DetailNetwork`, as training may wrap it.
    """
    # In single precision: processors resize in no less.
    coarse, guide = small.float(), (photo.float() + 1) / 2
    first = resize_picture(coarse, (photo.shape[2], photo.shape[3])).clone()
    for codec in card.maps.targets[0].maps:
        if codec.map in card.maps.size.guided:
            channels = list(codec.channels)
            colored = CHANNELS[codec.map] == 3
            along = guide if colored else luminance(guide)
            first[:, channels] = guided_upsample((coarse[:, channels] + 1) / 2, along) * 2 - 1
    return network(photo, first.to(photo))


def refined_render(network: nn.Module, given: Tensor, small: Tensor, first: Tensor) -> Tensor:
    """A first render (B, C, H, W), mended by what a forward model answered at its own size, `small` (B, C, h, w), and
    by the maps that are `given` (B, G, H, W) (`surface_pictures`); all in about [-1, 1]."""
    enlarged = resize_picture(small.float(), (given.shape[2], given.shape[3])).to(given)
    return network(torch.cat((given, enlarged), dim=1), first)


def surface_pictures(engine: Engine, maps: Mapping[str, Tensor]) -> Tensor:
    """What the detail network of a forward model is given beside the small answer: every map that the card names which
    is neither a first render nor an irradiance, (B, G, H, W) in [-1, 1]; zeros where one is missing."""
    like = next(iter(maps.values()))
    parts = []
    for shown in engine.card.maps.inputs:
        if shown.radiance_hint or shown.codec.map == "irradiance":
            continue
        channels = 3 if shown.codec.map in ("base_color", "normal") else 1
        blank = like.new_zeros(len(like), channels, *like.shape[2:])
        parts.append(encode_map(maps[shown.codec.map], shown.codec) if shown.codec.map in maps else blank)
    return torch.cat(parts, dim=1)


def turned_back(picture: Tensor, target: TargetPicture) -> Tensor:
    """A decoded picture (B, C, H, W) of a mirrored photo as it would be of the photo: mirrored, and the x of its
    normals the other way."""
    signs = picture.new_ones(picture.shape[1])
    for codec in target.maps:
        if codec.map == "normal":
            signs[codec.channels[0]] = -1
    return picture.flip(3) * signs[:, None, None]
