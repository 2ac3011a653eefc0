"""What tells a fit how well a light belongs: `LightGuidance`, and guidance that needs no diffusion model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from unrender.errors import UserError
from unrender.forward.transport import transport_matrix
from unrender.insert.composite import Layers, composite
from unrender.insert.light import LIGHT_SIZE, colourfulness, evenness, level_radiance
from unrender.relight.light_estimate import CLIPPED, HUBER, TRUSTED, working_copy
from unrender.scene.camera import world_rays
from unrender.scene.color import luminance
from unrender.scene.environment import sample, texel_directions, texel_solid_angles
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

_FLOOR = 0.05  # of radiance, as a part of its mean: errors in the dark count no more than there
_SURFACE_AS_LIGHT = 0.15  # how much a surface in view counts as light from there, a sky counting 1
_LEVEL_WEIGHT = 1.0  # of how bright level white ground would be
_GROUND_WEIGHT = 0.3  # of the light from below, beside all that is seen
_AMBIENT_WEIGHT = 0.02  # of the guess at what nothing is known of
_TINT = 0.5  # how far the tint of the light is believed that albedos tell
_COLOUR_WEIGHT = 0.5  # of how differently coloured the light is from different directions
_EVEN_WEIGHT = 0.02  # of how even the light is: shading looks alike under a soft and a sharp one, and lights are sharp
_DOWN = -0.15  # the y of directions from there on see the ground


@dataclass(frozen=True)
class Candidate:
    """What a fit has reached, for a guidance to judge. All of it is differentiable; pictures are made when looked at.

    Attributes:
        step: from 0 on.
        steps: of the whole fit.
        foreground_light: (3, *LIGHT_SIZE) linear radiance that lights the object, fused as far as it is by now.
        shadow_light: (3, *LIGHT_SIZE) that casts its shadow.
        background: (1, 3, H, W) linear, the picture without the object; None where nothing was traced.
        render: makes the layers under these lights and tones; None where nothing was traced.
    """

    step: int
    steps: int
    foreground_light: Tensor
    shadow_light: Tensor
    background: Tensor | None = None
    render: Callable[[], Layers] | None = field(default=None, repr=False)

    @cached_property
    def layers(self) -> Layers:
        """The object and its shadow."""
        if self.render is None:
            raise UserError("this guidance judges the composite, and no transport was given to the fit")
        return self.render()

    @cached_property
    def composite(self) -> Tensor:
        """The picture with the object, (1, 3, H, W) linear."""
        layers = self.layers
        assert self.background is not None
        return composite(self.background, layers)


class LightGuidance(Protocol):
    """A loss, to be minimised. One that has only a gradient g on the composite x returns (x * g).sum(), g detached."""

    def __call__(self, candidate: Candidate, /) -> Tensor:
        """The loss of a candidate, a scalar with a history."""
        ...


@dataclass(frozen=True)
class PixelGuidance:
    """The composite shall be as a picture that is known.

    Attributes:
        target: (1, 3, H, W) linear.
        weight: (1, 1, H, W), which pixels count; None for all.
    """

    target: Tensor
    weight: Tensor | None = None

    def __call__(self, candidate: Candidate) -> Tensor:
        """The mean squared error over the pixels that count, the target's mean square there being 1."""
        weight = torch.ones_like(self.target[:, :1]) if self.weight is None else self.weight
        error = (candidate.composite - self.target).square() * weight
        return error.sum() / (self.target.square() * weight).sum().clamp(min=1e-9)


@dataclass(frozen=True)
class PhotoShading:
    """The light shall shade the photo's own surfaces as they are shaded, and be what the photo shows of it.

    Made by `photo_shading`, at the working size of the relight room's estimate, P pixels.

    Attributes:
        transport: (3, P, N) from texels to the surfaces seen.
        picture: (3, P) linear.
        trust: (P,) how much of a surface is there.
        directions: (P, 3) unit, world; where each pixel looks.
        as_light: (P,) how much each pixel counts as light from where it looks.
        clipped: (P,) bool: the light there is at least as bright as the picture.
        ground: (3,) mean linear radiance of what faces up, which is the light from below; None where nothing does.
        ambient: (3,) linear radiance of a white surface in the photo: how bright level ground would be, and a guess at
            all that the photo says nothing of.
        neutral: (P,) in [0, 1], how grey each surface is: so far is the colour of its shading believed, for of a
            saturated one a small error of the albedo would make a coloured light.
        facing: how many ways surfaces face, the least eigenvalue of the mean of n n^T: 0 where all face one way,
            1/3 for a ball's. So much shading tells of where the light is.
    """

    transport: Tensor
    picture: Tensor
    trust: Tensor
    directions: Tensor
    as_light: Tensor
    clipped: Tensor
    ground: Tensor | None
    ambient: Tensor
    neutral: Tensor
    facing: float

    def __call__(self, candidate: Candidate) -> Tensor:
        """Robust mean relative error of shading, of light in view and from below, and of the guess at the rest."""
        light = candidate.foreground_light
        floor = _FLOOR * self.picture.mean() + 1e-6
        trusted = self.trust > TRUSTED
        shaded = torch.einsum("cpn,cn->cp", self.transport, light.flatten(1))
        # In logarithms: errors count by their share, as the eye has it and as a ratio of albedos would be.
        off = (shaded + floor).log() - (self.picture + floor).log()
        off = torch.lerp(off.mean(0, keepdim=True), off, self.neutral)
        loss = _robust_mean(off, self.trust * trusted)
        seen = sample(light[None], self.directions)[0]
        short = (seen + floor).log() - (self.picture + floor).log()
        short = torch.where(self.clipped, short.clamp(max=0), short)
        loss = loss + self.as_light.mean() * _robust_mean(short, self.as_light)
        height = texel_directions(LIGHT_SIZE)[..., 1]
        level = (level_radiance(light) + floor).log() - (self.ambient + floor).log()
        loss = loss + _LEVEL_WEIGHT * _robust_mean(level[:, None], torch.ones(1))
        down = height < _DOWN
        loss = loss + _AMBIENT_WEIGHT * _far_from(light, self.ambient, ~down, floor)
        if self.ground is not None:
            loss = loss + _GROUND_WEIGHT * _far_from(light, self.ground, down, floor)
        return loss + _COLOUR_WEIGHT * colourfulness(light) + _EVEN_WEIGHT * evenness(light)


