"""Forward renderers by id: deferred ones, with no network, and published networks."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.files.natural import GBufferLike, LightLike, as_gbuffer, as_light
from unrender.forward.deferred import DeferredRenderer, Quality
from unrender.forward.options import ForwardOptions
from unrender.forward.surface import RenderPasses
from unrender.scene.environment import EnvironmentMap

if TYPE_CHECKING:
    from unrender.forward.neural import NeuralRenderer

DEFERRED: dict[str, Quality] = {
    "deferred": "auto",
    "deferred:split_sum": "split_sum",
    "deferred:monte_carlo": "monte_carlo",
    "deferred:screen_space": "screen_space",
}

DEFAULT_INFERENCE, DEFAULT_OPTIONS = InferenceOptions(), ForwardOptions()


@dataclass(frozen=True)
class ForwardRenderer:
    """A renderer of G-buffers, found by its id.

    Attributes:
        engine: what renders.
    """

    engine: DeferredRenderer | NeuralRenderer

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        inference: InferenceOptions = DEFAULT_INFERENCE,
        options: ForwardOptions = DEFAULT_OPTIONS,
        *,
        samples: int | None = None,
        background: bool = True,
    ) -> ForwardRenderer:
        """The renderer of an id.

        Args:
            model: "deferred" (the best at hand: screen space, without depth the split sum), "deferred:split_sum",
                "deferred:screen_space" or "deferred:monte_carlo"; a published model's id (`unrender models list`), or a
                model folder.
            inference, options: of a network; the seed of `options` is the deferred renderer's too.
            samples, background: of the deferred renderer, see there.

        Raises:
            UserError: an unknown id, with the nearest known one, and all that `NeuralRenderer.from_pretrained` raises.
        """
        if model in DEFERRED:
            if options != ForwardOptions(steps=options.steps, seed=options.seed):
                raise UserError("the deferred renderer takes no caption, guidance or shadows; a network's id would")
            quality = DEFERRED[str(model)]
            return cls(DeferredRenderer(quality, samples=samples, seed=options.seed, background=background))
        near = difflib.get_close_matches(str(model), DEFERRED, n=1, cutoff=0.7)
        if near:
            raise UserError(f"no forward renderer {str(model)!r}; did you mean {near[0]}?")
        # Networks are slow to import, and a deferred renderer wants none.
        from unrender.forward.neural import NeuralRenderer

        return cls(NeuralRenderer.from_pretrained(model, inference, options))

    def __call__(
        self,
        gbuffer: GBufferLike,
        light: LightLike | None = None,
        yaw: float | Tensor = 0.0,
        edit: Tensor | None = None,
        *,
        noise: Tensor | None = None,
    ) -> RenderPasses:
        """The picture of `gbuffer` under `light` turned by `yaw` degrees about +Y; see `DeferredRenderer.__call__` and
        `NeuralRenderer.__call__`. Paths, the names of shipped lights, tensors and arrays are taken as
        `files.as_gbuffer` and `files.as_light` take them.

        Raises:
            UserError: no light, an edit or noise, where the renderer is deferred.
        """
        gbuffer, light = as_gbuffer(gbuffer), _optional_light(light)
        if not isinstance(self.engine, DeferredRenderer):
            return self.engine(gbuffer, light, yaw, edit=edit, noise=noise)
        if light is None:
            raise UserError("the deferred renderer needs a light; expected --light HDRI")
        if edit is not None:
            raise UserError("the deferred renderer renders whole pictures; an edit mask needs a model that edits")
        if noise is not None:
            raise UserError("the deferred renderer starts from no noise; expected a network's id, or `seed` instead")
        return self.engine(gbuffer, light, yaw)

    def pictures(
        self,
        gbuffer: GBufferLike,
        light: LightLike | None = None,
        yaw: float | Tensor = 0.0,
        edit: Tensor | None = None,
        *,
        noise: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """A network's decoded pictures by name, (T, C, h, w) float32, about [-1, 1], as `NeuralRenderer.pictures` gives
        them. Arguments as in `__call__`.

        Raises:
            UserError: the renderer is deferred, and all that `__call__` raises.
        """
        return self._network.pictures(as_gbuffer(gbuffer), edit, noise, light=_optional_light(light), yaw=yaw)

    def latents(
        self,
        gbuffer: GBufferLike,
        light: LightLike | None = None,
        yaw: float | Tensor = 0.0,
        edit: Tensor | None = None,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """A network's clean latents (T, C, h, w), float32. Arguments and errors as in `pictures`."""
        return self._network.latents(as_gbuffer(gbuffer), edit, noise, light=_optional_light(light), yaw=yaw)

    def noise_shape(self, gbuffer: GBufferLike) -> tuple[int, int, int, int]:
        """The shape that `noise` must have for `gbuffer`.

        Raises:
            UserError: the renderer is deferred.
        """
        return self._network.noise_shape(as_gbuffer(gbuffer))

    @property
    def _network(self) -> NeuralRenderer:
        if isinstance(self.engine, DeferredRenderer):
            raise UserError("the deferred renderer has neither noise nor latents; expected the id of a network")
        return self.engine


def _optional_light(light: LightLike | None) -> EnvironmentMap | None:
    return None if light is None else as_light(light)
