"""Editing a picture or clip: other materials in a part of it, an object in it, under its own light or another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from unrender.errors import UserError
from unrender.files.natural import FramesLike, GBufferLike, LightLike, as_clip, as_gbuffer, as_light
from unrender.files.sequences import holds_gbuffers
from unrender.forward import ForwardRenderer, RenderPasses
from unrender.inverse.renderer import InverseRenderer
from unrender.relight.decomposition import Decomposition, decompose_frames, decompose_stream, noise_free
from unrender.relight.materials import MaterialChange, change_materials
from unrender.relight.options import DEFAULTS, Forward, Inverse, RelightOptions
from unrender.relight.relit import Relit, joined, relight_parts
from unrender.relight.surface import follow_photo
from unrender.scene.compositing import over
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer
from unrender.scene.resize import resize_picture
from unrender.scene.selection import select

DARKEST = 1e-4
"""Radiance below which what an object does to the light around it is not told."""


@dataclass(frozen=True)
class Edit:
    """What is changed in a picture.

    Attributes:
        changes: of material, in order.
        where: which part: a condition on the maps (see `scene.selection`), or a mask (1 or T, 1, H, W) in [0, 1], which
            is resized to the picture; None for all of it.
        inserted: the G-buffer of an object that is laid over the picture's (see `scene.compositing.over`).

    Raises:
        UserError: nothing is changed.
    """

    changes: tuple[MaterialChange, ...] = ()
    where: str | Tensor | None = None
    inserted: GBuffer | None = None

    def __post_init__(self) -> None:
        if not self.changes and self.inserted is None:
            raise UserError("an edit that changes nothing; expected changes of material, or an object to insert")


def edit(
    picture: FramesLike | GBufferLike,
    changes: Sequence[str | MaterialChange] = (),
    where: str | Tensor | None = None,
    *,
    inserted: GBufferLike | None = None,
    light: LightLike | None = None,
    inverse: Inverse | str | Path = "mini",
    forward: Forward | str | Path = "deferred",
) -> Relit:
    """A picture or clip, held whole, with other materials or an object over it. `unrender.edit` is this function.

    Args:
        picture: what `files.as_frames` takes, to be taken apart; or a G-buffer, or the path of one.
        changes: `MaterialChange`s, or as they are written: "roughness=0.1", "base_color=#c04020".
        where, inserted: see `Edit`.
        light: another light; None for the picture's own.
        inverse, forward: renderers, or ids of some.

    Raises:
        UserError: all that `Edit`, `edit_stream`, `as_frames` and `as_gbuffer` raise.
    """
    parsed = tuple(MaterialChange.parse(change) if isinstance(change, str) else change for change in changes)
    wanted = Edit(parsed, where, as_gbuffer(inserted) if inserted is not None else None)
    forward = ForwardRenderer.from_pretrained(forward) if isinstance(forward, str | Path) else forward
    if isinstance(picture, GBuffer) or (isinstance(picture, str | PathLike) and holds_gbuffers(Path(picture))):
        parts = decompose_gbuffers([as_gbuffer(picture)], forward, light)
    else:
        inverse = InverseRenderer.from_pretrained(inverse) if isinstance(inverse, str | Path) else inverse
        parts = decompose_stream(as_clip(picture), inverse, forward)
    return joined(list(edit_stream(parts, wanted, forward, light)))


def edit_gbuffer(gbuffer: GBuffer, edit: Edit) -> GBuffer:
    """A G-buffer as `edit` changes it: materials first, then the object over it.

    Raises:
        UserError: a condition on maps that are not there, or an object that cannot be laid over (see `over`).
    """
    changed = change_materials(gbuffer, edit.changes, region(gbuffer, edit.where))
    return edit.inserted.over(changed) if edit.inserted is not None else changed


def region(gbuffer: GBuffer, where: str | Tensor | None) -> Tensor:
    """How much of each pixel is meant, (1 or T, 1, H, W) in [0, 1]: see `Edit.where`."""
    if where is None:
        return torch.ones_like(next(iter(gbuffer.maps.values()))[:, :1])
    if isinstance(where, str):
        return select(gbuffer, where)
    if where.ndim != 4 or where.shape[1] != 1 or len(where) not in (1, len(gbuffer)):
        raise UserError(f"a mask of shape {tuple(where.shape)}; expected (1 or {len(gbuffer)}, 1, H, W)")
    return where if tuple(where.shape[2:]) == gbuffer.size else resize_picture(where, gbuffer.size).clamp(0, 1)


def edit_decomposition(part: Decomposition, edit: Edit) -> Decomposition:
    """A picture taken apart, as `edit` changes it: ready for another light (`relight_decomposition`).

    Raises:
        UserError: all that `edit_gbuffer` raises.
    """
    return _edited(part, edit)[0]


def edit_stream(
    parts: Iterable[Decomposition],
    edits: Edit | Iterable[Edit],
    forward: Forward,
    light: LightLike | None = None,
    options: RelightOptions = DEFAULTS,
    pictures: int | None = None,
) -> Iterator[Relit]:
    """Shows a picture or clip as it is edited, part by part.

    Under its own light (`light` is None) only what is changed is rendered; all else stays the photo's pixels to the
    last bit. What an inserted object takes of the light around it, as far as `forward` sees that (screen-space tracing
    does), darkens them by the ratio of two renderings, with it and without (Debevec 1998, differential rendering).
    Under another light all is rendered, as `relight` does.

    Args:
        parts: what `decompose_stream` or `decompose_gbuffers` gives, with their light where `light` is None.
        edits: one for all frames, or one for each frame, whose parts are then rendered frame by frame.
        forward: a renderer, as for `relight_stream`.
        light: the new light; None for the photo's own.
        options: how it is shown; under the photo's own light only the defaults' exposure and background make sense, and
            others are not looked at.
        pictures: frames in all, where a light turns.

    Yields:
        Each part as edited; its decomposition has the edited G-buffer.

    Raises:
        UserError: all that `edit_gbuffer` raises, or a part without a light.
    """
    paired = _paired(parts, edits)
    if light is None:
        for part, edit in paired:
            yield _under_own_light(part, edit, forward)
        return
    yield from relight_parts(
        (edit_decomposition(*pair) for pair in paired), as_light(light), forward, options, pictures
    )


def _paired(parts: Iterable[Decomposition], edits: Edit | Iterable[Edit]) -> Iterator[tuple[Decomposition, Edit]]:
    if isinstance(edits, Edit):
        yield from ((part, edits) for part in parts)
        return
    singles = (part.part(index, index + 1) for part in parts for index in range(len(part)))
    yield from zip(singles, edits, strict=False)


def decompose_gbuffers(
    gbuffers: Iterable[GBuffer], forward: Forward, light: LightLike | None = None, options: RelightOptions = DEFAULTS
) -> Iterator[Decomposition]:
    """G-buffers as `decompose_stream` gives them for photos: with the picture that they were made of (`rgb`), the light
    that it was taken in, and the detail that a rendering of them lacks. Of G-buffers without a picture, that is what
    `light` shows of them.

    Raises:
        UserError: no base colour or normals, or neither a picture nor a light.
    """
    previous = None
    for gbuffer in gbuffers:
        gbuffer.require("base_color", "normal", by="an edit")
        if gbuffer.rgb is None and light is None:
            raise UserError("the G-buffer has no picture, whose light it could be seen in; expected another light")
        if gbuffer.rgb is None:
            assert light is not None
            shown = forward(gbuffer, as_light(light), options.yaw).beauty
            yield Decomposition(Frames(shown, hdr=True, fps=gbuffer.fps, plate=gbuffer.plate), gbuffer)
            continue
        frames = Frames(gbuffer.rgb, fps=gbuffer.fps, hdr=bool((gbuffer.rgb > 1).any()), plate=gbuffer.plate)
        part = decompose_frames(frames, gbuffer, noise_free(forward) if options.detail else None, previous)
        previous = part.light
        yield part


def _edited(part: Decomposition, edit: Edit) -> tuple[Decomposition, Tensor, Tensor]:
    """A decomposition with its G-buffer edited; how much of each pixel another material was given, and how much shows
    the object, both (T, 1, H, W)."""
    weight = region(part.gbuffer, edit.where)
    if isinstance(edit.where, str) and part.gbuffer.model and part.gbuffer.instance is None:
        weight = follow_photo(weight, part.frames.rgb)  # guessed maps have no edges to cut along
    weight = weight.expand(len(part), -1, -1, -1) if edit.changes else torch.zeros_like(part.frames.rgb[:, :1])
    gbuffer, shown = change_materials(part.gbuffer, edit.changes, weight), torch.zeros_like(weight)
    gain = part.gain
    if edit.inserted is not None:
        gbuffer, shown = over(edit.inserted, gbuffer)
        gain = torch.lerp(gain, torch.ones_like(gain), shown.expand_as(gain)) if gain is not None else None
    belief = part.belief
    if belief is not None:  # what is edited is not to look as it did
        belief = belief + (1 - belief) * torch.maximum(weight, shown)
    return replace(part, gbuffer=gbuffer, gain=gain, belief=belief), weight, shown


def _under_own_light(part: Decomposition, edit: Edit, forward: Forward) -> Relit:
    if part.light is None:
        raise UserError("the picture's own light is not known; expected it decomposed with detail, or another light")
    edited, weight, shown = _edited(part, edit)
    new = forward(edited.gbuffer.with_maps(mask=None), part.light, 0.0)
    around = torch.ones_like(part.frames.rgb)
    if edit.inserted is not None:
        plain = change_materials(part.gbuffer, edit.changes, weight)
        around = _ratio(new, forward(plain.with_maps(mask=None), part.light, 0.0))
    mask = part.gbuffer.mask if part.gbuffer.mask is not None else torch.ones_like(weight)
    rendered = torch.maximum(weight * mask, shown)
    gain = edited.gain if edited.gain is not None else torch.ones_like(part.frames.rgb)
    passes = RenderPasses(
        {name: value * gain * rendered for name, value in new.surfaces.items()},
        part.frames.rgb * around * (1 - rendered),
        part.frames.mask,
    )
    return Relit(passes, edited, 1.0, "photo")


def _ratio(new: RenderPasses, old: RenderPasses) -> Tensor:
    """(T, 3, H, W) in [0, 1], what is left of the light beside an object."""
    return ((new.surface + DARKEST) / (old.surface + DARKEST)).clamp(0, 1)
