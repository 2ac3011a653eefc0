"""Maps to picture by a network that is conditioned on the light itself (`ModelCard.light`), or else on the irradiance
that it gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unrender.diffusion.codec import decode_maps, encode_map
from unrender.diffusion.detail import detail_size, refined_render, surface_pictures
from unrender.diffusion.engine import Engine, Prediction, run
from unrender.diffusion.framing import plan_framing
from unrender.diffusion.inputs import Inputs
from unrender.errors import UserError
from unrender.forward.lighting import LightConditioning, light_conditioning, radiance_hint, surface_maps
from unrender.forward.options import ForwardOptions
from unrender.scene.environment import EnvironmentMap
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_gbuffer, resize_picture

DARK = 0.02
"""Exposed radiance under which a radiance hint says too little to be divided by."""

LARGEST_RATIO = 2.0
"""Detail is never made stronger than this."""

DEEPEST_SHADOW = 0.05
"""Share of a radiance hint that is left in the deepest shadow: light from all around is never wholly shut out. An
answer below that is black for want of a number, not of light."""


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
    prediction, shown = lit_prediction(engine, options, gbuffer, light, yaw, noise)
    return lit_answer(prediction, shown, gbuffer, light, yaw)


def lit_answer(
    prediction: Prediction, shown: LightConditioning, gbuffer: GBuffer, light: EnvironmentMap, yaw: float | Tensor = 0.0
) -> Tensor:
    """`lit_picture` of what `lit_prediction` found."""
    engine, rgb = prediction.engine, prediction.gbuffer().rgb
    assert rgb is not None
    gain = shown.gain.to(rgb)
    first = radiance_hint(gbuffer, light, yaw, engine.card.radiance_hint).to(rgb) * gain
    if engine.checkpoint.detail is None:
        return with_detail(rgb, shown.radiance_hint, first) / gain
    seen = resize_picture(first, detail_size(engine, gbuffer.size))
    return with_detail(_mended(engine, gbuffer, prediction, seen), seen, first) / gain


@torch.inference_mode()
def _mended(engine: Engine, gbuffer: GBuffer, prediction: Prediction, first: Tensor) -> Tensor:
    """A first render (T, 3, H, W), exposed and linear, with what the detail network adds to it; that begins as nothing,
    so that a network which has learnt little leaves the render as it is."""
    detail, card, compute = engine.checkpoint.detail, engine.card, engine.compute
    assert detail is not None
    (target,) = card.maps.targets
    maps = surface_maps(resize_gbuffer(gbuffer, (first.shape[2], first.shape[3])))
    given = surface_pictures(engine, maps)
    pictures = (given, prediction.pictures()[target.name], encode_map(first, card.maps.inputs[0].codec))
    shown, small, start = (values.to(compute.device, compute.dtype) for values in pictures)
    return decode_maps(refined_render(detail, shown, small, start).float().cpu(), target)["rgb"]


def with_detail(answer: Tensor, seen: Tensor, first: Tensor) -> Tensor:
    """What the network answered at its own size, with the detail of a radiance hint of full size: (T, 3, H, W).

    What `first` has beyond the size of the network comes along as the network changed what it saw there, so in a shadow
    that it cast texture is as much darker as all else. A network that changes nothing gives `first`. Nothing is darker
    than `DEEPEST_SHADOW` of `first`.

    Args:
        answer, seen: (T, 3, h, w) what the network answered, and the radiance hint that it saw.
        first: (T, 3, H, W) that render at full size; all linear and exposed alike.
    """
    ratio = (answer / seen.clamp(min=DARK)).clamp(0, LARGEST_RATIO)
    coarse, seen, ratio = (resize_picture(values, (first.shape[2], first.shape[3])) for values in (answer, seen, ratio))
    return torch.maximum(coarse + ratio * (first - seen), DEEPEST_SHADOW * first)


def irradiance_picture(
    engine: Engine, options: ForwardOptions, gbuffer: GBuffer, noise: Tensor | None = None
) -> Tensor:
    """The surfaces of `gbuffer` under its own irradiance, (T, 3, H, W), linear, in [0, 1]: as bright as a photograph of
    them, whatever the network paints where there is none.

    Raises:
        UserError: the irradiance is missing.
    """
    return irradiance_answer(unlit_prediction(engine, options, gbuffer, noise), gbuffer)


def irradiance_answer(prediction: Prediction, gbuffer: GBuffer) -> Tensor:
    """`irradiance_picture` of what `unlit_prediction` found."""
    rgb = prediction.gbuffer().rgb
    assert rgb is not None
    return resize_picture(rgb, gbuffer.size)


def lit_prediction(
    engine: Engine,
    options: ForwardOptions,
    gbuffer: GBuffer,
    light: EnvironmentMap,
    yaw: float | Tensor = 0.0,
    noise: Tensor | None = None,
    previous: Sequence[Tensor] = (),
) -> tuple[Prediction, LightConditioning]:
    """What the network makes of `gbuffer` under `light` turned by `yaw` degrees, and what it was shown of the light;
    `previous` as in `engine.run`.

    Raises:
        UserError: base_color or normal is missing.
    """
    inputs, shown = _lit_inputs(engine, gbuffer, light, yaw)
    found = run(engine, inputs, noise=noise, steps=options.steps, seed=options.seed, previous=previous)
    return found, shown


def unlit_prediction(
    engine: Engine,
    options: ForwardOptions,
    gbuffer: GBuffer,
    noise: Tensor | None = None,
    previous: Sequence[Tensor] = (),
) -> Prediction:
    """What the network makes of `gbuffer` under its own irradiance. No light conditions it: neither tokens nor a
    radiance hint, as in cycle training (`train.cycle`). `previous` as in `engine.run`.

    Raises:
        UserError: the irradiance is missing.
    """
    gbuffer.require("irradiance", by=engine.card.id)
    inputs = _unlit_inputs(engine, gbuffer)
    return run(engine, inputs, noise=noise, steps=options.steps, seed=options.seed, previous=previous)


def check_options(model: str, options: ForwardOptions) -> None:
    """Raises UserError where a network conditioned on a light is given words or shadows too."""
    if options != ForwardOptions(steps=options.steps, seed=options.seed):
        raise UserError(f"{model} is given the light itself and takes no caption, guidance or shadows; leave them out")


def _lit_inputs(
    engine: Engine, gbuffer: GBuffer, light: EnvironmentMap, yaw: float | Tensor
) -> tuple[Inputs, LightConditioning]:
    """The inputs of a run under a light: maps and radiance hint at the size that the network sees, as in training (and
    a hint of a large picture would take longer), and the light's tokens."""
    card = engine.card
    gbuffer.require("base_color", "normal", by=card.id)
    assert card.light is not None
    small = _at_network_size(engine, gbuffer)
    shown = light_conditioning(small, light, yaw, card.light.size, card.light.encoding, card.radiance_hint)
    maps = shown.maps | {"radiance_hint": shown.radiance_hint}
    return Inputs(small.size, len(small), maps, tokens=_light_tokens(engine, shown.picture)), shown