def _far_from(light: Tensor, radiance: Tensor, where: Tensor, floor: Tensor) -> Tensor:
    """How far a light (3, *LIGHT_SIZE) is from one radiance (3,) in some of its texels."""
    error = (light + floor).log() - (radiance[:, None, None] + floor).log()
    return _robust_mean(error.flatten(1), (where * texel_solid_angles(LIGHT_SIZE)).flatten())


def photo_shading(frames: Frames, gbuffer: GBuffer) -> PhotoShading:
    """LightGuidance by a photo of one frame and its G-buffer, whose camera stands in the world the light is wanted in.

    Pixels that the G-buffer takes for no surface (sky) show the light itself; surfaces show it a little: what stands
    far off lights an object from there.
    """
    gbuffer.require("base_color", "normal", by="the fit of a light")
    small, picture, trust = working_copy(frames, gbuffer)
    transport = transport_matrix(small, LIGHT_SIZE)
    camera = small.camera_or_default()
    assert small.normal is not None
    normal = torch.einsum("ij,jhw->ihw", camera.pose[0, :3, :3], small.normal[0]).flatten(1)
    up = (normal[1] > 0.8) & (trust > 0.5)
    sky = (1 - _shares(gbuffer, camera.size)).clamp(0, 1)
    peak = functional.adaptive_avg_pool2d(frames.rgb, camera.size)[0].flatten(1)
    as_light = torch.where(up, torch.zeros_like(sky), sky + (1 - sky) * _SURFACE_AS_LIGHT)
    return PhotoShading(
        transport=transport,
        picture=picture if float(trust.max()) > TRUSTED else peak,
        trust=trust,
        directions=world_rays(camera)[0].flatten(1).T,
        as_light=as_light,
        clipped=(peak.amax(0) > 0.9 * CLIPPED) & (not frames.hdr),
        ground=picture[:, up].mean(1) if int(up.sum()) > 3 else None,
        ambient=_white(small, picture, trust),
        neutral=_neutral(small),
        facing=_facing(normal, trust),
    )


def _facing(normal: Tensor, trust: Tensor) -> float:
    """See `PhotoShading.facing`, of normals (3, P)."""
    weight = trust * (trust > TRUSTED)
    mean = torch.einsum("ip,jp,p->ij", normal, normal, weight) / weight.sum().clamp(min=1e-6)
    return float(torch.linalg.eigvalsh(mean)[0].clamp(min=0))


def _white(small: GBuffer, picture: Tensor, trust: Tensor) -> Tensor:
    """The median radiance (3,) that trusted surfaces would have were they white; the picture's mean without any."""
    assert small.base_color is not None
    trusted = trust > TRUSTED
    if not bool(trusted.any()):
        return picture.mean(1)
    albedo = small.base_color[0].flatten(1)[:, trusted]
    grey = luminance(picture[:, trusted], 0) / luminance(albedo, 0).clamp(min=0.02)
    white = _weighted_median(picture[:, trusted] / albedo.clamp(min=0.02), _neutral(small)[trusted])
    tint = white / luminance(white, 0).clamp(min=1e-6)
    return grey.median() * tint.clamp(0.1, 10) ** _TINT


def _neutral(small: GBuffer) -> Tensor:
    """How grey each surface is, (P,) in [0, 1]."""
    assert small.base_color is not None
    albedo = small.base_color[0].flatten(1)
    # A steep power: the few grey surfaces of a picture shall count for more than all its wood.
    return (albedo.amin(0) / albedo.amax(0).clamp(min=0.02)).clamp(0.05, 1) ** 4


def _weighted_median(values: Tensor, weight: Tensor) -> Tensor:
    """Of each row of (C, P) values, (C,)."""
    ordered, order = values.sort(1)
    share = weight[order].cumsum(1) / weight.sum()
    return ordered.gather(1, (share < 0.5).sum(1, keepdim=True).clamp(max=values.shape[1] - 1))[:, 0]


def _shares(gbuffer: GBuffer, size: tuple[int, int]) -> Tensor:
    """How much of a surface each pixel of a smaller picture has, (H * W,)."""
    assert gbuffer.normal is not None
    there = (gbuffer.normal.square().sum(1, keepdim=True) > 0.25).float()
    if gbuffer.mask is not None:
        there = there * (gbuffer.mask > 0.5)
    return functional.adaptive_avg_pool2d(there, size).flatten()


def _robust_mean(residual: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of Huber's loss of (C, P) residuals, in units of their spread now."""
    total = weight.sum()
    if float(total) < 1e-6:
        return residual.sum() * 0
    spread = (1.4826 * residual.detach().abs()[:, weight > 0].median()).clamp(min=0.02) * HUBER
    loss = functional.huber_loss(residual, torch.zeros_like(residual), reduction="none", delta=float(spread))
    return (loss * weight).sum() / (3 * total)
