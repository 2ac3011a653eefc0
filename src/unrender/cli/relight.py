"""`unrender relight`: a picture under another light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.inverse import frame_name
from unrender.cli.options import ComputeOptions, Exposure, Light, Out, Yaw
from unrender.cli.outputs import Destination, parse_destination, staged
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.files.sources import FrameReader
    from unrender.relight import Forward, Inverse, RelightOptions
    from unrender.scene.environment import EnvironmentMap

TURN_FRAMES = 48
TURN_FPS = 24.0


@dataclass(frozen=True)
class RelightJob:
    """What to relight, and how."""

    input: Annotated[
        Path, typer.Argument(metavar="INPUT", help="An image, a video, a folder of frames, or name.####.exr.")
    ]
    out: Out
    light: Light
    model: Annotated[str, typer.Option(help="The inverse model: an id, or the folder of a checkpoint.")] = "mini"
    forward: Annotated[str, typer.Option(help="The forward renderer: an id, a folder, or deferred[:QUALITY].")] = (
        "deferred"
    )
    yaw: Yaw = 0.0
    turn: Annotated[
        float,
        typer.Option(metavar="DEG", help="Turn the light by so much in all: over a clip, or of a still as a video."),
    ] = 0.0
    exposure: Exposure = 0.0
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help=f"Of a clip, its first N frames; of a turning light on a still, N [{TURN_FRAMES}]."
        ),
    ] = None
    detail: Annotated[bool, typer.Option(help="Keep the photo's own detail by ratio transfer.")] = True
    background: Annotated[
        Literal["light", "photo", "none"], typer.Option(help="What shows where the picture's alpha says: no surface.")
    ] = "light"
    groups: Annotated[bool, typer.Option(help="Write the light groups as layers of the relit EXR.")] = True

    def options(self, turned: float = 0.0) -> RelightOptions:
        """The part that relighting itself takes, with the light `turned` by so many degrees more."""
        from unrender.relight import RelightOptions

        return RelightOptions(self.yaw + turned, self.exposure, self.detail, self.background)


@dataclass(frozen=True)
class _Run:
    """What both kinds of relighting, of a still and of a clip, work with."""

    job: RelightJob
    source: FrameReader
    light: EnvironmentMap
    inverse: Inverse
    forward: Forward
    record: RunRecord
    destination: Destination
    stage: Path


def relight(job: RelightJob, compute: ComputeOptions) -> None:
    """Show a picture under another light: the relit PNG and EXR (with diffuse, specular and background as layers that
    add up), the G-buffer EXR, a contact sheet, run.json; with --turn, an mp4 in which the light turns."""
    destination = parse_destination(job.out, (".exr", ".mp4", ".png"))
    record = RunRecord("relight", (job, compute))
    with staged(destination) as stage:
        with record.stage("load"):
            from unrender.cli.engines import forward_renderer, inverse_renderer
            from unrender.files.environments import resolve_light
            from unrender.files.sources import open_frames

            source = open_frames(job.input)
            _check(job, destination, len(source))
            light = resolve_light(job.light)
            inverse = inverse_renderer(job.model, compute, record)
            forward = forward_renderer(job.forward, compute, record)
        run = _Run(job, source, light, inverse, forward, record, destination, stage)
        if len(source) == 1:
            _relight_still(run)
        else:
            _relight_clip(run)
        record.write(stage / destination.record_name)
    destination.report()


def _check(job: RelightJob, destination: Destination, frames: int) -> None:
    """Raises UserError where the settings do not fit together."""
    still, ending = frames == 1, destination.ending
    if still and job.frames and not job.turn:
        raise UserError(f"--frames {job.frames}: {job.input} is a still; --turn 360 with it would be right")
    if still and ending == ".mp4" and not job.turn:
        raise UserError(f"-o {job.out}: {job.input} is a still; --turn 360, or an OUT ending in .png, would be right")
    if still and ending in (".exr", ".png") and job.turn:
        raise UserError(f"-o {job.out}: a turning light is a video; an OUT ending in .mp4, or a folder, would be right")
    if not still and ending in (".exr", ".png"):
        raise UserError(
            f"-o {job.out}: {job.input} has {frames} frames; an OUT ending in .mp4, or a folder, would be right"
        )


def _relight_still(run: _Run) -> None:
    from unrender.cli.contact_sheet import write_contact_sheet
    from unrender.cli.pictures import write_rendered
    from unrender.files.gbuffers import write_gbuffer
    from unrender.files.video import VideoWriter
    from unrender.relight import put_together, relight

    job, record, destination = run.job, run.record, run.destination
    picture = next(iter(run.source))
    with record.stage("relight"):
        relit = relight(picture, run.light, run.inverse, run.forward, job.options())
    with record.stage("write"):
        if destination.ending != ".mp4":
            write_rendered(run.stage, destination, f"{picture.name}.relit", relit.groups, job.groups)
        if not destination.file:
            gbuffer = relit.decomposition.gbuffer.with_maps(rgb=picture.rgb)
            write_gbuffer(run.stage / f"{picture.name}.gbuffer.exr", gbuffer)
            write_contact_sheet(run.stage / f"{picture.name}.maps.png", gbuffer, {"relit": relit.beauty})
    if job.turn:
        frames = job.frames or TURN_FRAMES
        path = run.stage / (destination.file or f"{picture.name}.turn.mp4")
        with record.stage("turn"), VideoWriter(path, TURN_FPS) as video:
            for index in track(range(frames), "turning the light", frames):
                turned = job.options(job.turn * index / frames)
                video.write(put_together(relit.decomposition, run.light, run.forward, turned).beauty[0])


def _relight_clip(run: _Run) -> None:
    from itertools import islice

    from unrender.cli.contact_sheet import write_contact_sheet
    from unrender.files.gbuffers import write_gbuffer
    from unrender.files.video import VideoWriter
    from unrender.output import write_light_groups
    from unrender.relight import put_together, take_apart

    job, record, name = run.job, run.record, run.source.name
    count = min(job.frames or len(run.source), len(run.source))
    video_path = run.stage / (run.destination.file or f"{name}.relit.mp4")
    old_light = None
    with VideoWriter(video_path, run.source.fps or TURN_FPS) as video:
        for index, picture in enumerate(track(islice(run.source, count), "relighting", count)):
            with record.stage("relight"):
                apart = take_apart(picture, run.inverse, run.forward, job.detail, old_light)
                old_light = apart.light
                turned = job.options(job.turn * index / count)
                groups = put_together(apart, run.light, run.forward, turned)
            with record.stage("write"):
                video.write(groups.beauty[0])
                if run.destination.file:
                    continue
                gbuffer = apart.gbuffer.with_maps(rgb=picture.rgb)
                write_light_groups(run.stage / frame_name(f"{name}.relit", index, count, ".exr"), groups, job.groups)
                write_gbuffer(run.stage / frame_name(f"{name}.gbuffer", index, count, ".exr"), gbuffer)
                if index == 0:
                    write_contact_sheet(run.stage / f"{name}.maps.png", gbuffer, {"relit": groups.beauty})
