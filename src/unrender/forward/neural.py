"""Maps to picture by a network: X->RGB, its inpainting, Ouroboros' forward half, and networks
conditioned on a light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from unrender.diffusion.card import Guidance, ModelCard
from unrender.diffusion.checkpoints.clip.prompts import embed_prompts
from unrender.diffusion.engine import Engine, Prediction, load_engine, run
from unrender.diffusion.inputs import Inputs
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.forward import neural_environment, neural_light
from unrender.forward.deferred import DeferredRenderer, backdrops
from unrender.forward.irradiance import lit_irradiance
from unrender.forward.lighting import LightConditioning
from unrender.forward.options import ForwardOptions
from unrender.forward.surface import RenderPasses, coverage
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer


@dataclass(frozen=True)
class NeuralRenderer:
    """Renders a G-buffer as the card of its checkpoint says.

    Attributes:
        engine: the checkpoint, and where and how it runs.
        options: what the picture shall be like.
        caption: (N, D) tokens of the caption; None for the card's empty one.
    """

    engine: Engine
    options: ForwardOptions
    caption: Tensor | None = None

    @classmethod
    def from_pretrained(cls, model: str | Path, inference: InferenceOptions, options: ForwardOptions) -> NeuralRenderer:
        """The renderer of a published model or of a model folder.

        Raises:
            UserError: no such model, one that was not pulled, a broken folder, a device that is not present, or a
                caption where there is no text encoder, or where the network is conditioned on a light.
        """
        engine = load_engine(model, "forward", inference, lora=options.lora)
        light = engine.card.light
        if light is not None and light.exposed:
            neural_light.check_options(engine.card.id, options)
            return cls(engine, options)
        if light is not None:
            neural_environment.check_environment_options(engine.card.id, options)
        elif options.elevation:
            raise UserError(f"{engine.card.id} is shown no light, and takes no elevation")
        card = engine.card.with_sampling(guidance=_guidance(engine.card.sampling.guidance, options))
        engine = replace(engine, checkpoint=replace(engine.checkpoint, card=card))
        home = engine.checkpoint.home
        caption = None
        if options.caption and home is not None:
            (caption,) = embed_prompts(home, [options.caption], engine.card.padded_prompts)
        return cls(engine, options, caption)

    @property
    def card(self) -> ModelCard:
        """The habits of the checkpoint."""
        return self.engine.card

    @property
    def _shown_all(self) -> bool:
        """Whether the network is shown a light as it is, and answers with the whole view."""
        return self.card.light is not None and not self.card.light.exposed

    def __call__(
        self,
        gbuffer: GBuffer,
        light: EnvironmentMap | None = None,
        yaw: float | Tensor = 0.0,
        *,
        edit: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> RenderPasses:
        """The picture of `gbuffer`, under its own irradiance or that of a light.

        Args:
            gbuffer: any of the maps that the card is given; what is missing, the network makes up.
            light: one frame, or one for every frame. A card with `light` tokens is conditioned on it (see
                `neural_light.lit_picture` and `neural_environment`); without one, on the G-buffer's irradiance. Of
                others its irradiance
                takes the place of the G-buffer's; the picture then has the brightness that the deferred renderer finds
                under it, which the network does not know; an edit has that of the photo around it.
            yaw: degrees that the light is turned by about +Y, one number or one per frame (T,).
            edit: (T or 1, 1, H, W) in [0, 1], 1 where the picture is rendered anew, for cards that edit; the rest is
                `gbuffer.rgb`.
            noise: (T, C, h, w) to start from instead of the card's noise.

        Returns:
            RenderPasses of (T, 3, H, W), scene-linear, with one surface group, `rendered`. A network paints the
            background too: without a light, and where a part is edited, the whole picture is in `rendered`. One that
            conditioned on lights has learnt surfaces on black; without a light, black is what is behind them.

        Raises:
            UserError: no map that the card is given, an edit where the card makes none or none where it does, or
                neither light nor irradiance where the card wants a light.
        """
        return self.next_window(gbuffer, light, yaw, edit=edit, noise=noise)[0]

    def next_window(
        self,
        gbuffer: GBuffer,
        light: EnvironmentMap | None = None,
        yaw: float | Tensor = 0.0,
        *,
        edit: Tensor | None = None,
        noise: Tensor | None = None,
        previous: Sequence[Tensor] = (),
    ) -> tuple[RenderPasses, tuple[Tensor, ...]]:
        """The pictures of a window of a clip, and the latents that the window after may start from.

        Args:
            gbuffer, light, yaw, edit, noise: as in `__call__`.
            previous: the latents of the window before, as far as it had the first frames of this one.
        """
        self._check(gbuffer, edit, light)
        yaws = torch.as_tensor(yaw, dtype=torch.float32).expand(len(gbuffer))
        prediction, shown = self._raw(gbuffer, light, yaws, edit, noise, previous)
        if light is not None and self._shown_all:
            # Of the whole view, as a display shows it: nothing is cut out, nor exposed.
            picture = _rgb(prediction)
            return RenderPasses({"rendered": picture}, torch.zeros_like(picture)), prediction.found
        covered = coverage(gbuffer)
        if self.card.light is not None and light is not None and shown is not None:
            picture = neural_light.lit_answer(prediction, shown, gbuffer, light, yaws)
            return _before_light(picture, covered, gbuffer, light, yaws), prediction.found
        if self.card.light is not None:
            picture = neural_light.irradiance_answer(prediction, gbuffer)
            picture = picture * covered.to(picture)
            return RenderPasses({"rendered": picture}, torch.zeros_like(picture)), prediction.found
        picture = self._picture(prediction, gbuffer, edit)
        if light is None or edit is not None:
            return RenderPasses({"rendered": picture}, torch.zeros_like(picture)), prediction.found
        picture = picture * _brightness(self._lit(gbuffer, light, yaws), light, yaws, picture, covered)
        return _before_light(picture, covered, gbuffer, light, yaws), prediction.found

    def pictures(
        self,
        gbuffer: GBuffer,
        edit: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        light: EnvironmentMap | None = None,
        yaw: float | Tensor = 0.0,
    ) -> dict[str, Tensor]:
        """The decoded pictures by name, (T, C, h, w) float32, about [-1, 1], without padding, at the size of the
        network, as the VAE gives them. Arguments and errors as in `__call__`. For holding the engine against another
        implementation number by number."""
        return self._checked(gbuffer, light, yaw, edit, noise).pictures()

    def latents(
        self,
        gbuffer: GBuffer,
        edit: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        light: EnvironmentMap | None = None,
        yaw: float | Tensor = 0.0,
    ) -> Tensor:
        """The clean latents (T, C, h, w), float32. Arguments and errors as in `__call__`."""
        return self._checked(gbuffer, light, yaw, edit, noise).latents

    def noise_shape(self, gbuffer: GBuffer) -> tuple[int, int, int, int]:
        """The shape that `noise` must have for `gbuffer`."""
        exposed = self.card.light is not None and not self._shown_all
        size = neural_light.network_size(self.engine, gbuffer) if exposed else gbuffer.size
        return self.engine.noise_shape(size, len(gbuffer), "the G-buffer")

    def _checked(
        self,
        gbuffer: GBuffer,
        light: EnvironmentMap | None,
        yaw: float | Tensor,
        edit: Tensor | None,
        noise: Tensor | None,
    ) -> Prediction:
        self._check(gbuffer, edit, light)
        yaws = torch.as_tensor(yaw, dtype=torch.float32).expand(len(gbuffer))
        return self._raw(gbuffer, light, yaws, edit, noise)[0]

    def _raw(
        self,
        gbuffer: GBuffer,
        light: EnvironmentMap | None,
        yaws: Tensor,
        edit: Tensor | None,
        noise: Tensor | None,
        previous: Sequence[Tensor] = (),
    ) -> tuple[Prediction, LightConditioning | None]:
        """What the network makes of it, before anything is read of it, and what it was shown of the light itself."""
        if self.card.light is None:
            return self._prediction(self._lit(gbuffer, light, yaws), edit, noise, previous), None
        if light is None:
            return neural_light.unlit_prediction(self.engine, self.options, gbuffer, noise, previous), None
        if self._shown_all:
            render = neural_environment.environment_prediction
            return render(self.engine, self.options, gbuffer, light, yaws, noise, previous), None
        return neural_light.lit_prediction(self.engine, self.options, gbuffer, light, yaws, noise, previous)

    def _lit(self, gbuffer: GBuffer, light: EnvironmentMap | None, yaws: Tensor) -> GBuffer:
        """The G-buffer with the irradiance of a light, where there is one, in place of its own."""
        if light is None:
            return gbuffer
        lit = lit_irradiance(gbuffer, light, yaws, shadows=self.options.shadows)
        return replace(gbuffer, irradiance=lit, irradiance_kind="metric")

    def _prediction(
        self, gbuffer: GBuffer, edit: Tensor | None, noise: Tensor | None, previous: Sequence[Tensor]
    ) -> Prediction:
        metric = "irradiance" in gbuffer.maps and gbuffer.irradiance_kind == "metric"
        inputs = Inputs(
            gbuffer.size,
            len(gbuffer),
            gbuffer.maps,
            frozenset({"irradiance"} if metric else ()),
            edit=None if edit is None else edit.expand(len(gbuffer), -1, -1, -1),
            tokens=self.caption,
            name="the G-buffer",
        )
        options = self.options
        return run(self.engine, inputs, noise=noise, steps=options.steps, seed=options.seed, previous=previous)

    def _picture(self, prediction: Prediction, gbuffer: GBuffer, edit: Tensor | None) -> Tensor:
        """(T, 3, H, W) linear, in [0, 1]: as bright as a photograph of it."""
        rgb = _rgb(prediction)
        if edit is None or gbuffer.rgb is None or not self.card.maps.composite:
            return rgb
        return gbuffer.rgb + edit * (rgb - gbuffer.rgb)

    def _check(self, gbuffer: GBuffer, edit: Tensor | None, light: EnvironmentMap | None) -> None:
        if light is not None and len(light) not in (1, len(gbuffer)):
            raise UserError(f"a light of {len(light)} frames for a G-buffer of {len(gbuffer)}; expected 1 or as many")
        names = [given.codec.map for given in self.card.maps.inputs if not given.radiance_hint]
        if (
            light is None
            and self.card.light is not None
            and not ("irradiance" in names and "irradiance" in gbuffer.maps)
        ):
            instead = ", or by a G-buffer's irradiance" if "irradiance" in names else ""
            raise UserError(f"{self.card.id} renders under a light{instead}; expected --light HDRI")
        if not any(name in gbuffer.maps for name in names):
            raise UserError(
                f"{self.card.id} is given {', '.join(names)}; this G-buffer has only {', '.join(gbuffer.maps)}"
            )
        if self.card.maps.edits and edit is None:
            raise UserError(f"{self.card.id} renders a part of a picture; expected an edit mask, white where")
        if edit is not None and tuple(edit.shape[2:]) != gbuffer.size:
            (height, width), (tall, wide) = edit.shape[2:], gbuffer.size
            raise UserError(f"the edit mask is {width}x{height} pixels; expected {wide}x{tall}, as the G-buffer")
        if self.card.maps.edits and gbuffer.rgb is None:
            raise UserError(f"{self.card.id} keeps the rest of a photo; expected a G-buffer with rgb")
        if edit is not None and not self.card.maps.edits:
            raise UserError(f"{self.card.id} renders whole pictures; zheng95z/x-to-rgb-inpainting edits a part")


def _rgb(prediction: Prediction) -> Tensor:
    """The picture (T, 3, H, W), linear, in [0, 1], that a network gave."""
    rgb = prediction.gbuffer().rgb
    assert rgb is not None
    return rgb


def _guidance(own: Guidance, options: ForwardOptions) -> Guidance:
    """The card's guidance with what the options say of it; words alone guide where a card knows no guidance by maps."""
    text = own.text if options.guidance is None else options.guidance
    image = (own.image or 1.0) if options.image_guidance is None else options.image_guidance
    rescale = own.rescale if options.guidance_rescale is None else options.guidance_rescale
    return replace(own, text=text, image=image, rescale=rescale)


