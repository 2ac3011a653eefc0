"""Relighting a picture or clip: decompose it, then render it under another light."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from unrender.diffusion.windows import ClipOptions
from unrender.errors import UserError
from unrender.files.natural import FramesLike, LightLike, as_clip, as_light
from unrender.files.notes import note
from unrender.files.readers import Reader
from unrender.forward import ForwardRenderer, RenderPasses
from unrender.forward.clips import PartRenderer, PlainForward, RenderState, part_renderer
from unrender.forward.surface import sum_in_order
from unrender.inverse.clips import WindowInverse
from unrender.inverse.renderer import InverseRenderer
from unrender.relight.decomposition import (
    DecomposeState,
    Decomposition,
    decompose_steps,
    decompose_stream,
    noise_free,
    window_inverse,
)
from unrender.relight.enclosure import closure, dimming, let_in
from unrender.relight.options import DEFAULTS, TURN_FRAMES, Background, Exposure, Forward, Inverse, RelightOptions
from unrender.relight.passes import before, gain_of, with_detail
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames
from unrender.scene.records import same, summary
from unrender.scene.strips import in_strips
from unrender.scene.tone import tone_map


@dataclass(frozen=True, eq=False, repr=False)
class Relit:
    """A relit picture or clip and what it was made from.

    Attributes:
        passes: what surfaces send out and the background, each (T, 3, H, W) scene-linear.
        decomposition: the picture taken apart, ready for the next light; of one frame where the light turns about a
            still.
        gain: the factor that shows the passes as they are meant to be seen; the same for a whole clip or turn.
        background: what the background pass is: the "photo", divided by `gain`, the new "light", or "none".
        light: the name of the light.
        yaws: degrees that the light is turned by in each of T frames.
        exposure: as it was asked for: "auto", or the stops that the light was made brighter by.
    """

    passes: RenderPasses
    decomposition: Decomposition
    gain: float = 1.0
    background: Background = "photo"
    light: str = ""
    yaws: tuple[float, ...] = ()
    exposure: Exposure = "auto"

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    def __repr__(self) -> str:
        return summary(self)

    def __len__(self) -> int:
        return len(self.passes)

    @property
    def beauty(self) -> Tensor:
        """The relit picture, (T, 3, H, W) scene-linear: the sum of the passes."""
        return self.passes.beauty

    @property
    def display(self) -> Tensor:
        """The picture for looking at, (T, 3, H, W) display-linear in [0, 1]: the beauty times `gain`, under the
        shoulder of `tone_map`. A display photo behind the surfaces is shown as it was."""
        if self.background != "photo" or self.decomposition.frames.hdr:
            return in_strips(lambda *passes: tone_map(sum_in_order(passes) * self.gain), *self.passes.passes.values())

        def shown(*passes: Tensor) -> Tensor:
            *surfaces, behind = passes
            return (tone_map(sum_in_order(surfaces) * self.gain) + behind * self.gain).clamp(0, 1)

        return in_strips(shown, *self.passes.passes.values())


def relight(
    clip: Iterable[Frames] | FramesLike,
    light: LightLike,
    inverse: Inverse | str | Path = "mini",
    forward: Forward | str | Path = "deferred",
    options: RelightOptions = DEFAULTS,
    *,
    rerender: Forward | None = None,
) -> Relit:
    """Shows a picture or clip under another light: all that `relight_stream` gives, as one. For a clip that is too long
    to be held whole, use that. Arguments and errors as there. `unrender.relight(...)` is this function."""
    return joined(list(relight_stream(clip, light, inverse, forward, options, rerender=rerender)))


def relight_stream(
    clip: Iterable[Frames] | FramesLike,
    light: LightLike,
    inverse: Inverse | str | Path = "mini",
    forward: Forward | str | Path = "deferred",
    options: RelightOptions = DEFAULTS,
    *,
    rerender: Forward | None = None,
) -> Iterator[Relit]:
    """Shows a picture or clip under another light, window by window; memory does not grow with the length of the clip.

    Args:
        clip: `Frames`, a `FrameReader` (see `open_frames`), frames in order from anywhere, or what `files.as_clip`
            makes frames of: a path, a tensor, an array. A still gives one picture; where `options.turn` is not 0,
            `options.frames` pictures.
        light: the new light; one frame, or one for every picture; also what `files.as_light` takes, "sunset" for one.
        inverse: an `InverseRenderer`, anything that is called alike, or the id of one.
        forward: a `ForwardRenderer` or `DeferredRenderer`, anything that is called alike, or the id of one.
        options: how.
        rerender: see `decompose_stream`.

    Yields:
        The relit frames of each window (`options.window`, 1 frame by default), in order.

    Raises:
        UserError: where the inverse renderer gives no base colour or normals, light and pictures differ in number,
            or a light shall turn over a clip of unknown length.
    """
    clip, light = as_clip(clip), as_light(light)
    inverse = InverseRenderer.from_pretrained(inverse) if isinstance(inverse, str | Path) else inverse
    forward = ForwardRenderer.from_pretrained(forward) if isinstance(forward, str | Path) else forward
    steps = relight_steps(clip, light, inverse, forward, options, rerender=rerender)
    return (relit for relit, _ in steps if relit is not None)


@dataclass(frozen=True)
class RelightState:
    """What one window of a clip leaves to the next; all that a run needs to go on behind it.

    Attributes:
        decompose: of the first half.
        render: of the second.
        waiting: what is decomposed and not rendered yet.
        gain: what shows the pictures; None before the first.
        closed: how far walls close them; None likewise.
    """

    decompose: DecomposeState = field(default_factory=DecomposeState)
    render: RenderState = field(default_factory=RenderState)
    waiting: Decomposition | None = None
    gain: float | None = None
    closed: float | None = None


def relight_steps(
    clip: Iterable[Frames],
    light: EnvironmentMap,
    inverse: Inverse | WindowInverse,
    forward: Forward | PartRenderer,
    options: RelightOptions = DEFAULTS,
    *,
    rerender: Forward | None = None,
    state: RelightState | None = None,
) -> Iterator[tuple[Relit | None, RelightState]]:
    """`relight_stream` from `state` on, with the state after each window, from which another run can go on; None where
    a window finishes no frame. Arguments and errors as there; beside a `forward` that renders parts, `rerender` has to
    be given where detail is kept."""
    pictures = count_pictures(clip, options)
    _check(light, pictures, options)
    state = state or RelightState()
    if _turns_about_still(clip, options):
        plain = cast("Forward", forward)
        still = decompose_stream(clip, inverse, plain, options, rerender=rerender)
        turned = ((part, False, state.decompose) for one in still for part in repeat(one, pictures or 0))
        return _Rendering(light, PlainForward(plain), options, pictures).steps(turned, state)
    source = window_inverse(inverse, options)
    again = (rerender or noise_free(cast("Forward", forward))) if options.detail else None
    parts = (
        (step.part, step.last, step.state) for step in decompose_steps(clip, source, again, options, state.decompose)
    )
    return _Rendering(light, part_renderer(forward, source.clip), options, pictures).steps(parts, state)


def recompose(
    decomposition: Decomposition, light: EnvironmentMap, forward: Forward, options: RelightOptions = DEFAULTS
) -> RenderPasses:
    """The passes of `relight_decomposition`, without the gain that shows them."""
    return relight_decomposition(decomposition, light, forward, options).passes


def relight_decomposition(
    decomposition: Decomposition,
    light: EnvironmentMap,
    forward: Forward,
    options: RelightOptions = DEFAULTS,
    *,
    gain: float | None = None,
) -> Relit:
    """Renders a decomposition under `light`, as `options` say (whose `detail` was settled when it was decomposed).

    Where `gain` is given, "auto" exposure shows the pictures by that, which a small copy of them gives sooner.

    The photo's detail (see `relight.detail`) multiplies all that surfaces send out alike, so the passes still add up to
    the beauty.

    Raises:
        UserError: where light and pictures differ in number.
    """
    pictures = count_pictures(decomposition.frames, options)
    _check(light, pictures, options)
    clip = ClipOptions.of(None, options.temporal, options.window, options.overlap)
    if _turns_about_still(decomposition.frames, options):
        parts, renderer = [decomposition] * (pictures or 0), PlainForward(forward)
    else:
        parts = [decomposition.part(a, b) for a, b in clip.parts(len(decomposition))]
        renderer = part_renderer(forward, clip)
    told = ((part, index == len(parts) - 1, DecomposeState()) for index, part in enumerate(parts))
    rendering = _Rendering(light, renderer, options, pictures)
    made = [relit for relit, _ in rendering.steps(told, RelightState(gain=gain)) if relit is not None]
    return replace(joined(made), decomposition=decomposition)


def joined(parts: Sequence[Relit]) -> Relit:
    """The parts of one clip or turn as one."""
    passes = RenderPasses.concatenate([part.passes for part in parts])
    yaws = tuple(yaw for part in parts for yaw in part.yaws)
    if all(part.decomposition is parts[0].decomposition for part in parts):
        return replace(parts[0], passes=passes, yaws=yaws)
    whole = Decomposition.concatenate([part.decomposition for part in parts])
    return replace(parts[0], passes=passes, decomposition=whole, yaws=yaws)


def count_pictures(clip: Iterable[Frames], options: RelightOptions) -> int | None:
    """How many pictures relighting `clip` gives; None where nobody knows beforehand."""
    if _turns_about_still(clip, options):
        return options.frames or TURN_FRAMES
    length = _length(clip)
    return options.frames if length is None else min(options.frames or length, length)


def _turns_about_still(clip: Iterable[Frames], options: RelightOptions) -> bool:
    return options.turn != 0 and _length(clip) == 1


def _length(clip: Iterable[Frames]) -> int | None:
    """How many frames a clip has; None where it does not say."""
    if isinstance(clip, Frames | Reader):
        return len(clip)
    return sum(len(part) for part in clip) if isinstance(clip, Sequence) else None


def _check(light: EnvironmentMap, pictures: int | None, options: RelightOptions) -> None:
    if pictures is None and options.turn:
        raise UserError("the light of a clip of unknown length cannot turn by so much in all; expected options.frames")
    if pictures is not None and len(light) not in (1, pictures):
        raise UserError(f"a light of {len(light)} frames for {pictures} pictures; expected 1, or as many frames")


def relight_parts(
    parts: Iterable[Decomposition],
    light: EnvironmentMap,
    forward: Forward,
    options: RelightOptions = DEFAULTS,
    pictures: int | None = None,
) -> Iterator[Relit]:
    """Renders decompositions as they come, as `relight_stream` does, each by itself.

    Args:
        pictures: frames in all; of a light that turns.
    """
    rendering = _Rendering(light, PlainForward(forward), options, pictures)
    told = ((part, False, DecomposeState()) for part in parts)
    return (relit for relit, _ in rendering.steps(told, RelightState()) if relit is not None)


@dataclass(frozen=True)
class _Rendering:
    """The second half of a relight: what is rendered under which light, how, and as how many pictures."""

    light: EnvironmentMap
    renderer: PartRenderer
    options: RelightOptions
    pictures: int | None

    def steps(
        self, parts: Iterable[tuple[Decomposition, bool, DecomposeState]], state: RelightState
    ) -> Iterator[tuple[Relit | None, RelightState]]:
        """Renders decompositions as they come, each with whether it is the last, and the state after it."""
        background = self.options.background
        gain = 1.0 if self.options.exposure != "auto" else state.gain
        render, waiting, closed = state.render, state.waiting, state.closed
        for part, last, decomposed in parts:
            if closed is None:  # by the first part, for all
                closed = closed_by_walls(part) if self.options.walls else 0.0
            start = render.start
            lighting = partial(self._lighting, closed)
            passes, render = self.renderer.next_part(part.gbuffer, lighting, render, last=last)
            if passes is None or len(passes) < len(part) or waiting is not None:
                waiting = part if waiting is None else Decomposition.concatenate([waiting, part])
                done = 0 if passes is None else len(passes)
                part = waiting.part(0, done)
                waiting = waiting.part(done, len(waiting)) if done < len(waiting) else None
            if passes is None:
                yield None, RelightState(decomposed, render, waiting, gain, closed)
                continue
            made = [with_detail(passes, part, background, 1 - closed)]
            del passes
            if gain is None:  # by the first frame, for all
                gain = gain_of(made[0].part(0, 1), part.part(0, 1), background)
            # What is yielded is not kept here: it may be as large as a picture.
            relit = [self._relit(before(made.pop(), part, background, gain), part, gain, start)]
            del part
            yield relit.pop(), RelightState(decomposed, render, waiting, gain, closed)

    def _relit(self, passes: RenderPasses, part: Decomposition, gain: float, start: int) -> Relit:
        yaws = self._yaws(start, start + len(passes))
        return Relit(passes, part, gain, self.options.background, self.light.name, yaws, self.options.exposure)

    def _yaws(self, start: int, stop: int) -> tuple[float, ...]:
        options, pictures = self.options, self.pictures
        return tuple(options.yaw + (options.turn * i / pictures if pictures else 0.0) for i in range(start, stop))

    def _lighting(self, closed: float, start: int, stop: int) -> tuple[EnvironmentMap, float | Tensor]:
        """The new light of some pictures, as it comes in through walls, and the degrees that it is turned by."""
        options, light, yaws = self.options, self.light, self._yaws(start, stop)
        light = light_of_pictures(light, closed, options)
        own = replace(light, radiance=light.radiance[start:stop]) if len(light) > 1 else light
        return own, torch.tensor(yaws) if len(set(yaws)) > 1 else yaws[0]


def light_of_pictures(light: EnvironmentMap, closed: float, options: RelightOptions) -> EnvironmentMap:
    """A new light as bright as it was asked for, as it comes in through walls."""
    if options.exposure != "auto":
        light = light.exposed(options.exposure)
    return let_in(light, closed) if closed > 0 else light


def closed_by_walls(part: Decomposition) -> float:
    """How far walls close the pictures of `part`; says so where they do."""
    closed = float(closure(part.gbuffer).mean())
    if closed > 0:
        says = f"side walls close the picture by {closed:.0%}; as much of the light comes in as ambient light"
        note(part.frames.name, f"{says}, all of it dimmed to {dimming(closed):.0%} (--no-walls lets it in as it is)")
    return closed
