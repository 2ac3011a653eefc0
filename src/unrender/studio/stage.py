"""A photo taken apart and kept in memory, small, and shown under one light after the other while a hand moves it."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unrender.errors import UserError
from unrender.files.preview import map_to_rgb
from unrender.files.state import load_state
from unrender.forward import DeferredRenderer, PreparedSplitSum
from unrender.relight import Decomposition, Edit, MaterialChange, RelightOptions, edit_decomposition, edit_stream
from unrender.relight.relit import relight_decomposition
from unrender.scene.camera import Camera
from unrender.scene.color import linear_to_srgb
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.plate import Plate
from unrender.studio.look import Look
from unrender.studio.rig import light_of

COARSE = 2**14
"""Some so many pixels of it tell how bright a picture is to be shown."""
QUALITY = 92
_KINDS = (Decomposition, Frames, GBuffer, EnvironmentMap, Camera, Plate)
SAMPLES = 8
"""Directions a pixel of pictures with shadows; half of what results are drawn with."""

_AT_ONCE, _AT_REST = Lock(), Lock()
"""Two pictures at once would each take twice as long; but one that takes seconds holds up none that is to be there
at once."""


@dataclass(frozen=True, eq=False)
class OpenPhoto:
    """A photo taken apart, with what its next picture needs.

    Attributes:
        whole: the decomposition of one frame.
        edited: the same with its materials changed; `whole` where none were.
        edit: what was changed; None for nothing.
        renderers: of `edited`, and of every few pixels of it.
        coarse: those pixels.
    """

    whole: Decomposition
    edited: Decomposition
    edit: Edit | None
    renderers: tuple[PreparedSplitSum, PreparedSplitSum]
    coarse: Decomposition

    @staticmethod
    def of(whole: Decomposition, edit: Edit | None = None) -> OpenPhoto:
        """A decomposition made ready, with changes of material if there are any."""
        edited = whole if edit is None else edit_decomposition(whole, edit)
        height, width = edited.frames.size
        coarse = every_few(edited, max(1, round((height * width / COARSE) ** 0.5)))
        return OpenPhoto(
            whole, edited, edit, (PreparedSplitSum(edited.gbuffer), PreparedSplitSum(coarse.gbuffer)), coarse
        )

    @staticmethod
    def load(path: Path) -> OpenPhoto:
        """What the job `stage` wrote."""
        return OpenPhoto.of(load_state(path, _KINDS))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.whole.frames.size

    def changed(self, changes: list[str], mask: Tensor | None) -> OpenPhoto:
        """The photo with other materials, where `mask` (1, 1, H, W) says.

        Raises:
            UserError: a change that cannot be read.
        """
        if not changes:
            return OpenPhoto.of(self.whole)
        return OpenPhoto.of(self.whole, Edit(tuple(MaterialChange.parse(text) for text in changes), mask))

    def show(self, look: Look, base: EnvironmentMap | None) -> Tensor:
        """The picture under a light, (3, H, W) display-linear in [0, 1].

        Args:
            look: the light, and how it is shown.
            base: the map that the light names; that of the photo itself for "own".
        """
        with _AT_REST if look.fine else _AT_ONCE, torch.inference_mode():
            if look.rig.base == "own" and not look.rig.lit and look.exposure == "auto" and not look.rig.yaw:
                return self._in_its_own_light()
            light, yaw = light_of(look.rig, self.whole.light if look.rig.base == "own" else base)
            if not bool((light.radiance > 0).any()):
                return torch.zeros(3, *self.size)
            options = RelightOptions(yaw, background=look.background, exposure=look.exposure, walls=look.walls)
            renderer, coarse = self.renderers
            gain = None
            if look.exposure == "auto":
                gain = relight_decomposition(self.coarse, light, coarse, options).gain
            forward = DeferredRenderer("auto", samples=SAMPLES) if look.fine else renderer
            return relight_decomposition(self.edited, light, forward, options, gain=gain).display[0]

    def _in_its_own_light(self) -> Tensor:
        if self.edit is None:
            return self.whole.frames.rgb[0].clamp(0, 1)
        forward = DeferredRenderer("split_sum")
        return next(iter(edit_stream([self.whole], self.edit, forward))).display[0]

    def map(self, name: str) -> Tensor:
        """A map of it, (C, H, W), as `conventions` has it.

        Raises:
            UserError: there is no such map.
        """
        value = self.edited.gbuffer.maps.get(name)
        if value is None:
            raise UserError(f"there is no map {name!r}; expected one of {', '.join(self.edited.gbuffer.maps)}")
        return value[0]


def every_few(whole: Decomposition, step: int) -> Decomposition:
    """Every `step`-th pixel of every `step`-th row."""

    def few(values: Tensor) -> Tensor:
        return values[:, :, ::step, ::step].contiguous()

    frames, gbuffer = whole.frames, whole.gbuffer
    rgb = few(frames.rgb)
    size = (rgb.shape[2], rgb.shape[3])
    mask = few(frames.mask) if frames.mask is not None else None
    camera = gbuffer.camera.resized(size) if gbuffer.camera is not None else None
    small = replace(gbuffer, camera=camera, **{name: few(value) for name, value in gbuffer.maps.items()})
    gain = few(whole.gain) if whole.gain is not None else None
    belief = whole.belief
    if belief is not None and belief.shape[2:] == frames.rgb.shape[2:]:
        belief = few(belief)
    return Decomposition(Frames(rgb, mask, name=frames.name, hdr=frames.hdr), small, whole.light, gain, belief)


def as_jpeg(display: Tensor) -> bytes:
    """A picture (3, H, W), display-linear in [0, 1], as the bytes of a JPEG."""
    return _encoded(linear_to_srgb(display), "JPEG", quality=QUALITY, subsampling=0)


def map_as_png(name: str, value: Tensor) -> bytes:
    """A map as a picture that shows it, as the bytes of a PNG."""
    return _encoded(map_to_rgb(name, value), "PNG", compress_level=1)


def light_as_jpeg(light: EnvironmentMap) -> bytes:
    """A light as it is seen from the camera: what is ahead in the middle, exposed for looking."""
    small = light.resized((128, 256)).radiance[0]
    small = torch.roll(small, small.shape[2] // 2, dims=2)
    bright = small.mean(0).flatten().kthvalue(round(0.85 * small[0].numel())).values
    gained = small * (0.6 / bright.clamp(min=1e-6))
    return _encoded(linear_to_srgb(gained / (1 + 0.4 * gained)), "JPEG", quality=88)


def _encoded(srgb: Tensor, kind: str, **options: int) -> bytes:
    pixels = (srgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    kept = io.BytesIO()
    Image.fromarray(pixels).save(kept, kind, **options)
    return kept.getvalue()


def as_half(value: Tensor) -> bytes:
    """A map (C, H, W) as rows of pixels of C half floats each, little-endian."""
    pixels = value.permute(1, 2, 0).contiguous().numpy()
    return np.nan_to_num(pixels, posinf=np.inf).astype("<f2").tobytes()
