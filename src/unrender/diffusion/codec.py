"""Between the conventions of unrender and the [-1, 1] pictures of a checkpoint. Every function is differentiable.

Out of the network a map goes in two steps: `read_codes` gives the values that an official pipeline hands over (display
codes, unit vectors, depth in [0, 1]), `decode_codes` brings them into unrender's conventions. Official pipelines resize
between the two.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from unrender.diffusion.card import Exposure, MapCodec, TargetPicture, Transfer
from unrender.scene.color import linear_to_power, linear_to_srgb, power_to_linear, srgb_to_linear
from unrender.scene.gbuffer import CHANNELS
from unrender.scene.tone import log_average_gain, percentile_gain

RELATIVE_NEAR = 1.0
"""Relative depth is known up to scale and shift; the value 0 of a checkpoint is put here, so that depth is positive and
the range [0, 1] of a checkpoint becomes [1, 2]."""

DEPTH_PERCENTILES = (0.02, 0.98)
"""What is nearer or farther than these shares of a frame is clipped in relative depth (Marigold, section 3.1)."""

PERCENTILE = (90.0, 0.6)
"""Scene-referred pictures are exposed as a camera would have: this percentile of luminance comes to this value. Each
frame by itself, so that a clip read frame by frame gives what the whole clip gives."""

RGBX_LUMINANCE = (0.2125, 0.7154, 0.0721)
"""The weights that RGB<->X's log-average is taken with."""

XYZ_FROM_RGB = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
RGB_FROM_XYZ = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)
"""Between linear sRGB and CIE XYZ under D65 (Lindbloom), in the digits that RGB<->X has."""


def expose(linear: Tensor, exposure: Exposure) -> Tensor:
    """Scene-referred values (B, 3, H, W), linear, brought to where a display has [0, 1], frame by frame; unclipped."""
    if exposure == "percentile":
        return linear * percentile_gain(linear, *PERCENTILE)
    if exposure == "none":
        return linear
    gain = log_average_gain(linear, weights=RGBX_LUMINANCE, lit_only=exposure == "log_average_lit")
    return _scale_luminance(linear, gain) if exposure == "log_average_yxy" else linear * gain


def _scale_luminance(linear: Tensor, gain: Tensor) -> Tensor:
    """Linear rgb (T, 3, H, W) times a gain (T, 1, 1, 1), in Yxy as RGB<->X does it: what saves it from dividing by zero
    turns pixels that are nearly black blue."""
    xyz = torch.einsum("ij,tjhw->tihw", linear.new_tensor(XYZ_FROM_RGB), linear)
    x, y, _ = (xyz / xyz.sum(1, keepdim=True).clamp(min=1e-4)).split(1, dim=1)
    light = xyz[:, 1:2] * gain
    scaled = torch.cat((x / y.clamp(min=1e-6) * light, light, (1 - x - y) / y.clamp(min=1e-4) * light), dim=1)
    return torch.einsum("ij,tjhw->tihw", linear.new_tensor(RGB_FROM_XYZ), scaled)


def encode_transfer(linear: Tensor, transfer: Transfer) -> Tensor:
    """Linear values in [0, 1] to values on the curve `transfer`, in [0, 1]."""
    if transfer == "srgb":
        return linear_to_srgb(linear)
    if transfer == "code22":
        return power_to_linear(linear_to_srgb(linear))
    return linear_to_power(linear) if transfer == "gamma22" else linear


