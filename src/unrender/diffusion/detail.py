"""A small answer brought to the picture's own resolution by a `DetailNetwork`. Training and inference call the same."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unrender.diffusion.card import TargetPicture
from unrender.diffusion.codec import encode_map
from unrender.diffusion.model import Engine, Size
from unrender.scene.resize import resize_picture


def detail_size(engine: Engine, size: Size) -> Size:
    """(height, width) that the detail network of a model sees a picture of `size` at: its own, up to the card's
    limit."""
    detail = engine.card.maps.detail
    longest = max(size)
    if detail is None or longest <= detail.long_side:
        return size
    return max(1, round(size[0] * detail.long_side / longest)), max(1, round(size[1] * detail.long_side / longest))


def refined(network: nn.Module, given: Tensor, small: Tensor, first: Tensor | None = None) -> Tensor:
    """The answer (B, C, H, W) at the size of the pictures `given` (B, G, H, W).

    Args:
        network: a `DetailNetwork`, as training may wrap it.
        small: (B, C, h, w) the answer of a network that saw less; all in about [-1, 1].
        first: (B, C, H, W) what is to be mended, where that is not the small answer itself; the small answer then is
            one more picture that is given.
    """
    # In single precision: processors resize in no less.
    enlarged = resize_picture(small.float(), (given.shape[2], given.shape[3])).to(given)
    if first is None:
        return network(given, enlarged)
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
