"""Sockets of our own, inputs that several nodes have, and pictures to and from ComfyUI.

An IMAGE is (B, H, W, C) float, and says nothing of its colour: display pictures are sRGB, EXR that ComfyUI loads is
linear. So nodes ask. Nothing here clamps: values above 1 are light.
"""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

import unrender as ur

CATEGORY = "unrender"

GBuffer = io.Custom("UNRENDER_GBUFFER")
Light = io.Custom("UNRENDER_LIGHT")
Rendering = io.Custom("UNRENDER_RENDERING")
Lights3D = getattr(io, "Load3DLightInfo", None) or io.Custom("LOAD3D_LIGHT_INFO")

SRGB, LINEAR = "sRGB", "linear"


def encoding() -> io.Combo.Input:
    return io.Combo.Input(
        "encoding",
        options=[SRGB, LINEAR],
        default=SRGB,
        tooltip="What the image holds: display values (a photo), or scene-linear ones (an EXR that was loaded).",
    )


def model() -> io.String.Input:
    return io.String.Input(
        "model", default="mini", tooltip="The inverse model: mini, the id of a model that was pulled, or a folder."
    )


def yaw() -> io.Float.Input:
    return io.Float.Input(
        "yaw", default=0.0, min=-360.0, max=360.0, step=1.0, tooltip="Degrees that the light is turned by."
    )


def seed() -> io.Int.Input:
    return io.Int.Input("seed", default=0, min=0, max=2**31 - 1, control_after_generate=False)


def to_frames(image: Tensor, encoding: str, mask: Tensor | None = None) -> ur.Frames:
    """An IMAGE (B, H, W, 3 or 4) as frames; its alpha, or a MASK (B, H, W), is what there is of the subject."""
    planes = image.detach().float().cpu().movedim(-1, 1)
    rgb, alpha = planes[:, :3], planes[:, 3:4]
    rgb = ur.srgb_to_linear(rgb.clamp(min=0)) if encoding == SRGB else rgb.clamp(min=0)
    if mask is not None:
        alpha = mask.detach().float().cpu().reshape(-1, 1, *mask.shape[-2:]).expand(len(rgb), -1, -1, -1)
    return ur.Frames(rgb.contiguous(), alpha if alpha.shape[1] else None, hdr=encoding == LINEAR)


def linear_image(rgb: Tensor) -> Tensor:
    """Linear (T, 3, H, W) as an IMAGE, its values as they are."""
    return rgb.detach().float().cpu().movedim(1, -1).contiguous()


def display_image(rgb: Tensor) -> Tensor:
    """Display-linear (T, 3, H, W) in [0, 1] as an sRGB IMAGE."""
    return linear_image(ur.linear_to_srgb(rgb.clamp(0, 1)))


def mask_of(values: Tensor) -> Tensor:
    """(T, 1, H, W) as a MASK."""
    return values.detach().float().cpu()[:, 0].contiguous()


def full_mask(rgb: Tensor) -> Tensor:
    return torch.ones(len(rgb), *rgb.shape[-2:])