def relative_depth(depth: Tensor, mask: Tensor) -> Tensor:
    """Each frame's depth (T, 1, H, W), metric or not, brought to `RELATIVE_NEAR` + [0, 1] between its
    `DEPTH_PERCENTILES`; 1 above near where there is no surface."""
    frames = []
    for values, there in zip(depth, mask, strict=True):
        finite = values[(there > 0.5) & values.isfinite()]
        if len(finite) == 0:
            frames.append(torch.full_like(values, RELATIVE_NEAR + 1))
            continue
        # torch sorts no more than so many values; every second or third says the same.
        near, far = torch.quantile(finite[:: 1 + len(finite) // 2**24], finite.new_tensor(DEPTH_PERCENTILES))
        frames.append(RELATIVE_NEAR + ((values - near) / (far - near).clamp(min=1e-3)).clamp(0, 1))
    return torch.stack(frames)


def encode_map(values: Tensor, codec: MapCodec) -> Tensor:
    """A map in unrender's conventions (B, 1 or 3, H, W) to the [-1, 1] that `codec` wants of the network: the inverse
    of `decode_maps`. Depth is the relative one, in `RELATIVE_NEAR` + [0, 1]."""
    if codec.map == "normal":
        mirrored = values * values.new_tensor(codec.signs)[:, None, None]
        nothing = values.square().sum(1, keepdim=True) < 1e-6
        return torch.where(nothing, values.new_tensor(codec.none)[:, None, None], mirrored)
    if codec.map == "depth":
        return (values - RELATIVE_NEAR) * 2 - 1
    return encode_transfer(values.clamp(0, 1), codec.transfer) * 2 - 1


def encode_picture(maps: Mapping[str, Tensor], target: TargetPicture) -> Tensor:
    """The picture (B, C, H, W) in [-1, 1] that carries `maps`, (B, 1 or 3, H, W) each: the inverse of `decode_maps`. It
    has three channels at least, as autoencoders take them; those that carry nothing are 0."""
    encoded = {codec: encode_map(maps[codec.map], codec) for codec in target.maps}
    first = next(iter(encoded.values()))
    channels = max(3, 1 + max(max(codec.channels) for codec in target.maps))
    picture = first.new_zeros(len(first), channels, *first.shape[2:])
    for codec, values in encoded.items():
        picture[:, list(codec.channels)] = values.expand(-1, len(codec.channels), -1, -1)
    return picture


def decode_maps(picture: Tensor, target: TargetPicture) -> dict[str, Tensor]:
    """A decoded picture (B, C, H, W), about [-1, 1], to the maps it carries, each (B, 1 or 3, H, W), in unrender's
    conventions: unit normals, colours linear in [0, 1], relative depth >= `RELATIVE_NEAR`."""
    codes = read_codes(picture, target)
    return {codec.map: decode_codes(codes[codec.map], codec) for codec in target.maps}


def read_codes(picture: Tensor, target: TargetPicture) -> dict[str, Tensor]:
    """A decoded picture (B, C, H, W), about [-1, 1], to what an official pipeline hands over of it: normals in the
    checkpoint's axes, everything else in [0, 1], colours as display codes. Each (B, 1 or 3, H, W)."""
    return {codec.map: _read(raw_map(_clipped(picture, codec), codec), codec) for codec in target.maps}


def decode_codes(codes: Tensor, codec: MapCodec) -> Tensor:
    """What `read_codes` gives, resized by any filter, to unrender's conventions; (B, 1 or 3, H, W) both."""
    if codec.map == "normal":
        return functional.normalize(codes * codes.new_tensor(codec.signs)[:, None, None], dim=1)
    codes = codes.clamp(0, 1)  # a bicubic filter overshoots
    if codec.map == "depth":
        return RELATIVE_NEAR + codes
    if codec.transfer in ("srgb", "code22"):
        return srgb_to_linear(codes)
    return power_to_linear(codes) if codec.transfer == "gamma22" else codes


def raw_map(picture: Tensor, codec: MapCodec) -> Tensor:
    """The channels of a decoded picture (B, C, H, W) that carry one map, as the network gave them, about [-1, 1] and
    unclipped: (B, 1 or 3, H, W). Training losses are taken here."""
    values = picture[:, list(codec.channels)]
    return values.mean(1, keepdim=True) if CHANNELS[codec.map] == 1 else values


def _clipped(picture: Tensor, codec: MapCodec) -> Tensor:
    picture = picture.clamp(-1, 1) if codec.clipped == "channels" else picture
    return ((picture + 1) / 2 * 255).round() / 255 * 2 - 1 if codec.rounded else picture


def _read(values: Tensor, codec: MapCodec) -> Tensor:
    if codec.map == "normal":
        return _read_normal(values, codec)
    unit = ((values + 1) / 2).clamp(0, 1)
    if codec.stretched:
        low, high = unit.amin((1, 2, 3), keepdim=True), unit.amax((1, 2, 3), keepdim=True)
        return (unit - low) / (high - low).clamp(min=1e-12)
    return linear_to_power(unit) if codec.transfer == "code22" else unit


def _read_normal(values: Tensor, codec: MapCodec) -> Tensor:
    if codec.vectors != "unit":
        values = values.clamp(-1, 1)
    if codec.half_z:
        values = torch.cat((values[:, :2], values[:, 2:] / 2 + 0.5), dim=1)
    return values if codec.vectors == "clipped" else functional.normalize(values, dim=1)
