"""Several inverse renderers on one picture: depth from one, normals from another, material from a third."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unrender.diffusion.latent_cache import LatentCache
from unrender.diffusion.windows import ClipOptions
from unrender.inverse.clips import ClipInverse, ClipState
from unrender.inverse.renderer import InverseRenderer, unknown_map
from unrender.scene.frames import Frames, Window
from unrender.scene.gbuffer import GBuffer


@dataclass(frozen=True)
class MultiModelRenderer:
    """Takes pictures apart with one model after the other, and puts all maps into one G-buffer.

    Attributes:
        loaders: give the models, in turn: at every call anew, so that each is gone before the next one comes, or the
            same one always, where there are many pictures.
        cache: encodes a picture once for all models that share an autoencoder.
    """

    loaders: tuple[Callable[[], InverseRenderer], ...]
    cache: LatentCache = field(default_factory=LatentCache)

    def __call__(
        self,
        photo: Frames,
        maps: Sequence[str] | None = None,
        *,
        steps: int | None = None,
        seed: int = 0,
        ensemble_size: int = 1,
    ) -> GBuffer:
        """The G-buffer of a picture or clip; of a map that several models give, the first one's.

        Args:
            photo: (T, 3, H, W) scene-linear frames.
            maps: names of the maps wanted; every one that any model gives when None.
            steps, seed, members: as in `InverseRenderer.__call__`.

        Raises:
            UserError: a map that no model gives.
        """
        parts: list[GBuffer] = []
        known: dict[str, None] = {}
        for load in self.loaders:
            renderer = load()
            own = [name for name in renderer.card.map_names if name not in known]
            wanted = [name for name in own if name in (renderer.card.usual_maps if maps is None else maps)]
            known |= dict.fromkeys(own)
            if wanted:
                parts.append(
                    self._sharing(renderer)(photo, wanted, steps=steps, seed=seed, ensemble_size=ensemble_size)
                )
            del renderer  # before the next one is loaded
        for name in maps or ():
            if name not in known:
                raise unknown_map(name, known, "the models give")
        return _merged(parts)

    def _sharing(self, renderer: InverseRenderer) -> InverseRenderer:
        return replace(renderer, engine=replace(renderer.engine, cache=self.cache))


@dataclass(frozen=True)
class MultiModelClip:
    """Several inverse renderers on the windows of a clip; called with a picture, all of them on that.

    Attributes:
        pictures: takes pictures apart.
        models: take windows apart, all cut as for the first; () where there are pictures only.
        settings: keywords of `pictures`.
    """

    pictures: MultiModelRenderer
    models: tuple[ClipInverse, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def clip(self) -> ClipOptions:
        """How clips are cut."""
        return self.models[0].clip if self.models else ClipOptions()

    @property
    def card(self) -> None:
        """There are several."""
        return

    def __call__(self, photo: Frames, maps: Sequence[str] | None = None) -> GBuffer:
        """The G-buffer of a picture."""
        return self.pictures(photo, maps, **self.settings)

    def next_window(
        self, window: Window, state: ClipState, maps: Sequence[str] | None = None
    ) -> tuple[GBuffer, ClipState]:
        """See `ClipInverse.next_window`; the state holds one of each model."""
        if not self.models:
            return self(window.frames, maps), state
        parts, states, known = [], [], dict[str, None]()
        before = state.models or tuple(ClipState() for _ in self.models)
        for model, own in zip(self.models, before, strict=True):
            names = [name for name in model.renderer.card.map_names if name not in known]
            wanted = [name for name in names if name in (model.renderer.card.usual_maps if maps is None else maps)]
            known |= dict.fromkeys(names)
            if wanted:
                part, own = replace(model, clip=self.clip).next_window(window, own, wanted)
                parts.append(part)
            states.append(own)
        for name in maps or ():
            if name not in known:
                raise unknown_map(name, known, "the models give")
        return _merged(parts), ClipState(models=tuple(states))


def _merged(parts: Sequence[GBuffer]) -> GBuffer:
    """One G-buffer of all maps, and of what is known of their scale."""
    first = parts[0]
    depth_kind = next((part.depth_kind for part in parts if part.depth is not None), first.depth_kind)
    irradiance_kind = next((p.irradiance_kind for p in parts if p.irradiance is not None), first.irradiance_kind)
    maps = {name: value for part in reversed(parts) for name, value in part.maps.items()}
    model = " + ".join(part.model for part in parts)
    return replace(first, depth_kind=depth_kind, irradiance_kind=irradiance_kind, model=model, **maps)
