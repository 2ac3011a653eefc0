"""Networks as denoisers: how each takes noisy latents, a time and a conditioning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unrender.diffusion.card import Concatenation
from unrender.diffusion.conditioning import Conditioning, Denoiser
from unrender.diffusion.networks.joint_attention import set_group_size
from unrender.diffusion.networks.views.install import set_views
from unrender.errors import UserError


@dataclass(frozen=True)
class UNet2D:
    """`UNet2DConditionModel`: every item by itself, but where its self-attention was made joint, or view layers were
    added.

    Attributes:
        network: the UNet, or what wraps it.
        order: what comes first in its input.
        takes_noise: whether it sees the noisy latents at all.
    """

    network: nn.Module
    order: Concatenation = "inputs_first"
    takes_noise: bool = True

    def __call__(self, noisy: Tensor, time: int | float | Tensor, conditioning: Conditioning) -> Tensor:
        """See `Denoiser`. It runs in the precision of the conditioning, and answers in that of the latents."""
        set_group_size(self.network, conditioning.group_size)
        if conditioning.cameras is not None:
            set_views(self.network, conditioning.cameras, conditioning.group_size)
        picture = network_input(noisy, conditioning, self.order, self.takes_noise)
        (tokens,) = conditioning.tokens
        output = self.network(picture, time, tokens, class_labels=conditioning.class_labels, return_dict=False)[0]
        return output.to(noisy.dtype)


@dataclass(frozen=True)
class SpatioTemporalUNet:
    """`UNetSpatioTemporalConditionModel` (Stable Video Diffusion) and `VideoRendererUNet`: the items of a group are the
    frames of a window.

    Attributes: see `UNet2D`.
    """

    network: nn.Module
    order: Concatenation = "inputs_first"
    takes_noise: bool = True

    def __call__(self, noisy: Tensor, time: int | float | Tensor, conditioning: Conditioning) -> Tensor:
        """See `Denoiser`. Time, tokens, time ids and row of a group are those of its first frame; but tokens of several
        levels are those of every frame."""
        frames, levels = conditioning.group_size, conditioning.tokens
        clip = network_input(noisy, conditioning, self.order, self.takes_noise).unflatten(0, (-1, frames))
        if isinstance(time, Tensor) and time.ndim:
            time = time[::frames]
        if conditioning.time_ids is None:
            raise UserError("a spatio-temporal UNet needs added time ids (fps, motion bucket, noise augmentation)")
        told = {"added_time_ids": conditioning.time_ids[::frames], "return_dict": False}
        if conditioning.class_labels is not None:
            told["context"] = conditioning.class_labels[::frames]
        tokens = levels[0][::frames] if len(levels) == 1 else levels
        output = self.network(clip, time, tokens, **told)[0]
        return output.flatten(0, 1).to(noisy.dtype)


DENOISERS: dict[str, Callable[[nn.Module, Concatenation, bool], Denoiser]] = {
    "UNet2DConditionModel": UNet2D,
    "SmallUNet": UNet2D,
    "UNetSpatioTemporalConditionModel": SpatioTemporalUNet,
    "VideoRendererUNet": SpatioTemporalUNet,
}
"""By the class of the network."""


def make_denoiser(network: nn.Module, order: Concatenation, takes_noise: bool) -> Denoiser:
    """The denoiser that `network` is, whatever wraps it (compilation, several processes).

    Raises:
        UserError: nothing is known of its class.
    """
    inner = network
    while hasattr(inner, "module") or hasattr(inner, "_orig_mod"):
        inner = inner.module if hasattr(inner, "module") else inner._orig_mod
    name = type(inner).__name__
    if name not in DENOISERS:
        raise UserError(f"{name} is no denoiser that is known here; expected one of {', '.join(DENOISERS)}")
    return DENOISERS[name](network, order, takes_noise)


def network_input(noisy: Tensor, conditioning: Conditioning, order: Concatenation, takes_noise: bool) -> Tensor:
    """(B, C, h, w) the noisy latents and those of the conditioning, in the precision of the conditioning."""
    noisy, latents = noisy.to(conditioning.dtype), conditioning.latents
    if latents is None:
        return noisy
    if not takes_noise:
        return latents
    return torch.cat((latents, noisy) if order == "inputs_first" else (noisy, latents), dim=1)
