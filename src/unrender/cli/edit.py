"""`unrender edit`: other materials in a picture, or an object over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.guard import InputFiles
from unrender.cli.inputs import at_rate, check_windows, parse_exposure, parse_rate, picture_format
from unrender.cli.options import (
    Bits,
    ClipSettings,
    ColourOptions,
    Compression,
    ComputeOptions,
    Fps,
    NetworkOptions,
    Out,
    PromptOptions,
    SceneOptions,
    Yaw,
)
from unrender.cli.outputs import Destination, atomic_outputs, check_results, parse_destination
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord
from unrender.cli.tally import FrameTally
from unrender.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from unrender.files.readers import Reader
    from unrender.output import RelitPaths
    from unrender.relight import Edit, Inverse, MaterialChange, RelightOptions


@dataclass(frozen=True)
class EditJob:
    """What to edit, and how."""

    input: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A picture or clip, or G-buffers (EXR, a folder of them, name.####.exr)."),
    ]
    out: Out
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="MAP=VALUE",
            help="base_color, roughness or metallic; = sets, *= multiplies, += adds. A colour is #rrggbb, or three "
            "linear numbers with commas. May be given several times.",
        ),
    ] = None
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="MASK|CONDITION", help="Where: a picture or clip, white there; or 'metallic>0.5 & instance==3'."
        ),
    ] = None
    material_from: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="Take the material of this picture (or G-buffer EXR).")
    ] = None
    material_mask: Annotated[
        str | None, typer.Option(metavar="MASK|CONDITION", help="The part of it whose material is taken.")
    ] = None
    insert: Annotated[
        Path | None,
        typer.Option(metavar="GBUFFER", help="G-buffers of an object with a mask, laid over the picture's by depth."),
    ] = None
    light: Annotated[
        str | None, typer.Option(metavar="HDRI", help="Another light; the picture's own, estimated, without.")
    ] = None
    yaw: Yaw = 0.0
    background: Annotated[
        Literal["light", "photo", "none"], typer.Option(help="What shows where there is no surface under --light.")
    ] = "photo"
    model: Annotated[str, typer.Option(help="The inverse model: an id, or the folder of a checkpoint.")] = "mini"
    forward: Annotated[str, typer.Option(help="The forward renderer: an id, a folder, or deferred[:QUALITY].")] = (
        "deferred"
    )
    exposure: Annotated[
        str | None,
        typer.Option(
            metavar="auto|EV",
            help="Under --light, how bright PNG and video are: auto, as the photo; or the light, brighter by EV stops.",
        ),
    ] = None
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of a clip, its first N frames.")] = None
    fps: Fps = None
    bits: Bits = "8"
    compression: Compression = "auto"

    @property
    def options(self) -> RelightOptions:
        """The part that rendering takes."""
        from unrender.relight import RelightOptions

        exposure = parse_exposure(self.exposure or "auto")
        return RelightOptions(self.yaw, frames=self.frames, background=self.background, exposure=exposure)


def edit(
    job: EditJob,
    scene: SceneOptions,
    clip: ClipSettings,
    prompt: PromptOptions,
    colour: ColourOptions,
    network: NetworkOptions,
    compute: ComputeOptions,
) -> None:
    """Change materials in a picture, or lay an object over it.

    Writes the edited picture as PNG (of a clip an mp4) and EXR with its passes, the edited G-buffer, a contact sheet
    and run.json. Without --light all that is not edited stays as it was.
    """
    changes, rate = _check(job), parse_rate(job.fps)
    destination = parse_destination(job.out, (".exr", ".mp4", ".png"))
    options = replace(job.options, temporal=clip.temporal, window=clip.window, overlap=clip.overlap)
    tally = FrameTally(job.input)
    record = RunRecord("edit", (job, scene, clip, prompt, colour, network, compute))
    record.facts |= colour.check(destination)
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from unrender.cli.engines import Engines, TimedWindows, forward_renderer, inverse_renderer
            from unrender.files.environments import resolve_light
            from unrender.files.sequences import holds_gbuffers, open_frames, open_gbuffers
            from unrender.output import write_relit_stream
            from unrender.relight import decompose_gbuffers, decompose_stream, edit_stream

            given = holds_gbuffers(job.input)
            space = colour.colorspace_in
            opened = open_gbuffers(job.input, colorspace=space) if given else open_frames(job.input, space)
            frames = tally.counted(at_rate(opened, rate))
            count = min(job.frames or len(frames), len(frames))
            destination.check_frames(count)
            check_windows(clip, len(frames), job.input)
            paths = _paths(destination, work_dir, frames, count)
            stored = picture_format(destination, job.bits, job.compression, count, colour.colorspace_out)
            masks = [Path(mask) for mask in (job.mask, job.material_mask) if mask and _is_file(mask)]
            inputs = InputFiles(
                job.input, job.material_from, job.insert, *masks, models=(job.model, job.forward), light=job.light
            )
            check_results(destination, (*paths.passes, paths.gbuffer, paths.contact_sheet), inputs)
            light = resolve_light(job.light) if job.light else None
            engines = Engines(network, compute, record)
            # Of given G-buffers no photo is taken apart, but perhaps the one that a material is from.
            photos = not given or (job.material_from and not holds_gbuffers(job.material_from))
            inverse = inverse_renderer(job.model, engines, scene, len(frames), clip) if photos else None
            forward = record.timed("forward")(forward_renderer(job.forward, engines, prompt))
            edits = _edits(job, (*_taken(job, inverse), *changes), {count, len(frames)})
        if given or inverse is None:
            parts = decompose_gbuffers(islice(frames, job.frames), forward, light, options)
        else:
            parts = decompose_stream(frames, TimedWindows(inverse, record), forward, options)
        edited = track(edit_stream(parts, edits, forward, light, options), "editing", count)
        with record.timed("write"):
            stored = replace(stored, times=frames.times)
            made = record.timed_items("edit", edited)
            write_relit_stream(paths, made, True, frames.fps, frames.first, stored=stored)
        tally.note(record)
        record.write(work_dir / destination.record_name)
    destination.report()
    tally.tell()


def _check(job: EditJob) -> tuple[MaterialChange, ...]:
    """The changes by `--set`. Raises UserError where the settings do not fit together."""
    from unrender.relight.materials import MaterialChange

    if not (job.changes or job.material_from or job.insert):
        raise UserError("nothing is edited; expected --set, --material-from or --insert")
    if job.mask and not (job.changes or job.material_from):
        raise UserError("--mask is where materials are changed; expected --set or --material-from with it")
    if job.material_mask and not job.material_from:
        raise UserError("--material-mask is a part of --material-from's picture; expected both")
    if job.light is None and (job.yaw or job.background != "photo" or job.exposure):
        raise UserError("--yaw, --background and --exposure are another light's; expected --light HDRI with them")
    return tuple(MaterialChange.parse(text) for text in job.changes or ())


def _taken(job: EditJob, inverse: Inverse | None) -> tuple[MaterialChange, ...]:
    """The material that `--material-from` gives."""
    if job.material_from is None:
        return ()
    from unrender.files.sequences import holds_gbuffers, open_frames, open_gbuffers
    from unrender.relight import material_of, region

    if holds_gbuffers(job.material_from):
        source = next(iter(open_gbuffers(job.material_from)))
    else:
        assert inverse is not None
        source = inverse(next(iter(open_frames(job.material_from))), None)
    where = _first_mask(job.material_mask) if job.material_mask else None
    return material_of(source, region(source, where))


def _edits(job: EditJob, changes: tuple[MaterialChange, ...], frames: set[int]) -> Edit | Iterator[Edit]:
    """One edit for all frames, or that of every frame, where a mask or an object is read from files: with one of
    the numbers of `frames`, those that are edited or all of the input's."""
    from unrender.files.masks import open_masks
    from unrender.files.sequences import open_gbuffers
    from unrender.relight import Edit

    if not job.insert and not (job.mask and _is_file(job.mask)):
        return Edit(changes, job.mask)
    masks = repeat(job.mask)
    if job.mask and _is_file(job.mask):
        masks = (mask.rgb[:, :1] for mask in _one_or_all(open_masks(Path(job.mask)), frames, "--mask"))
    objects = repeat(None)
    if job.insert:
        objects = _one_or_all(open_gbuffers(job.insert), frames, "--insert")
    return (Edit(changes, mask, inserted) for mask, inserted in zip(masks, objects, strict=False))


