"""Clips of any length rendered, part by part: without seams, and in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

from torch import Tensor

from unrender.diffusion.windows import ClipOptions, cross_fade
from unrender.forward.renderer import ForwardRenderer
from unrender.forward.surface import RenderPasses
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer

DEFAULTS = ClipOptions()

Lighting = Callable[[int, int], tuple[EnvironmentMap | None, float | Tensor]]
"""(first frame, the one after the last) -> the light of those frames, and the degrees that it is turned by."""


@dataclass(frozen=True)
class RenderState:
    """What one part leaves to the next; all that a run needs to go on behind it.

    Attributes:
        start: number of the first frame that is not finished.
        found: the latents of the frames before it and after.
        gbuffer, passes: of the frames that have been rendered and are not finished.
    """

    start: int = 0
    found: tuple[Tensor, ...] = ()
    gbuffer: GBuffer | None = None
    passes: RenderPasses | None = None


class PartRenderer(Protocol):
    """What renders a clip part by part."""

    def next_part(
        self, gbuffer: GBuffer, lighting: Lighting, state: RenderState, *, last: bool
    ) -> tuple[RenderPasses | None, RenderState]:
        """The frames that are finished with a part, None where none is, and the state after it."""
        ...


@dataclass(frozen=True)
class PlainForward:
    """Anything that is called as a forward renderer is: a deferred one for example, which needs no other frame."""

    forward: Callable[..., RenderPasses]

    def next_part(
        self, gbuffer: GBuffer, lighting: Lighting, state: RenderState, *, last: bool
    ) -> tuple[RenderPasses | None, RenderState]:
        """See `PartRenderer`."""
        stop = state.start + len(gbuffer)
        return self.forward(gbuffer, *lighting(state.start, stop)), replace(state, start=stop)


@dataclass(frozen=True)
class ClipForward:
    """A network whose windows are a part and the last frames of the part before, rendered anew.

    Attributes:
        renderer: a `NeuralRenderer`, or what has its `next_window`.
        clip: how clips are cut; its overlap counts here.
    """

    renderer: Any
    clip: ClipOptions = DEFAULTS

    def next_part(
        self, gbuffer: GBuffer, lighting: Lighting, state: RenderState, *, last: bool
    ) -> tuple[RenderPasses | None, RenderState]:
        """See `PartRenderer`. What two windows rendered is faded from one to the other; so the last frames of a part
        are finished with the next one."""
        before = state.gbuffer
        window = gbuffer if before is None else GBuffer.concatenate([before, gbuffer])
        repeated, stop = 0 if before is None else len(before), state.start + len(window)
        known = tuple(latents[-repeated:] for latents in state.found) if repeated else ()
        passes, found = self.renderer.next_window(window, *lighting(state.start, stop), previous=known)
        if state.passes is not None:
            passes = _joined(state.passes, passes)
        overlap = 0 if last else min(self.clip.spans[1], len(window))
        done, rest = len(window) - overlap, None
        if overlap:
            rest = RenderState(
                state.start + done, found, window.part(done, len(window)), passes.part(done, len(window))
            )
        return passes.part(0, done) if done else None, rest or RenderState(stop)


def part_renderer(forward: Any, clip: ClipOptions) -> PartRenderer:
    """What renders a clip part by part with a forward renderer: a network sees several frames, where `clip` lets it;
    for all others a part is as many pictures."""
    if hasattr(forward, "next_part"):
        return forward
    engine = forward.engine if isinstance(forward, ForwardRenderer) else forward
    if clip.temporal == "attention" and hasattr(engine, "next_window") and not engine.card.maps.edits:
        # Networks are slow to import, and this one is here already.
        from unrender.diffusion.temporal import seeing_time

        return ClipForward(replace(engine, engine=seeing_time(engine.engine)), clip)
    return PlainForward(forward)


@dataclass(frozen=True)
class RenderRun:
    """From where a run over a clip of G-buffers can go on: how many are read, and what the last part left."""

    read: int = 0
    render: RenderState = RenderState()


def render_steps(
    gbuffers: Iterable[GBuffer], renderer: PartRenderer, lighting: Lighting, clip: ClipOptions, state: RenderRun | None
) -> Iterator[tuple[RenderPasses | None, RenderRun]]:
    """The pictures of a clip, as its G-buffers come, from `state` on, each with the state after it; None where a part
    finishes no frame.

    Args:
        gbuffers: of one frame each.
        clip: how it is cut: a part is a window without what it shares with the next.
    """
    state, (window, overlap) = state or RenderRun(), clip.spans
    held: list[GBuffer] = []
    ahead = iter(islice(gbuffers, state.read, None))
    following = next(ahead, None)
    while following is not None:
        held.append(following)
        following = next(ahead, None)
        if following is None or len(held) == window - overlap:
            part, held = GBuffer.concatenate(held), []
            passes, render = renderer.next_part(part, lighting, state.render, last=following is None)
            state = RenderRun(state.read + len(part), render)
            yield passes, state


def _joined(before: RenderPasses, after: RenderPasses) -> RenderPasses:
    """The pictures of a window, whose first frames the window before has already."""
    count = len(before)
    first, rest = after.part(0, count), after.part(count, len(after))
    surfaces = {name: cross_fade(before.surfaces[name], values) for name, values in first.surfaces.items()}
    faded = replace(first, surfaces=surfaces)
    return RenderPasses.concatenate([faded, rest]) if len(rest) else faded
