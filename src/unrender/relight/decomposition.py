"""The first half of relighting: what a picture or clip is made of, and the light that it was taken in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.relight.detail import detail_gain
from unrender.relight.light_estimate import estimate_light
from unrender.relight.options import DEFAULTS, Forward, Inverse, RelightOptions
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames, Window, single_frames, windows
from unrender.scene.gbuffer import GBuffer
from unrender.scene.records import same, summary


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition:
    """A picture or clip taken apart, ready for any light.

    Attributes:
        frames: the picture, (T, 3, H, W) scene-linear.
        gbuffer: what it is made of, with the picture's own mask.
        light: the light it was taken in, estimated, one for all frames or one for each; None where detail is not kept.
        gain: (T, 3, H, W), what a rendering is multiplied by to keep the photo's detail; None likewise.
    """

    frames: Frames
    gbuffer: GBuffer
    light: EnvironmentMap | None = None
    gain: Tensor | None = None

    @staticmethod
    def concatenate(parts: Sequence[Decomposition]) -> Decomposition:
        """Joins the decompositions of the parts of one clip along time, with a light for each frame.

        Raises:
            UserError: no part, or parts that cannot be joined (see `Frames.concatenate`, `GBuffer.concatenate`).
        """
        if not parts:
            raise UserError("nothing was decomposed; expected a clip with at least one frame")
        if len(parts) == 1:
            return parts[0]
        lights = [part.light.radiance.expand(len(part), -1, -1, -1) for part in parts if part.light is not None]
        gains = [part.gain for part in parts if part.gain is not None]
        light = parts[0].light
        return Decomposition(
            Frames.concatenate([part.frames for part in parts]),
            GBuffer.concatenate([part.gbuffer for part in parts]),
            replace(light, radiance=torch.cat(lights)) if light is not None else None,
            torch.cat(gains) if gains else None,
        )

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, start: int, stop: int) -> Decomposition:
        """Frames `start` to `stop`, the last one left out."""
        light = self.light
        if light is not None and len(light) > 1:
            light = replace(light, radiance=light.radiance[start:stop])
        gain = self.gain[start:stop] if self.gain is not None else None
        return Decomposition(self.frames.part(start, stop), self.gbuffer.part(start, stop), light, gain)


def decompose(
    clip: Iterable[Frames], inverse: Inverse, forward: Forward, options: RelightOptions = DEFAULTS
) -> Decomposition:
    """Takes a picture or clip apart, to be put together under any light by `recompose`: all that `decompose_stream`
    gives, as one. Arguments and errors as there."""
    return Decomposition.concatenate(list(decompose_stream(clip, inverse, forward, options)))


def decompose_stream(
    clip: Iterable[Frames], inverse: Inverse, forward: Forward, options: RelightOptions = DEFAULTS
) -> Iterator[Decomposition]:
    """Takes a picture or clip apart, window by window; memory does not grow with the length of the clip.

    The light that each window was taken in is estimated from it, close to that of the window before: the light of a
    clip drifts, and does not flicker.

    Args:
        clip: `Frames`, a `FrameReader` (see `open_frames`), or frames in order from anywhere.
        inverse: an `InverseRenderer`, or anything that is called alike.
        forward: a `ForwardRenderer` or `DeferredRenderer`, or anything that is called alike.
        options: `frames`, `detail`, `window` and `overlap` count here.

    Yields:
        The decomposition of each window, without the frames that the window before had, too.

    Raises:
        UserError: where the inverse renderer gives no base colour or normals.
    """
    frames = islice(single_frames(clip), options.frames)
    return _decompose_windows(windows(frames, options.window, options.overlap), inverse, forward, options.detail)


def _decompose_windows(
    cut: Iterable[Window], inverse: Inverse, forward: Forward, detail: bool
) -> Iterator[Decomposition]:
    previous = None
    for window in cut:
        decomposition = _decompose_window(window.frames, inverse, forward, detail, previous)
        previous = decomposition.light
        yield decomposition.part(window.repeated, len(decomposition)) if window.repeated else decomposition


def _decompose_window(
    frames: Frames, inverse: Inverse, forward: Forward, detail: bool, previous: EnvironmentMap | None
) -> Decomposition:
    """Takes frames that share a light apart, with that light (close to `previous`) and the detail that their
    re-rendering lacks, where `detail` is wanted."""
    # A mask that a network guessed says where there is no normal; as an alpha it would mix in background everywhere.
    gbuffer = inverse(frames, None).with_maps(rgb=frames.rgb, mask=frames.mask)
    if not detail:
        return Decomposition(frames, gbuffer)
    light = estimate_light(frames, gbuffer, previous)
    # The whole frame is rendered as surface: under a soft edge, too, the photo's colour is the surface's.
    rerendered = forward(gbuffer.with_maps(mask=None), light, 0.0).surface
    return Decomposition(frames, gbuffer, light, detail_gain(frames.rgb, rerendered))