def _one_or_all(reader: Reader, frames: set[int], option: str) -> Iterator:
    """The frames of a clip that goes along with another, or its only one for ever."""
    if len(reader) not in (1, *frames):
        raise UserError(
            f"{option} {reader.name} has {len(reader)} frames and the input {max(frames)}; expected 1 or as many"
        )
    return repeat(next(iter(reader))) if len(reader) == 1 else iter(reader)


def _first_mask(mask: str) -> str | Tensor:
    """A condition as it is, a file as its first mask."""
    if not _is_file(mask):
        return mask
    from unrender.files.masks import open_masks

    return next(iter(open_masks(Path(mask)))).rgb[:, :1]


def _is_file(mask: str) -> bool:
    """Whether a mask is a file, a folder or a sequence, and no condition: it is there, or its name ends as one's."""
    from unrender.files.numbering import is_pattern

    path = Path(mask)
    return path.exists() or is_pattern(path) or path.suffix.lower().removeprefix(".") in _MASK_ENDINGS


_MASK_ENDINGS = ("png", "jpg", "jpeg", "tif", "tiff", "exr", "webp", "mp4", "mov", "mkv")


def _paths(destination: Destination, work_dir: Path, clip: Reader, count: int) -> RelitPaths:
    """The files that were asked for."""
    from unrender.files.numbering import literal
    from unrender.output import RelitPaths, passes_paths

    if destination.file is not None:
        return RelitPaths((work_dir / destination.file,))
    number = "" if count == 1 else ".####"
    return RelitPaths(
        passes_paths(work_dir, f"{clip.name}.edited", count),
        work_dir / f"{literal(clip.name)}.edited.gbuffer{number}.exr",
        work_dir / f"{clip.name}.edited.maps.png",
    )
