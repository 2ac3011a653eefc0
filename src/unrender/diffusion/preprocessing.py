"""Maps as a network sees them: pictures on its canvas, in [-1, 1]."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from unrender.diffusion.card import InputMap, SizeRule, TargetPicture
from unrender.diffusion.codec import encode_map, encode_picture, expose
from unrender.diffusion.framing import Framing, frame_bytes, frame_picture, pad
from unrender.diffusion.inputs import Inputs
from unrender.scene.resize import resize_normal, resize_picture


def preprocess(inputs: Inputs, given: InputMap, rule: SizeRule, framing: Framing) -> Tensor | None:
    """One input map of a card as the picture (B, 3, *canvas) in [-1, 1] that the network sees; None where it is
    missing.

    Scene-referred values are exposed for display first; of an edit the part that the card says is shown.
    """
    values = inputs.maps.get(given.name)
    if values is None:
        return None
    region = None
    if inputs.edit is not None and given.region != "all":
        region = inputs.edit if given.region == "edit" else 1 - inputs.edit
    codec, vector = given.codec, given.codec.map == "normal"
    if given.name in inputs.scene_referred:
        values = expose(values, given.exposure)
        codec = replace(codec, transfer=given.scene_transfer or codec.transfer)
    if region is None and given.on_black:
        region = inputs.maps.get("mask")
    if rule.space == "linear":
        shown = values if region is None else values * region
        return _three(pad(encode_map(_resized(shown, framing, vector), codec), framing))
    encoded = encode_map(values, codec)
    if region is not None:
        encoded = encoded * region if vector else (encoded + 1) * region - 1
    if not given.resized:
        return _three(encoded)
    if rule.space == "bytes":
        return frame_bytes(_three(encoded), framing, rule.inward)
    return _three(frame_picture(encoded, framing, rule.inward))


def preprocess_target(inputs: Inputs, target: TargetPicture, framing: Framing) -> Tensor:
    """A known target as the picture (B, C, *canvas) in [-1, 1] that the VAE encodes; `inputs` has its maps."""
    maps = {codec.map: _resized(inputs.maps[codec.map], framing, vector=codec.map == "normal") for codec in target.maps}
    return pad(encode_picture(maps, target), framing)


def preprocess_kept(edit: Tensor, rule: SizeRule, framing: Framing) -> Tensor:
    """The part of a picture (B, 1, H, W) that an edit keeps, on the canvas; official code brings it from its own size
    to that of the latents."""
    return frame_picture(1 - edit, framing) if rule.space == "linear" else 1 - edit


def _resized(values: Tensor, framing: Framing, vector: bool) -> Tensor:
    return resize_normal(values, framing.content) if vector else resize_picture(values, framing.content)


def _three(picture: Tensor) -> Tensor:
    return picture.expand(-1, 3, -1, -1)