def _before_light(
    picture: Tensor, covered: Tensor, gbuffer: GBuffer, light: EnvironmentMap, yaw: Tensor
) -> RenderPasses:
    """A picture (T, 3, H, W) where there are surfaces, and the light past them."""
    camera = gbuffer.camera_or_default()
    return RenderPasses({"rendered": picture * covered}, backdrops(gbuffer, light, camera, yaw.tolist()))


def _brightness(gbuffer: GBuffer, light: EnvironmentMap, yaw: Tensor, picture: Tensor, covered: Tensor) -> Tensor:
    """What brings a picture's log-average luminance to that of the deferred rendering under the same light, over what
    both cover: (T, 1, 1, 1). 1 where the G-buffer says too little to be rendered."""
    if gbuffer.base_color is None or gbuffer.normal is None:
        return torch.ones(len(picture), 1, 1, 1)
    expected = DeferredRenderer(background=False)(gbuffer, light, yaw).surface
    weight = (covered > 0.5).to(picture)
    averages = [_log_average(rgb, weight) for rgb in (picture, expected)]
    return averages[1] / averages[0]


def _log_average(rgb: Tensor, weight: Tensor) -> Tensor:
    """Log-average luminance (T, 1, 1, 1) of linear rgb (T, 3, H, W) under weights (T, 1, H, W), from 1e-6 up."""
    logs = luminance(rgb).clamp(min=1e-6).log() * weight
    return (logs.sum((1, 2, 3), keepdim=True) / weight.sum((1, 2, 3), keepdim=True).clamp(min=1)).exp()
