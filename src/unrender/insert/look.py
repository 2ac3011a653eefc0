"""What an insertion sees in a photo: its G-buffer by an inverse model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch.nn import functional

from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

if TYPE_CHECKING:
    from unrender.relight.options import Inverse

QUICK_SIDE = 256
"""Pixels of the longer side of a photo that a preview has looked at; the embedded model's first network sees 128."""


def look_at(photo: Frames, inverse: Inverse | None = None) -> GBuffer:
    """The photo's G-buffer, with depth that may be taken as a distance up to one scale.

    Args:
        photo: T = 1.
        inverse: takes it apart; the embedded model by default.
    """
    if inverse is None:
        from unrender.inverse.renderer import InverseRenderer

        inverse = InverseRenderer.from_pretrained("mini")
    from unrender.forward.geometry import calibrate_depth

    gbuffer = inverse(photo, None)
    if gbuffer.depth is not None and gbuffer.normal is not None and gbuffer.depth_kind == "relative":
        return calibrate_depth(gbuffer)
    return gbuffer


def quick_copy(photo: Frames) -> Frames:
    """The photo, no longer than `QUICK_SIDE`."""
    factor = QUICK_SIDE / max(photo.size)
    if factor >= 1:
        return photo
    size = max(1, round(photo.size[0] * factor)), max(1, round(photo.size[1] * factor))
    small = {
        name: functional.interpolate(value, size, mode="area")
        for name, value in (("rgb", photo.rgb), ("mask", photo.mask))
        if value is not None
    }
    return replace(photo, **small, plate=None, plates=())
