"""The first half of relighting: what a picture or clip is made of, and the light that it was taken in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor

from unrender.diffusion.windows import ClipOptions
from unrender.errors import UserError
from unrender.forward import DeferredRenderer, ForwardRenderer
from unrender.forward.surface import coverage
from unrender.inverse.clips import ClipInverse, ClipState, PlainInverse, WindowInverse
from unrender.inverse.renderer import InverseRenderer
from unrender.relight.detail import belief, detail_gain
from unrender.relight.light_estimate import drifted, estimate_light
from unrender.relight.options import DEFAULTS, Forward, Inverse, RelightOptions
from unrender.relight.refinement import maps_wanted, refine_base_color
from unrender.relight.surface import soft_surface
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames, Window, single_frames, windows
from unrender.scene.gbuffer import GBuffer
from unrender.scene.records import same, summary


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition:
    """A picture or clip taken apart, ready for any light.

    Attributes:
        frames: the picture, (T, 3, H, W) scene-linear.
        gbuffer: what it is made of; its mask says how much of each pixel is relit (see `soft_surface`).
        light: the light it was taken in, estimated, one for all frames or one for each; None where detail is not kept.
        gain: (T, 3, H, W), what a rendering is multiplied by to keep the photo's detail; None likewise.
        belief: (T, 1, 1, 1) or (T, 1, H, W) in (0, 1], how far a change of light is believed (see `detail.belief`);
            None likewise.
    """

    frames: Frames
    gbuffer: GBuffer
    light: EnvironmentMap | None = None
    gain: Tensor | None = None
    belief: Tensor | None = None

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
        beliefs = [part.belief for part in parts if part.belief is not None]
        light = parts[0].light
        return Decomposition(
            Frames.concatenate([part.frames for part in parts]),
            GBuffer.concatenate([part.gbuffer for part in parts]),
            replace(light, radiance=torch.cat(lights)) if light is not None else None,
            torch.cat(gains) if gains else None,
            torch.cat(beliefs) if beliefs else None,
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
        belief = self.belief[start:stop] if self.belief is not None else None
        return Decomposition(self.frames.part(start, stop), self.gbuffer.part(start, stop), light, gain, belief)


def decompose(
    clip: Iterable[Frames],
    inverse: Inverse | WindowInverse,
    forward: Forward,
    options: RelightOptions = DEFAULTS,
    *,
    rerender: Forward | None = None,
) -> Decomposition:
    """Takes a picture or clip apart, to be put together under any light by `recompose`: all that `decompose_stream`
    gives, as one. Arguments and errors as there."""
    return Decomposition.concatenate(list(decompose_stream(clip, inverse, forward, options, rerender=rerender)))


def decompose_stream(
    clip: Iterable[Frames],
    inverse: Inverse | WindowInverse,
    forward: Forward,
    options: RelightOptions = DEFAULTS,
    *,
    rerender: Forward | None = None,
) -> Iterator[Decomposition]:
    """Takes a picture or clip apart, window by window; memory does not grow with the length of the clip.

    The light that a clip was taken in is estimated from its first window, and then follows the estimates of later ones
    slowly; the guess where its surfaces are stays close to that of the frame before: light and mask of a clip drift,
    and do not flicker.

    Args:
        clip: `Frames`, a `FrameReader` (see `open_frames`), or frames in order from anywhere.
        inverse: an `InverseRenderer`, a `ClipInverse`, or anything that is called alike.
        forward: a `ForwardRenderer` or `DeferredRenderer`, or anything that is called alike.
        options: `frames`, `detail`, `refine`, `temporal`, `window` and `overlap` count here.
        rerender: what renders the photo's own light, for the detail; None for `forward`, or the split sum where that
            draws all of its light (`noise_free`): a quotient by drawn directions would carry their noise.

    Yields:
        The decomposition of the frames that are finished with each window.

    Raises:
        UserError: where the inverse renderer gives no base colour or normals.
    """
    source = window_inverse(inverse, options)
    rerender = (rerender or noise_free(forward)) if options.detail else None
    return (step.part for step in decompose_steps(clip, source, rerender, options, DecomposeState()))


@dataclass(frozen=True)
class DecomposeState:
    """What one window of a clip leaves to the next; all that a run needs to go on behind it.

    Attributes:
        windows: how many are done.
        clip: of the inverse renderer.
        light: of the last frame.
        guess: where its surfaces are; see `soft_surface`.
    """

    windows: int = 0
    clip: ClipState = field(default_factory=ClipState)
    light: EnvironmentMap | None = None
    guess: Tensor | None = None


@dataclass(frozen=True)
class DecomposeStep:
    """The frames that are finished with one window, whether they are the last, and the state after it."""

    part: Decomposition
    last: bool
    state: DecomposeState


def decompose_steps(
    clip: Iterable[Frames],
    inverse: WindowInverse,
    rerender: Forward | None,
    options: RelightOptions,
    state: DecomposeState,
) -> Iterator[DecomposeStep]:
    """`decompose_stream` from `state` on, with the state after each window. See there; without `rerender` neither light
    nor detail are found."""
    size, overlap = inverse.clip.spans
    wanted = maps_wanted(inverse.card) if options.refine and rerender else None
    frames = islice(single_frames(clip), options.frames)
    cut = windows(frames, size, overlap, look_ahead=overlap > 0)
    for window in islice(cut, state.windows, None):
        gbuffer, after = inverse.next_window(window, state.clip, wanted)
        done = _finished(window, len(gbuffer), overlap)
        gbuffer, guess = soft_surface(done, gbuffer, state.guess)
        gbuffer = gbuffer.with_maps(rgb=done.rgb)
        part = decompose_frames(done, gbuffer, rerender, state.light, refine=options.refine)
        light = part.light and part.light.frame(len(part.light) - 1)
        state = DecomposeState(state.windows + 1, after, light, guess)
        yield DecomposeStep(part, window.last, state)


def window_inverse(inverse: Inverse | WindowInverse, options: RelightOptions) -> WindowInverse:
    """What takes the windows of a clip apart by `inverse`, as `options` say."""
    if hasattr(inverse, "next_window"):
        return inverse  # ty: ignore[invalid-explicit-return]
    if isinstance(inverse, InverseRenderer):
        return ClipInverse(inverse, ClipOptions.of(inverse.card, options.temporal, options.window, options.overlap))
    return PlainInverse(inverse, ClipOptions(window=options.window or 1, overlap=options.overlap or 0))


def noise_free(forward: Forward) -> Forward:
    """What renders a photo's own light for its detail, where `forward` renders the new one: the split sum in place of
    Monte Carlo, which draws directions; else `forward` itself."""
    engine = forward.engine if isinstance(forward, ForwardRenderer) else forward
    noisy = isinstance(engine, DeferredRenderer) and engine.quality == "monte_carlo"
    return DeferredRenderer(background=False) if noisy else forward


def _finished(window: Window, count: int, overlap: int) -> Frames:
    """The frames of a window that an inverse renderer gave `count` G-buffers for: up to the last, or to those that the
    next window sees again."""
    frames = len(window.frames)
    stop = frames if window.last or count == frames - window.repeated else frames - overlap
    return window.frames.part(stop - count, stop)


def decompose_frames(
    frames: Frames,
    gbuffer: GBuffer,
    rerender: Forward | None,
    previous: EnvironmentMap | None,
    *,
    refine: bool = False,
) -> Decomposition:
    """Frames with the light they were taken in and the detail that their re-rendering lacks, where one is made; their
    base colour is corrected by that light (`refine_base_color`) where wanted."""
    if rerender is None:
        return Decomposition(frames, gbuffer)
    light = drifted(estimate_light(frames, gbuffer, previous), previous, len(frames))
    gbuffer = refine_base_color(frames, gbuffer, light) if refine else gbuffer
    # The whole frame is rendered as surface: under a soft edge, too, the photo's colour is the surface's.
    rerendered = rerender(gbuffer.with_maps(mask=None), light, 0.0).surface
    trusted = belief(frames.rgb, rerendered, coverage(gbuffer))
    return Decomposition(frames, gbuffer, light, detail_gain(frames.rgb, rerendered, gbuffer.mask), trusted)
