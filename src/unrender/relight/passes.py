"""From a rendering to what is shown: with the photo's detail, its brightness, and the background that is wanted."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from unrender.forward import RenderPasses
from unrender.forward.surface import coverage, sum_in_order
from unrender.relight.decomposition import Decomposition
from unrender.relight.detail import believed
from unrender.relight.exposure import display_gain, sparse
from unrender.relight.options import Background
from unrender.scene.strips import in_strips


def with_detail(
    passes: RenderPasses,
    decomposition: Decomposition,
    background: Background,
    share: float = 1.0,
    mean: Tensor | None = None,
) -> RenderPasses:
    """A rendering with the photo's detail, its change of light believed to `share` of what the decomposition says. Of a
    large picture no more is kept than is needed: `passes` is used up. `mean` is the mean change of light, where these
    are some rows of a picture."""
    surfaces, behind = dict(passes.surfaces), passes.background
    del passes
    if background != "light":
        behind = behind.new_zeros(1, 1, 1, 1).expand_as(behind)
    factor = decomposition.gain
    if factor is not None and decomposition.belief is not None:
        covered = coverage(decomposition.gbuffer)
        whole = whole_surface(surfaces.values(), covered)
        factor = believed(whole, decomposition.frames.rgb, factor, covered, share * decomposition.belief, mean)
        del whole
    if factor is not None:
        for name in surfaces:
            surfaces[name] = surfaces[name] * factor
    return RenderPasses(surfaces, behind)


def whole_surface(surfaces: Iterable[Tensor], covered: Tensor) -> Tensor:
    """What surfaces send out as if they covered all of each pixel that they are in, (T, 3, H, W)."""
    return sum_in_order(surfaces) / covered.clamp(min=1e-3)


def gain_of(passes: RenderPasses, decomposition: Decomposition, background: Background) -> float:
    """What shows a rendering as bright as the photo. The photo behind the surfaces is as bright as it was; so is all,
    where the surfaces are."""
    rgb = sparse(decomposition.frames.rgb)
    seen = RenderPasses({name: sparse(value) for name, value in passes.surfaces.items()}, sparse(passes.background))
    if background == "light":
        return display_gain(rgb, seen.beauty)
    covered = sparse(coverage(decomposition.gbuffer))
    # A surface that covers a part of its pixel is compared by that part of it.
    return display_gain(rgb * covered, seen.surface, covered)


def before(passes: RenderPasses, decomposition: Decomposition, background: Background, gain: float) -> RenderPasses:
    """A rendering before the background that is wanted: the light as it was rendered, the photo, which `gain` shows as
    it was, or nothing."""
    if background == "light":
        return passes
    rgb = decomposition.frames.rgb
    if background == "none":
        behind = torch.zeros_like(rgb)
    else:
        covered, mask = coverage(decomposition.gbuffer), decomposition.frames.mask
        there = torch.ones_like(covered) if mask is None else mask  # of the photo, too, what is cut out is not there
        behind = in_strips(lambda photo, part: photo * (part / gain), rgb, (there - covered).clamp(min=0))
    return RenderPasses(passes.surfaces, behind, alpha_of(decomposition, background))


def alpha_of(decomposition: Decomposition, background: Background) -> Tensor | None:
    """How much of a relit picture is there, (T, 1, H, W): of a cut-out what its alpha says, before no background what
    there is a surface in; None before the light, which fills the picture."""
    if background == "light":
        return None
    if background == "none":
        return coverage(decomposition.gbuffer)
    return decomposition.frames.mask
