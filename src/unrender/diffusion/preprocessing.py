"""Maps as a network is shown them: pictures on its canvas, in [-1, 1]."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from unrender.diffusion.card import GivenMap, SizeRule
from unrender.diffusion.codec import encode_map, expose
from unrender.diffusion.framing import Framing, frame_bytes, frame_picture, pad
from unrender.scene.resize import resize_normal, resize_picture


def present(
    values: Tensor,
    given: GivenMap,
    rule: SizeRule,
    framing: Framing,
    *,
    scene: bool = False,
    region: Tensor | None = None,
) -> Tensor:
    """A map (B, 1 or 3, H, W) in unrender's conventions as the picture (B, 3, *canvas) in [-1, 1] that the network is
    shown.

    Args:
        scene: the values are scene-referred, and are exposed for display first.
        region: (B, 1, H, W) in [0, 1], the part of it that is shown; None for all of it.
    """
    codec, vector = given.codec, given.codec.map == "normal"
    if scene:
        values = expose(values, given.exposure)
        codec = replace(codec, transfer=given.scene_transfer or codec.transfer)
    if rule.space == "linear":
        shown = values if region is None else values * region
        resized = resize_normal(shown, framing.content) if vector else resize_picture(shown, framing.content)
        return _three(pad(encode_map(resized, codec), framing))
    encoded = encode_map(values, codec)
    if region is not None:
        encoded = encoded * region if vector else (encoded + 1) * region - 1
    if not given.resized:
        return _three(encoded)
    if rule.space == "bytes":
        return frame_bytes(_three(encoded), framing, rule.inward)
    return _three(frame_picture(encoded, framing, rule.inward))


def _three(picture: Tensor) -> Tensor:
    return picture.expand(-1, 3, -1, -1)
