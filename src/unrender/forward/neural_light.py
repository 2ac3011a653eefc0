"""Maps to picture by a network that is told the light itself (`ModelCard.light`), or else the irradiance it gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unrender.diffusion.codec import decode_maps
from unrender.diffusion.engine import Engine, decode_pictures, give, walk
from unrender.diffusion.framing import Framing, plan_framing, unframe
from unrender.diffusion.preprocessing import present
from unrender.errors import UserError
from unrender.forward.lighting import LightConditioning, light_conditioning, radiance_hint, surface_maps
from unrender.forward.options import ForwardOptions
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_gbuffer, resize_picture

DARK = 0.02
"""Exposed radiance under which a first render says too little to be divided by."""

LARGEST_RATIO = 2.0
"""Detail is never made stronger than this."""


@dataclass(frozen=True)
class _Told:
    """What the network is told: `pictures` of its card's entries on the canvas of `framing`, None where one is not
    told, and (T, N, D) `tokens` of the light, zeros for none."""

    framing: Framing
    pictures: list[Tensor | None]
    tokens: Tensor


def lit_picture(
    engine: Engine,
    options: ForwardOptions,
    gbuffer: GBuffer,
    light: EnvironmentMap,
    yaw: float | Tensor = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """The surfaces of `gbuffer` under `light` turned by `yaw` degrees, (T, 3, H, W), scene-linear, whatever the network
    paints where there is none.

    The network answers with a display's picture, in [0, 1] under the sRGB curve, of the scene exposed by
    `lighting.exposure_gain`; the exposure is taken back. So a light twice as bright gives a picture twice as bright.

    Raises:
        UserError: base_color or normal is missing.
    """
    framing, shown = _show(engine, gbuffer, light, yaw)
    (decoded,) = decode_pictures(engine, _latents(engine, options, _tell_light(engine, framing, shown), noise))
    rgb = decode_maps(unframe(decoded, framing), engine.card.pictures[0])["rgb"]
    gain = shown.gain.to(rgb)
    return with_detail(rgb, shown.radiance_hint, radiance_hint(gbuffer, light, yaw).to(rgb) * gain) / gain


def with_detail(answer: Tensor, seen: Tensor, first: Tensor) -> Tensor:
    """What the network answered at its own size, with the detail of a first render of full size: (T, 3, H, W).

    What `first` has beyond the size of the network comes along as the network changed what it saw there, so in a shadow
    that it cast texture is as much darker as all else. A network that changes nothing gives `first`.

    Args:
        answer, seen: (T, 3, h, w) what the network answered, and the first render that it saw.
        first: (T, 3, H, W) that render at full size; all linear and exposed alike.
    """
    ratio = (answer / seen.clamp(min=DARK)).clamp(0, LARGEST_RATIO)
    coarse, seen, ratio = (resize_picture(values, (first.shape[2], first.shape[3])) for values in (answer, seen, ratio))
    return (coarse + ratio * (first - seen)).clamp(min=0)


def irradiance_picture(
    engine: Engine, options: ForwardOptions, gbuffer: GBuffer, noise: Tensor | None = None
) -> Tensor:
    """The surfaces of `gbuffer` under its own irradiance, (T, 3, H, W), linear, in [0, 1]: as bright as a photograph of
    them, whatever the network paints where there is none.

    No light is told: neither its tokens nor a first render, as in cycle training (`train.cycle`).

    Raises:
        UserError: the irradiance is missing.
    """
    gbuffer.require("irradiance", by=engine.card.id)
    told = _tell_irradiance(engine, gbuffer)
    (decoded,) = decode_pictures(engine, _latents(engine, options, told, noise))
    rgb = decode_maps(unframe(decoded, told.framing), engine.card.pictures[0])["rgb"]
    return resize_picture(rgb, gbuffer.size)


def lit_latents(
    engine: Engine,
    options: ForwardOptions,
    gbuffer: GBuffer,
    light: EnvironmentMap,
    yaw: float | Tensor = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """The clean latents (T, C, h, w) of `lit_picture`, float32. For holding the engine against another implementation
    number by number."""
    framing, shown = _show(engine, gbuffer, light, yaw)
    return _latents(engine, options, _tell_light(engine, framing, shown), noise)


def check_options(model: str, options: ForwardOptions) -> None:
    """Raises UserError where a network that is told a light is told words or shadows too."""
    if options != ForwardOptions(steps=options.steps, seed=options.seed):
        raise UserError(f"{model} is told the light itself and takes no caption, guidance or shadows; leave them out")


def _show(
    engine: Engine, gbuffer: GBuffer, light: EnvironmentMap, yaw: float | Tensor
) -> tuple[Framing, LightConditioning]:
    card = engine.card
    gbuffer.require("base_color", "normal", by=card.id)
    framing = plan_framing(gbuffer.size, card.size, "the G-buffer")
    assert card.light is not None
    # At the size that the network sees, as in training; and a first render of a large picture would take longer.
    return framing, light_conditioning(resize_gbuffer(gbuffer, framing.content), light, yaw, card.light.size)


@torch.inference_mode()
def _tell_light(engine: Engine, framing: Framing, shown: LightConditioning) -> _Told:
    card, encoder = engine.card, engine.checkpoint.environment
    assert encoder is not None
    values = [(given, shown.values_of(given)) for given in card.given]
    pictures = [None if one is None else present(one, given, card.size, framing) for given, one in values]
    return _Told(framing, pictures, encoder(shown.picture.to(engine.compute.device, engine.compute.dtype)))


@torch.inference_mode()
def _tell_irradiance(engine: Engine, gbuffer: GBuffer) -> _Told:
    card, encoder = engine.card, engine.checkpoint.environment
    assert card.light is not None
    assert encoder is not None
    framing = plan_framing(gbuffer.size, card.size, "the G-buffer")
    maps = surface_maps(resize_gbuffer(gbuffer, framing.content), irradiance=True)
    pictures: list[Tensor | None] = []
    for given in card.given:
        values = None if given.rendered else maps.get(given.codec.map)
        scene = given.codec.map == "irradiance" and gbuffer.irradiance_kind == "metric"
        pictures.append(None if values is None else present(values, given, card.size, framing, scene=scene))
    dark = torch.zeros(len(gbuffer), 9, *card.light.size)
    tokens = encoder(dark.to(engine.compute.device, engine.compute.dtype))
    return _Told(framing, pictures, torch.zeros_like(tokens))


@torch.inference_mode()
def _latents(engine: Engine, options: ForwardOptions, told: _Told, noise: Tensor | None) -> Tensor:
    canvas = told.framing.canvas
    noise = engine.draw_noise(canvas, len(told.tokens), options.seed) if noise is None else noise
    given = give(engine, told.pictures, engine.latent_size(canvas), seed=options.seed)
    return walk(engine, given, noise, steps=options.steps, tokens=told.tokens).float()