def _unlit_inputs(engine: Engine, gbuffer: GBuffer) -> Inputs:
    """Those of a run under the G-buffer's own irradiance: neither radiance hint nor light tokens."""
    small = _at_network_size(engine, gbuffer)
    assert engine.card.light is not None
    tokens = _light_tokens(engine, torch.zeros(len(small), 9, *engine.card.light.size))
    metric = frozenset({"irradiance"} if gbuffer.irradiance_kind == "metric" else ())
    maps = surface_maps(small, irradiance=True)
    return Inputs(small.size, len(small), maps, metric, tokens=torch.zeros_like(tokens))


def network_size(engine: Engine, gbuffer: GBuffer) -> tuple[int, int]:
    """(height, width) that a network conditioned on a light sees a G-buffer at."""
    return plan_framing(gbuffer.size, engine.card.maps.size, "the G-buffer").content


def _at_network_size(engine: Engine, gbuffer: GBuffer) -> GBuffer:
    return resize_gbuffer(gbuffer, network_size(engine, gbuffer))


@torch.inference_mode()
def _light_tokens(engine: Engine, picture: Tensor) -> Tensor:
    """(T, N, D) tokens of encoded lights (T, 9, h, w)."""
    encoder = engine.checkpoint.environment
    assert encoder is not None
    return encoder(picture.to(engine.compute.device, engine.compute.dtype))
