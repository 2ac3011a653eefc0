"""`unrender inverse`: a picture to its G-buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.cli.clip_run import Progress, clip_outputs, tracked, write_in_segments
from unrender.cli.guard import InputFiles
from unrender.cli.inputs import at_rate, check_windows, parse_maps, parse_rate
from unrender.cli.options import (
    ClipSettings,
    ColourOptions,
    ComputeOptions,
    Fps,
    NetworkOptions,
    Out,
    Profile,
    SceneOptions,
)
from unrender.cli.outputs import check_results, parse_destination
from unrender.cli.run_record import RunRecord
from unrender.cli.scaling import ScaleOptions
from unrender.cli.several import GivenInputs, Picture, PictureRun, PictureWork, run_verb
from unrender.cli.tally import FrameTally
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.files.posed import PosedPictures
    from unrender.files.readers import FrameReader
    from unrender.inverse.clips import ClipInverse, InverseState
    from unrender.inverse.multi_model import MultiModelClip
    from unrender.scene.frames import Frames
    from unrender.scene.gbuffer import GBuffer


ENDINGS = (".exr", ".png")
"""Of the files that OUT may be."""


@dataclass(frozen=True)
class InverseJob:
    """What to estimate the maps of, and which."""

    out: Out
    model: Annotated[
        str, typer.Option(help="A model's id, or the folder of a checkpoint; several with commas, for all their maps.")
    ] = "mini"
    maps: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="The maps wanted; all that the model gives, but deviations.")
    ] = None
    profile: Profile = "unrender"
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Of stills: correct the base colour by what the photo says under its light."),
    ] = False
    fps: Fps = None
    cameras: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="transforms.json or COLMAP model of INPUT, a folder: views that agree."),
    ] = None
    attend: Annotated[
        bool, typer.Option("--attend/--no-attend", help="With --cameras: let the views attend to one another.")
    ] = False


def inverse(
    inputs: GivenInputs,
    job: InverseJob,
    scene: SceneOptions,
    clip: ClipSettings,
    colour: ColourOptions,
    network: NetworkOptions,
    compute: ComputeOptions,
    scale: ScaleOptions,
) -> None:
    """Take pictures apart into their maps.

    Writes base colour, normals, depth, roughness and metallic as one multi-layer float EXR (one for every frame of a
    clip), a contact sheet, and run.json. Killed in the middle of a clip, the same command goes on where it was; of
    several inputs those that are done are not done again.
    """
    parse_maps(job.maps)
    parse_rate(job.fps)
    colour.check_names()
    if job.attend and job.cameras is None:
        raise UserError("--attend is of a set of views; expected --cameras with it")
    if job.cameras is not None and len(inputs.inputs) > 1:
        raise UserError("--cameras is of one INPUT, the folder of its pictures; expected no other")
    models = tuple((name.strip(), "inverse") for name in job.model.split(",") if name.strip())
    files = tuple(file for file in (job.cameras, network.decoder) if file)
    settings = (job, scene, clip, colour, network, compute)
    work = PictureWork("inverse", invert_one, settings, models, files, ENDINGS)
    run_verb(work, inputs, job.out, scale)


def invert_one(
    run: PictureRun,
    job: InverseJob,
    scene: SceneOptions,
    clip: ClipSettings,
    colour: ColourOptions,
    network: NetworkOptions,
    compute: ComputeOptions,
) -> FrameTally:
    """Takes one picture or clip apart, and gives the count of its frames."""
    source, job = run.item.input, replace(job, out=run.item.out)
    maps, rate = parse_maps(job.maps), parse_rate(job.fps)
    destination = parse_destination(job.out, ENDINGS)
    tally = FrameTally(source)
    settings = (Picture(source), job, scene, clip, colour, network, compute)
    record = RunRecord("inverse", settings)
    record.facts |= colour.check(destination)
    with ExitStack() as stack:
        with record.timed("load"):
            from unrender.cli.engines import Engines, inverse_renderer
            from unrender.files.numbering import literal
            from unrender.files.sequences import open_frames
            from unrender.inverse.clips import inverse_steps
            from unrender.output import write_gbuffer_stream

            posed = _posed(source, job.cameras, colour.colorspace_in) if job.cameras else None
            opened = open_frames(source, colour.colorspace_in) if posed is None else _as_reader(posed)
            frames = tally.counted(at_rate(opened, rate))
            destination.check_frames(len(frames))
            check_windows(clip, len(frames), source)
            resumed = stack.enter_context(clip_outputs(destination, len(frames), settings, (source, job.model)))
            number = "" if len(frames) == 1 else ".####"
            exr = destination.path(resumed.folder, f"{literal(frames.name)}{number}.exr")
            sheet = destination.path(resumed.folder, f"{frames.name}.maps.png")
            read = InputFiles(source, job.cameras, models=(job.model, network.decoder))
            check_results(destination, (exr, sheet), read)
            engines = Engines(network, compute, record, run.kept)
            renderer = inverse_renderer(job.model, engines, scene, len(frames), clip, attend=job.attend)
            if job.refine and (len(frames) > 1 or posed is not None):
                raise UserError(f"--refine: {source} is no still; expected one (`unrender relight` refines clips)")

        def steps(state: InverseState | None) -> Iterator[tuple[GBuffer, InverseState]]:
            if posed is not None:
                return _agreeing(renderer, posed, frames, maps, state)
            if job.refine:
                return record.timed_items("inverse", _refined(renderer, next(iter(frames)), maps))
            return record.timed_items("inverse", inverse_steps(frames, renderer, maps, state))

        def write(gbuffers: Iterable[GBuffer], done: Progress) -> None:
            shown = None if done.frames else sheet
            first = frames.first + done.frames
            write_gbuffer_stream(
                exr,
                gbuffers,
                profile=job.profile,
                contact_sheet=shown,
                first=first,
                colorspace=colour.colorspace_out,
            )

        with record.timed("write"):
            write_in_segments(resumed, tracked(steps, "estimating maps", len(frames), resumed), write)
        tally.note(record)
        run.note(record, tally)
        record.write(resumed.folder / destination.record_name)
    return tally


def _refined(
    renderer: ClipInverse | MultiModelClip, photo: Frames, maps: Sequence[str] | None
) -> Iterator[tuple[GBuffer, InverseState]]:
    """The G-buffer of a still, its base colour corrected by it."""
    from unrender.inverse.clips import InverseState
    from unrender.relight.refinement import maps_wanted, refined, refinement

    needed = maps_wanted(renderer.card)
    if needed is None:
        raise UserError("--refine needs a model that says how far off its base colour is, as mini does")
    found = renderer(photo, tuple(dict.fromkeys((*needed, *(maps or ())))))
    gbuffer = refined(found, refinement(photo, found), in_place=True)
    kept = ("rgb", "mask", *(maps or needed[:-1]))
    yield gbuffer.with_maps(**{name: None for name in gbuffer.maps if name not in kept}), InverseState(1)


def _posed(source: Path, cameras: Path, colorspace: str | None) -> PosedPictures:
    from unrender.files.posed import read_posed

    if not source.is_dir():
        raise UserError(f"{source} with --cameras; expected the folder of the pictures that the cameras name")
    posed = read_posed(cameras, source, colorspace)
    if len(posed.frames) < 2:
        raise UserError(f"{cameras} has one camera; expected two views at least, or no --cameras")
    return posed


def _as_reader(posed: PosedPictures) -> FrameReader:
    """The pictures in the order of their cameras."""
    from unrender.files.readers import Reader

    return Reader(posed.frames.name, posed.frames.size, None, len(posed.frames), lambda: iter(posed.frames))


def _agreeing(
    renderer: ClipInverse | MultiModelClip,
    posed: PosedPictures,
    frames: FrameReader,
    maps: Sequence[str] | None,
    state: InverseState | None,
) -> Iterator[tuple[GBuffer, InverseState]]:
    """The G-buffers of a set whose materials agree, one by one from `state` on; depth is estimated to tell surfaces by,
    wanted or not."""
    from unrender.inverse.clips import InverseState
    from unrender.inverse.posed_set import invert_set
    from unrender.scene.frames import Frames

    for picture in frames:  # counted, as all frames that are read
        del picture
    whole = Frames(posed.frames.rgb, mask=posed.frames.mask, name=posed.frames.name, hdr=posed.frames.hdr)
    found = invert_set(lambda seen: renderer(seen, None), whole, posed.camera)
    if maps is not None:
        found = replace(found, **{name: None for name in found.maps if name not in (*maps, "rgb", "mask")})
    for index in range(state.windows if state else 0, len(found)):
        yield found.frame(index), InverseState(index + 1)
