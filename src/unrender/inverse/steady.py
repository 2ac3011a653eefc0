"""Maps of a clip held steady: each frame's are averaged with those of the frames before, along the photo's motion.

What single-frame predictions have in common is the answer; what tells them apart from frame to frame is error, which
is seen as flicker. So every pixel is a running mean over the frames in which its point was seen (temporal accumulation
as renderers do it: Schied et al. 2017, section 4.1), and starts anew where the photo shows something else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unrender.scene.alignment import fit_scale_shift
from unrender.scene.color import linear_to_srgb, srgb_to_linear
from unrender.scene.gbuffer import GBuffer
from unrender.scene.motion import optical_flow, visibility, warp
from unrender.scene.resize import resize_picture

MEMORY = 3.0
"""Frames that a running mean reaches back: the newest counts at least 1 / MEMORY."""

MASK_MEMORY = 1.25
"""The same of the mask, whose edges do not forgive what is late."""

OWN_SCALE = 0.1
"""Share by which a frame's relative depth stays on its own scale, which knows of a camera that comes nearer; the rest
is brought to that of the frame before."""

LARGEST_SIDE = 256
"""Pixels of the longer side at which motion is looked for."""

_CODED = ("base_color", "diffuse_albedo", "irradiance", "shading", "residual")
"""Colours are averaged on a display's curve, as the networks give them."""

_LEFT_ALONE = ("rgb", "instance")


@dataclass(frozen=True)
class Held:
    """What is remembered of the frame before.

    Attributes:
        photo: (1, 3, h, w) display-encoded, at the size at which motion is looked for.
        maps: by name, (1, C, H, W), the running means; colours encoded, normals of any length.
        seen: (1, 1, H, W) over how many frames each is the mean.
    """

    photo: Tensor
    maps: dict[str, Tensor]
    seen: Tensor


def steady(gbuffer: GBuffer, photo: Tensor, held: Held | None) -> tuple[GBuffer, Held]:
    """The maps of T consecutive frames, held steady, and what to remember for the frame after.

    Depth that is relative is first brought to the scale and shift of the frame before.

    Args:
        gbuffer: the maps, (T, C, H, W); depth finite wherever it is a guess.
        photo: (T, 3, h, w) linear, for display, of any size.
        held: what the last call gave; None at the first frame.
    """
    frames = []
    for index in range(len(gbuffer)):
        frame, held = _next(gbuffer.frame(index), _encoded(photo[index : index + 1]), held)
        frames.append(frame)
    assert held is not None
    return GBuffer.concatenate(frames), held


def _next(gbuffer: GBuffer, photo: Tensor, held: Held | None) -> tuple[GBuffer, Held]:
    """One frame after another."""
    maps = {name: _coded(name, value) for name, value in gbuffer.maps.items() if name not in _LEFT_ALONE}
    if held is None or held.photo.shape != photo.shape or held.maps.keys() != maps.keys():
        return gbuffer, Held(photo, maps, torch.ones_like(next(iter(maps.values()))[:, :1]))
    flow, back = optical_flow(torch.cat((photo, held.photo)), torch.cat((held.photo, photo))).chunk(2)
    sure = visibility(photo, held.photo, flow, back)
    size = gbuffer.size
    scale = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]])[:, None, None]
    flow, sure = resize_picture(flow, size) * scale, resize_picture(sure, size)
    before = {name: warp(value, flow) for name, value in held.maps.items()}
    if gbuffer.depth_kind == "relative" and "depth" in maps:
        maps["depth"] = _aligned(maps["depth"], before["depth"], sure)
    if "normal" in maps:
        before["normal"] = _turned(before["normal"], maps["normal"], sure)
    seen = (warp(held.seen, flow) * sure + 1).clamp(max=MEMORY)
    shares = {name: 1 / seen.clamp(max=MASK_MEMORY if name == "mask" else MEMORY) for name in maps}
    mixed = {name: torch.lerp(before[name], value, shares[name]) for name, value in maps.items()}
    decoded = {name: _decoded(name, value) for name, value in mixed.items()}
    return gbuffer.with_maps(**decoded), Held(photo, mixed, seen)


def _aligned(depth: Tensor, before: Tensor, sure: Tensor) -> Tensor:
    """Depth on the scale of the frame before; as it is where that would turn it round."""
    scale, shift = fit_scale_shift(depth, before, sure)
    return torch.where(scale > 0, torch.lerp(scale * depth + shift, depth, OWN_SCALE), depth)


def _turned(before: Tensor, normal: Tensor, sure: Tensor) -> Tensor:
    """The normals of the frame before in the axes of this frame's camera: turned as a whole to fit this frame's
    (Wahba's problem, by the singular value decomposition of Kabsch 1976)."""
    covariance = torch.einsum("bihw,bjhw->ij", normal * sure, before)
    u, _, vh = torch.linalg.svd(covariance.double())
    sign = torch.ones(3, dtype=u.dtype, device=u.device)
    sign[2] = torch.linalg.det(u @ vh).sign()
    rotation = (u * sign) @ vh
    return torch.einsum("ij,bjhw->bihw", rotation.to(before), before)


def _encoded(photo: Tensor) -> Tensor:
    factor = min(1.0, LARGEST_SIDE / max(photo.shape[2:]))
    height, width = (max(1, round(side * factor)) for side in photo.shape[2:])
    return linear_to_srgb(resize_picture(photo.clamp(0, 1), (height, width)))


def _coded(name: str, values: Tensor) -> Tensor:
    return linear_to_srgb(values.clamp(min=0)) if name in _CODED else values


def _decoded(name: str, values: Tensor) -> Tensor:
    if name == "normal":
        return functional.normalize(values, dim=1)
    return srgb_to_linear(values) if name in _CODED else values
