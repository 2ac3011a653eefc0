"""Clips of any length taken apart, window by window: steady, on one scale, and in memory that does not grow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

from torch import Tensor

from unrender.diffusion.card import ModelCard
from unrender.diffusion.engine import run
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.temporal import seeing_time
from unrender.diffusion.windows import ClipOptions, join_windows
from unrender.files.natural import FramesLike, as_clip
from unrender.inverse.renderer import InverseRenderer, check_maps, finish_maps
from unrender.inverse.steady import Held, steady
from unrender.scene.frames import Frames, Window, windows
from unrender.scene.gbuffer import GBuffer
from unrender.scene.holes import with_filled_holes

DEFAULTS = ClipOptions()


@dataclass(frozen=True)
class ClipState:
    """What one window leaves to the next; all that a run needs to go on behind it.

    Attributes:
        found: the latents of the last frames that the next window may have, too, as `Prediction.found` has them.
        pending: their maps, of as many as are not finished, at the size of the network.
        held: see `steady`.
        models: the states of several models, where those share a clip.
    """

    found: tuple[Tensor, ...] = ()
    pending: GBuffer | None = None
    held: Held | None = None
    models: tuple[ClipState, ...] = ()


@dataclass(frozen=True)
class InverseState:
    """From where a run over a clip can go on: how many windows are done, and what the last one left."""

    windows: int = 0
    clip: ClipState = ClipState()


class WindowInverse(Protocol):
    """What takes a clip apart window by window."""

    @property
    def clip(self) -> ClipOptions:
        """How the clip is to be cut."""
        ...

    @property
    def card(self) -> ModelCard | None:
        """Of the model; None for several, and for what is none of ours."""
        ...

    def next_window(
        self, window: Window, state: ClipState, maps: Sequence[str] | None = None
    ) -> tuple[GBuffer, ClipState]:
        """The G-buffer of the frames that are finished with a window, and the state after it."""
        ...


def inverse_steps(
    clip: Iterable[Frames], inverse: WindowInverse, maps: Sequence[str] | None = None, state: InverseState | None = None
) -> Iterator[tuple[GBuffer, InverseState]]:
    """The G-buffers of a clip from `state` on, in parts, each with the state after it."""
    state, (size, overlap) = state or InverseState(), inverse.clip.spans
    for window in islice(windows(clip, size, overlap, look_ahead=True), state.windows, None):
        gbuffer, after = inverse.next_window(window, state.clip, maps)
        state = InverseState(state.windows + 1, after)
        yield gbuffer, state


@dataclass(frozen=True)
class ClipInverse:
    """An inverse renderer that knows what came before; called with a picture, it is the renderer that it holds.

    Attributes:
        renderer: takes windows apart.
        clip: how clips are cut.
        steps, seed: as in `InverseRenderer.__call__`.
        ensemble_size: likewise; with more than one, nothing but joint attention connects the frames of a window, and
            nothing connects windows.
    """

    renderer: InverseRenderer
    clip: ClipOptions = DEFAULTS
    steps: int | None = None
    seed: int = 0
    ensemble_size: int = 1

    @property
    def card(self) -> ModelCard:
        """Of the model."""
        return self.renderer.card

    def __call__(self, photo: Frames, maps: Sequence[str] | None = None) -> GBuffer:
        """The G-buffer of a picture."""
        return self.renderer(photo, maps, steps=self.steps, seed=self.seed, ensemble_size=self.ensemble_size)

    def stream(self, clip: Iterable[Frames] | FramesLike, maps: Sequence[str] | None = None) -> Iterator[GBuffer]:
        """The G-buffers of a clip, in parts of one or several frames, as it is read. A clip of one frame is a picture.

        Args:
            clip: frames in order, or what `files.as_clip` makes frames of.
            maps: names of the maps wanted; the usual ones of the card when None.

        Raises:
            UserError: as `InverseRenderer.__call__`.
        """
        return (gbuffer for gbuffer, _ in inverse_steps(as_clip(clip), self, maps))

    def next_window(
        self, window: Window, state: ClipState, maps: Sequence[str] | None = None
    ) -> tuple[GBuffer, ClipState]:
        """The G-buffer of the frames that are finished with a window, and the state after it.

        Finished are all but those that the next window sees again. Maps of several windows are joined, and held steady,
        at the size of the network; then they are brought to the size of the photo.
        """
        alone = window.last and window.repeated == 0 and len(window.frames) == 1
        if alone or self.clip.temporal == "none" or self.ensemble_size > 1:
            return self._by_itself(window, maps), state
        engine = seeing_time(self.renderer.engine)
        wanted = check_maps(maps, engine.card)
        seen = with_filled_holes(window.frames)
        pending, frames = state.pending, len(window.frames)
        before = 0 if pending is None else len(pending)
        first = window.repeated - before
        known = tuple(latents[-window.repeated :] for latents in state.found) if window.repeated else ()
        prediction = run(engine, Inputs.of_photo(seen), maps=wanted, steps=self.steps, seed=self.seed, previous=known)
        small = prediction.network_gbuffer((*wanted, "mask")).part(first, frames)
        small = join_windows(pending, small)
        stop = frames - (0 if window.last else self.clip.spans[1])
        done, rest = small.part(0, stop - first), small.part(stop - first, len(small))
        held = state.held
        if self.clip.steady:
            done, held = steady(done, seen.rgb[first:stop], held)
        gbuffer = finish_maps(prediction.upsampled(done, first), window.frames.part(first, stop), wanted)
        left = ClipState(tuple(one.clone() for one in prediction.found), rest if len(rest) else None, held)
        return gbuffer, left

    def _by_itself(self, window: Window, maps: Sequence[str] | None) -> GBuffer:
        """The new frames of a window, without what came before."""
        renderer = self.renderer
        if self.clip.temporal == "attention" and len(window.frames) > 1:
            renderer = replace(renderer, engine=seeing_time(renderer.engine))
        return replace(self, renderer=renderer)(window.frames.part(window.repeated, len(window.frames)), maps)


@dataclass(frozen=True)
class PlainInverse:
    """Anything that is called as an inverse renderer is, window by window: it knows nothing of what came before."""

    inverse: Callable[[Frames, Sequence[str] | None], GBuffer]
    clip: ClipOptions
    card: ModelCard | None = None

    def next_window(
        self, window: Window, state: ClipState, maps: Sequence[str] | None = None
    ) -> tuple[GBuffer, ClipState]:
        """See `WindowInverse`; frames that the window before had are taken from that one."""
        gbuffer = self.inverse(window.frames, maps)
        return gbuffer.part(window.repeated, len(gbuffer)), state
