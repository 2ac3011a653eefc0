"""`unrender relight`: a picture under another light."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.clip_run import ClipRun, Progress, clip_outputs, tracked, write_in_segments
from unrender.cli.engines import check_deferred, is_deferred
from unrender.cli.guard import InputFiles
from unrender.cli.inputs import at_rate, check_windows, parse_exposure, parse_rate, picture_format
from unrender.cli.options import (
    Bits,
    ClipSettings,
    ColourOptions,
    Compression,
    ComputeOptions,
    Fps,
    Light,
    NetworkOptions,
    Out,
    Profile,
    PromptOptions,
    Samples,
    SceneOptions,
    Yaw,
)
from unrender.cli.outputs import PICTURES, VIDEOS, Destination, check_results, parse_destination
from unrender.cli.run_record import RunRecord
from unrender.cli.scaling import ScaleOptions
from unrender.cli.several import GivenInputs, Picture, PictureRun, PictureWork, run_verb
from unrender.cli.tally import FrameTally
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.diffusion.card import Task
    from unrender.files.readers import FrameReader
    from unrender.output import RelitPaths
    from unrender.relight import RelightOptions, Relit
    from unrender.relight.large import LargeRelit
    from unrender.relight.relit import RelightState

TURN_FRAMES = 48  # as `unrender.relight` has it, which --help does not wait for


@dataclass(frozen=True)
class RelightJob:
    """What to relight, and how."""

    out: Out
    light: Light
    model: Annotated[str, typer.Option(help="The inverse model: an id, or the folder of a checkpoint.")] = "mini"
    forward: Annotated[str, typer.Option(help="The forward renderer: an id, a folder, or deferred[:QUALITY].")] = (
        "deferred"
    )
    forward_steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Denoising steps of a forward network; the model's own.")
    ] = None
    forward_long_side: Annotated[
        int | None, typer.Option(min=0, metavar="PIXELS", help="Long side in a forward network; the model's.")
    ] = None
    yaw: Yaw = 0.0
    turn: Annotated[
        float,
        typer.Option(metavar="DEG", help="Turn the light by so much in all: over a clip, or of a still as a video."),
    ] = 0.0
    exposure: Annotated[
        str,
        typer.Option(
            metavar="auto|EV",
            help="How bright PNG and video are: auto, as the photo; or the light itself, brighter by EV stops.",
        ),
    ] = "auto"
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help=f"Of a clip, its first N frames; of a turning light on a still, N [{TURN_FRAMES}]."
        ),
    ] = None
    detail: Annotated[bool, typer.Option(help="Keep the photo's own detail by ratio transfer.")] = True
    refine: Annotated[
        bool, typer.Option(help="With --detail: correct the base colour by what the photo says under its light.")
    ] = True
    walls: Annotated[
        bool, typer.Option(help="Where side walls close the picture, let the light in as ambient light, and dimmed.")
    ] = True
    background: Annotated[
        Literal["light", "photo", "none"], typer.Option(help="What shows where there is no surface.")
    ] = "photo"
    samples: Samples = None
    fps: Fps = None
    bits: Bits = "8"
    compression: Compression = "auto"
    profile: Profile = "unrender"
    passes: Annotated[bool, typer.Option(help="Write the render passes as layers of the relit EXR.")] = True
    gbuffer: Annotated[
        bool | None,
        typer.Option("--gbuffer/--no-gbuffer", help="Write the G-buffer into a folder; of a still by default."),
    ] = None

    @property
    def options(self) -> RelightOptions:
        """The part that relighting itself takes."""
        from unrender.relight import RelightOptions

        exposure = parse_exposure(self.exposure)
        return RelightOptions(
            self.yaw,
            self.turn,
            self.frames,
            self.detail,
            self.background,
            exposure=exposure,
            walls=self.walls,
            refine=self.refine,
        )


def relight(
    inputs: GivenInputs,
    job: RelightJob,
    scene: SceneOptions,
    clip: ClipSettings,
    prompt: PromptOptions,
    colour: ColourOptions,
    network: NetworkOptions,
    compute: ComputeOptions,
    scale: ScaleOptions,
) -> None:
    """Show pictures under another light.

    Writes the relit PNG (of a clip an mp4) and EXR, whose render passes (diffuse, specular, background) add up to the
    beauty; a contact sheet; run.json; of a still the G-buffer EXR and, with --turn, an mp4 in which the light turns.
    Killed in the middle of a clip, the same command goes on where it was; of several inputs those that are done are not
    done again.
    """
    parse_rate(job.fps)
    colour.check_names()
    models: tuple[tuple[str, Task], ...] = ((job.model, "inverse"),)
    if not is_deferred(job.forward):
        models += ((job.forward, "forward"),)
    files = (job.light, network.decoder) if network.decoder else (job.light,)
    settings = (job, scene, clip, prompt, colour, network, compute)
    work = PictureWork("relight", relight_one, settings, models, files, (*PICTURES, *VIDEOS))
    run_verb(work, inputs, job.out, scale)


def relight_one(
    run: PictureRun,
    job: RelightJob,
    scene: SceneOptions,
    clip: ClipSettings,
    prompt: PromptOptions,
    colour: ColourOptions,
    network: NetworkOptions,
    compute: ComputeOptions,
) -> FrameTally:
    """Relights one picture or clip, and gives the count of its frames."""
    source, job = run.item.input, replace(job, out=run.item.out)
    rate = parse_rate(job.fps)
    options = replace(job.options, temporal=clip.temporal, window=clip.window, overlap=clip.overlap)
    destination = parse_destination(job.out, (*PICTURES, *VIDEOS))
    tally = FrameTally(source)
    settings = (Picture(source), job, scene, clip, prompt, colour, network, compute)
    record = RunRecord("relight", settings)
    record.facts |= colour.check(destination)
    with ExitStack() as stack:
        with record.timed("load"):
            from unrender.cli.engines import (
                Engines,
                TimedParts,
                TimedWindows,
                forward_renderer,
                inverse_renderer,
                rerenderer,
                row_renderer,
            )
            from unrender.files.environments import resolve_light
            from unrender.files.sequences import open_frames
            from unrender.forward.clips import part_renderer
            from unrender.output import write_relit_stream
            from unrender.relight import count_pictures
            from unrender.relight.large import PIXELS, large_steps
            from unrender.relight.relit import relight_steps

            frames = tally.counted(at_rate(open_frames(source, colour.colorspace_in), rate))
            _check(job, source, destination, len(frames))
            check_windows(clip, len(frames), source)
            read = (source, job.light, job.model, job.forward)
            resumed = stack.enter_context(clip_outputs(destination, len(frames), settings, read))
            paths = _paths(job, destination, resumed.folder, frames)
            stored = picture_format(destination, job.bits, job.compression, len(frames), colour.colorspace_out)
            ours = InputFiles(source, models=(job.model, job.forward, network.decoder), light=job.light)
            check_results(destination, (*paths.passes, paths.gbuffer, paths.contact_sheet, paths.turn), ours)
            light = resolve_light(job.light)
            engines = Engines(network, compute, record, run.kept)
            inverse = inverse_renderer(job.model, engines, scene, len(frames), clip)
            renderer = forward_renderer(
                job.forward, engines, prompt, job.forward_steps, job.forward_long_side, job.samples
            )
            rerender = record.timed("forward")(rerenderer(job.forward, renderer, engines))
            if len(frames) > 1:
                renderer = TimedParts(part_renderer(renderer, inverse.clip), record)
            else:
                renderer = record.timed("forward")(renderer)
            inverse = TimedWindows(inverse, record)
            rows = None
            if len(frames) == 1 and not job.turn and frames.size[0] * frames.size[1] > PIXELS:
                rows = row_renderer(job.forward, engines, job.samples)

        def steps(state: RelightState | None) -> Iterator[tuple[Relit | LargeRelit | None, RelightState]]:
            if rows is not None:
                stream = large_steps(frames, light, inverse, rows, options)
            else:
                stream = relight_steps(frames, light, inverse, renderer, options, rerender=rerender, state=state)
            return _noting_exposure(record.timed_items("relight", stream), options, record)

        def write(relit: Iterable[Relit | LargeRelit], done: Progress) -> None:
            files, first = _of_segment(paths, resumed), frames.first + done.frames
            write_relit_stream(files, relit, job.passes, frames.fps, first, job.profile, stored)

        pictures = count_pictures(frames, options) or len(frames)
        with record.timed("write"):
            write_in_segments(resumed, tracked(steps, "relighting", pictures, resumed), write)
            tally.note(record)
            resumed.join(paths.passes, frames, source)
        run.note(record, tally)
        record.write(resumed.folder / destination.record_name)
    return tally


def _of_segment(paths: RelitPaths, run: ClipRun) -> RelitPaths:
    """The files of the present segment of a run."""
    sheet = None if run.progress.frames else paths.contact_sheet
    return replace(paths, passes=tuple(map(run.segment, paths.passes)), contact_sheet=sheet)


def _noting_exposure(
    steps: Iterable[tuple[Relit | LargeRelit | None, RelightState]], options: RelightOptions, record: RunRecord
) -> Iterator[tuple[Relit | LargeRelit | None, RelightState]]:
    """Passes on what is relit, and notes in the record how it is shown."""
    for step in steps:
        gain = step[1].gain
        if "exposure" not in record.facts and gain is not None:
            mode = "auto" if options.exposure == "auto" else "absolute"
            record.facts["exposure"] = {"mode": mode, "gain": gain, "stops": math.log2(gain)}
            if options.exposure != "auto":
                record.facts["exposure"]["light_stops"] = options.exposure
        made = [step]
        del step
        yield made.pop()  # and is not kept: it may be as large as a picture


def _check(job: RelightJob, source: Path, destination: Destination, frames: int) -> None:
    """Raises UserError where the settings do not fit together."""
    check_deferred(job.forward, forward_steps=job.forward_steps, forward_long_side=job.forward_long_side)
    still = frames == 1
    if still and job.frames and not job.turn:
        raise UserError(f"--frames {job.frames}: {source} is a still; expected --turn 360 with it")
    if still and destination.ending in VIDEOS and not job.turn:
        raise UserError(f"-o {job.out}: {source} is a still; expected --turn 360, or an OUT ending in .png")
    if still and destination.ending in PICTURES and job.turn:
        raise UserError(f"-o {job.out}: a turning light is a video; expected an OUT ending in .mp4, or a folder")
    destination.check_frames(frames)


def _paths(job: RelightJob, destination: Destination, work_dir: Path, clip: FrameReader) -> RelitPaths:
    """The files that were asked for."""
    from unrender.output import RelitPaths

    turning = len(clip) == 1 and job.turn != 0
    if destination.file is None:
        frames = min(job.frames or len(clip), len(clip))
        paths = RelitPaths.in_folder(work_dir, clip.name, frames, turning)
        wanted = len(clip) == 1 if job.gbuffer is None else job.gbuffer
        return paths if wanted else replace(paths, gbuffer=None)
    file = work_dir / destination.file
    return RelitPaths(turn=file) if turning else RelitPaths((file,))
