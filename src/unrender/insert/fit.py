"""The fit: a light, or two that become one, and tone curves, for a guidance to be content with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.insert.composite import Layers, Tones
from unrender.insert.guidance import Candidate, LightGuidance
from unrender.insert.light import (
    LIGHT_SIZE,
    LOBES,
    FittedLight,
    GaussianLight,
    TexelLight,
    concentration,
    consistency,
    fuse,
)
from unrender.raytrace.shadows import ShadowTransport
from unrender.raytrace.transport import ForegroundTransport
from unrender.scene.environment import EnvironmentMap


@dataclass(frozen=True)
class FitOptions:
    """How to fit.

    Attributes:
        steps: of Adam.
        rate: its learning rate at first; it falls to a tenth along a cosine.
        light: "gaussians" (see `LOBES`) or free "texels".
        lobes: spherical Gaussians a light.
        tones: whether the tone curves are fitted, too; a tenth of the rate, for light is to explain what it can.
        separate: whether object and shadow begin with a light each, to be fused (DiPIR, Liang et al. 2024): guidance by
            one about the other conflicts early on. One light is fitted else.
        fusing: between which shares of the steps the object's light goes over to the fused one, evenly. DiPIR says
            "progressively"; by 0.3 both lights have a direction, and from 0.7 on the one that is kept is judged.
        consistency_weight, concentration_weight: of DiPIR's L_consistency and L_reg; both count with `separate` alone.
    """

    steps: int = 100
    rate: float = 0.2
    light: Literal["gaussians", "texels"] = "gaussians"
    lobes: int = LOBES
    tones: bool = False
    separate: bool = False
    fusing: tuple[float, float] = (0.3, 0.7)
    consistency_weight: float = 0.03
    concentration_weight: float = 0.01

    def __post_init__(self) -> None:
        start, end = self.fusing
        if self.steps < 1 or self.lobes < 1 or self.rate <= 0 or not 0 <= start < end <= 1:
            raise UserError(
                f"FitOptions of {self.steps} steps, {self.lobes} lobes, rate {self.rate}, fusing {self.fusing}; "
                "expected 1 or more of each, a rate above 0, and 0 <= start < end <= 1"
            )


DEFAULTS = FitOptions()


@dataclass(frozen=True)
class Fit:
    """What was found.

    Attributes:
        light: the one that lights the object and casts its shadow.
        foreground_light, shadow_light: before they were fused; the same as `light` where one was fitted.
        tones: the tone curves.
        losses: of every step.
    """

    light: EnvironmentMap
    foreground_light: EnvironmentMap
    shadow_light: EnvironmentMap
    tones: Tones
    losses: tuple[float, ...]

    @staticmethod
    def known(light: EnvironmentMap) -> Fit:
        """Of a light that nobody had to find."""
        return Fit(light, light, light, Tones(), ())


@dataclass(frozen=True)
class SceneTransport:
    """The traced light transport of a placed object.

    Attributes:
        foreground: to the object.
        shadow: to what it stands on.
    """

    foreground: ForegroundTransport
    shadow: ShadowTransport

    def render(self, foreground_light: Tensor, shadow_light: Tensor) -> Layers:
        """The layers under lights (3, *LIGHT_SIZE); differentiable in both."""
        return Layers(
            self.foreground.render(foreground_light), self.foreground.coverage, self.shadow.render(shadow_light)
        )


def fit_light(
    guidance: LightGuidance,
    start: EnvironmentMap,
    options: FitOptions = DEFAULTS,
    *,
    transport: SceneTransport | None = None,
    background: Tensor | None = None,
    report: Callable[[int, float], None] | None = None,
) -> Fit:
    """Minimises the loss of `guidance` over light and tone curves, by Adam (Kingma and Ba 2015).

    Args:
        guidance: what judges.
        start: the light to begin with, one frame.
        options: how.
        transport: of the placed object, for guidance that looks at the composite; at `LIGHT_SIZE`.
        background: (1, 3, H, W) linear, of the transport's size; with `transport` alone.
        report: is called with each step and its loss.

    Raises:
        UserError: a transport for another number of texels, or for a picture of another size.
    """
    _check(transport, background)
    lights = [_begin(start, options) for _ in range(2 if options.separate else 1)]
    tones = Tones()
    if options.tones:
        tones = Tones(tones.foreground.trainable(), tones.shadow.trainable())
    groups = [{"params": [p for light in lights for p in light.parameters], "lr": options.rate}]
    if options.tones:
        curves = [*tones.foreground.parameters, *tones.shadow.parameters]
        groups.append({"params": curves, "lr": options.rate / 10})
    optimiser = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps, options.rate / 10)
    losses = []
    for step in range(options.steps):
        with torch.enable_grad():
            candidate = _candidate(lights, tones, (step, options), transport, background)
            loss = guidance(candidate) + _regularisation(lights, options)
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if report is not None:
            report(step, losses[-1])
    return _result(lights, tones, start, tuple(losses))


def _begin(start: EnvironmentMap, options: FitOptions) -> FittedLight:
    return TexelLight.of(start) if options.light == "texels" else GaussianLight.of(start, options.lobes)


def _candidate(
    lights: list[FittedLight],
    tones: Tones,
    now: tuple[int, FitOptions],
    transport: SceneTransport | None,
    background: Tensor | None,
) -> Candidate:
    step, options = now
    foreground, shadow = lights[0].radiance(), lights[-1].radiance()
    if len(lights) > 1:
        begin, end = options.fusing
        part = min(max((step / options.steps - begin) / (end - begin), 0.0), 1.0)
        foreground = torch.lerp(foreground, fuse(foreground, shadow), part)
    render = None
    if transport is not None:
        traced = transport

        def render() -> Layers:
            layers = traced.render(foreground, shadow)
            return layers.toned(tones) if options.tones else layers

    return Candidate(step, options.steps, foreground, shadow, background, render)


def _regularisation(lights: list[FittedLight], options: FitOptions) -> Tensor | float:
    if len(lights) < 2:
        return 0.0
    foreground, shadow = lights[0].radiance(), lights[1].radiance()
    return options.consistency_weight * consistency(foreground, shadow) + options.concentration_weight * concentration(
        shadow
    )


def _result(lights: list[FittedLight], tones: Tones, start: EnvironmentMap, losses: tuple[float, ...]) -> Fit:
    with torch.no_grad():
        foreground, shadow = lights[0].radiance(), lights[-1].radiance()
        fused = fuse(foreground, shadow) if len(lights) > 1 else foreground
    maps = [EnvironmentMap(value[None], start.name) for value in (fused, foreground, shadow)]
    return Fit(*maps, Tones(tones.foreground.detached(), tones.shadow.detached()), losses)


def _check(transport: SceneTransport | None, background: Tensor | None) -> None:
    if transport is None:
        return
    if transport.foreground.light_size != LIGHT_SIZE or transport.shadow.light_size != LIGHT_SIZE:
        raise UserError(f"a transport from {transport.foreground.light_size} texels; expected {LIGHT_SIZE}")
    size = tuple(transport.foreground.coverage.shape[-2:])
    if background is None or tuple(background.shape[-2:]) != size:
        shape = None if background is None else tuple(background.shape)
        raise UserError(f"a background of shape {shape} for a transport of size {size}; expected (1, 3, *size)")
