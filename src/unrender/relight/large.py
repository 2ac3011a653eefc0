"""A large still relit some rows at a time: of its renderings none is ever as large as the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unrender.forward import DeferredRenderer, RenderPasses
from unrender.forward.deferred import RowShading
from unrender.forward.surface import coverage
from unrender.inverse.clips import ClipState, WindowInverse
from unrender.relight.decomposition import Decomposition
from unrender.relight.detail import belief_of, change_of_light, faded, mean_change, quotient
from unrender.relight.exposure import SAMPLES
from unrender.relight.light_estimate import estimate_light
from unrender.relight.options import DEFAULTS, Exposure, RelightOptions
from unrender.relight.passes import before, gain_of, whole_surface, with_detail
from unrender.relight.refinement import SIDE, maps_wanted, refined, refinement
from unrender.relight.relit import RelightState, Relit, closed_by_walls, light_of_pictures
from unrender.relight.surface import soft_surface
from unrender.scene.color import luminance
from unrender.scene.environment import EnvironmentMap
from unrender.scene.frames import Frames, Window
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_frames
from unrender.scene.strips import strips

PIXELS = 1 << 24
"""Of a still; one with more is worked on some rows at a time, where its renderer can."""


STRIP = 1 << 17
"""Pixels that are rendered together: a shaded one takes some hundred numbers."""

NOT_NEEDED = ("irradiance", "sky")
"""Maps that relighting looks at nowhere, and that of a large still are memory."""

SPARSE = 4
"""Every how many pixels are asked how well a light explains the photo."""


@dataclass(frozen=True, eq=False)
class LargeRelit:
    """A still that is relit as its rows are asked for.

    Attributes:
        decomposition: the picture taken apart.
        shading: what its rows are rendered by, under the new light.
        light: the name of that.
        gain: see `Relit`.
        options: how it is relit.
        share: of the change of light that walls let in.
        mean: (1, 3, 1, 1) change of light of the whole picture; None where its detail is not kept.
    """

    decomposition: Decomposition
    shading: RowShading
    light: str
    gain: float
    options: RelightOptions
    share: float = 1.0
    mean: Tensor | None = None

    def __len__(self) -> int:
        return 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.decomposition.frames.size

    @property
    def exposure(self) -> Exposure:
        """See `Relit`."""
        return self.options.exposure

    def strips(self) -> Iterator[Relit]:
        """Some rows at a time, from the top, each as a picture of its own."""
        background, yaws = self.options.background, (self.options.yaw,)
        for rows in strips(self.size, STRIP):
            part = rows_of(self.decomposition, rows)
            passes = with_detail(_passes(self.shading.rows(rows)), part, background, self.share, self.mean)
            passes = before(passes, part, background, self.gain)
            yield Relit(passes, part, self.gain, background, self.light, yaws, self.options.exposure)


def relight_large(
    frames: Frames,
    light: EnvironmentMap,
    inverse: WindowInverse,
    forward: DeferredRenderer,
    options: RelightOptions = DEFAULTS,
) -> LargeRelit:
    """`relight` of a large still, whose rows are rendered as they are asked for. The exposure, and the mean change of
    light, are those of every few rows.

    Args:
        frames: (1, 3, H, W).
        light: one frame.
        inverse: as in `relight_steps`.
        forward: of any quality but "monte_carlo".
        options: how; the light of a large still does not turn.

    Raises:
        UserError: as `relight_stream`.
    """
    # Nothing is kept beside the G-buffer: masks and states are as large as a map of it.
    names = () if inverse.card is None else inverse.card.usual_maps
    wanted = tuple(name for name in names if name not in NOT_NEEDED) or None
    gbuffer = soft_surface(frames, inverse.next_window(Window(frames, last=True), ClipState(), wanted)[0])[0]
    own = estimate_light(frames, gbuffer) if options.detail else None
    if options.refine and options.detail:
        gbuffer = refined(gbuffer, _refinement(frames, inverse), in_place=True)
    part = _decomposed(frames, gbuffer.with_maps(rgb=frames.rgb), forward, own)
    del gbuffer
    closed = closed_by_walls(replace(part, gbuffer=_sparse(part.gbuffer))) if options.walls else 0.0
    camera = part.gbuffer.camera_or_default()
    shading = forward.shading(part.gbuffer, light_of_pictures(light, closed, options), camera, options.yaw)
    step = max(1, round((frames.rgb[0, 0].numel() / SAMPLES) ** 0.5))
    few = rows_of(part, slice(0, None, step))
    tops = range(0, frames.size[0], step)
    passes = _joined([_passes(shading.rows(slice(top, top + 1))) for top in tops])
    mean = _mean(passes, few)
    gain = 1.0
    if options.exposure == "auto":
        detailed = with_detail(passes, few, options.background, 1 - closed, mean)
        gain = gain_of(detailed, few, options.background)
    return LargeRelit(part, shading, light.name, gain, options, 1 - closed, mean)


def large_steps(
    clip: Iterable[Frames],
    light: EnvironmentMap,
    inverse: WindowInverse,
    forward: DeferredRenderer,
    options: RelightOptions = DEFAULTS,
) -> Iterator[tuple[LargeRelit, RelightState]]:
    """`relight_steps` of a large still."""
    relit = [relight_large(next(iter(clip)), light, inverse, forward, options)]
    state = RelightState(gain=relit[0].gain)
    yield relit.pop(), state  # and is not kept here: it is as large as a picture


def rows_of(part: Decomposition, rows: slice) -> Decomposition:
    """Some rows of a decomposition, as views, its detail in full precision."""
    frames, gbuffer = part.frames, part.gbuffer
    mask = None if frames.mask is None else frames.mask[:, :, rows]
    maps = {name: value[:, :, rows] for name, value in gbuffer.maps.items()}
    gain = None if part.gain is None else part.gain[:, :, rows].float()
    cut = replace(frames, rgb=frames.rgb[:, :, rows], mask=mask)
    return replace(part, frames=cut, gbuffer=replace(gbuffer, camera=None, **maps), gain=gain)


def _decomposed(
    frames: Frames, gbuffer: GBuffer, forward: DeferredRenderer, light: EnvironmentMap | None
) -> Decomposition:
    """`decompose_frames` of a still, row by row, once the light that it was taken in is known."""
    if light is None:
        return Decomposition(frames, gbuffer)
    bare = gbuffer.with_maps(mask=None)
    shading = replace(forward, background=False).shading(bare, light, bare.camera_or_default(), 0.0)
    # A quotient of what 8 bits hold needs no more than a half.
    gain, levels = torch.empty_like(frames.rgb, dtype=torch.half), []
    for rows in strips(frames.size, STRIP):
        photo, rendered = frames.rgb[:, :, rows], _passes(shading.rows(rows)).surface
        gain[:, :, rows] = quotient(photo, rendered)
        few = slice(-rows.start % SPARSE, None, SPARSE)
        levels.append(torch.cat([luminance(one[:, :, few, ::SPARSE]) for one in (photo, rendered)], dim=1))
    photo, rendered = torch.cat(levels, dim=2).split(1, dim=1)
    trusted = belief_of(photo, rendered, coverage(_sparse(gbuffer)))
    del shading, levels, photo, rendered
    return Decomposition(frames, gbuffer, light, faded(gain, gbuffer.mask), trusted)


def _refinement(frames: Frames, inverse: WindowInverse) -> Tensor | None:
    """What `refine_base_color` would multiply the base colour by, of a small copy: the deviation of a large one is
    another map of its size."""
    wanted = maps_wanted(inverse.card)
    if wanted is None:
        return None
    factor = min(1.0, SIDE / max(frames.size))
    small = resize_frames(frames, (max(1, round(frames.size[0] * factor)), max(1, round(frames.size[1] * factor))))
    return refinement(small, inverse.next_window(Window(small, last=True), ClipState(), wanted)[0])


def _sparse(gbuffer: GBuffer) -> GBuffer:
    """Every few pixels of a G-buffer, as views."""
    maps = {name: value[:, :, ::SPARSE, ::SPARSE] for name, value in gbuffer.maps.items()}
    return replace(gbuffer, camera=None, **maps)


def _mean(passes: RenderPasses, part: Decomposition) -> Tensor | None:
    if part.gain is None:
        return None
    covered, photo = coverage(part.gbuffer), part.frames.rgb
    changes = change_of_light(whole_surface(passes.surfaces.values(), covered), photo, part.gain)
    return mean_change(changes, photo, covered)


def _passes(shaded: tuple[Tensor, Tensor, Tensor]) -> RenderPasses:
    diffuse, specular, background = (values[None] for values in shaded)
    return RenderPasses({"diffuse": diffuse, "specular": specular}, background)


def _joined(rows: list[RenderPasses]) -> RenderPasses:
    surfaces = {name: torch.cat([part.surfaces[name] for part in rows], dim=2) for name in rows[0].surfaces}
    return RenderPasses(surfaces, torch.cat([part.background for part in rows], dim=2))
