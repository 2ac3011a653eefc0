"""`unrender relight`: a picture under another light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.engines import check_deferred
from unrender.cli.options import (
    ComputeOptions,
    Exposure,
    Light,
    NetworkOptions,
    Out,
    PromptOptions,
    SceneOptions,
    Yaw,
)
from unrender.cli.outputs import Destination, parse_destination, staged
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.cli.pictures import Take
    from unrender.files.readers import FrameReader
    from unrender.relight import Decomposition, Forward, Inverse, RelightOptions
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
    exposure: Exposure = 0.0
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help=f"Of a clip, its first N frames; of a turning light on a still, N [{TURN_FRAMES}]."
        ),
    ] = None
    detail: Annotated[bool, typer.Option(help="Keep the photo's own detail by ratio transfer.")] = True
    background: Annotated[
        Literal["light", "photo", "none"], typer.Option(help="What shows where there is no surface.")
    ] = "photo"
    groups: Annotated[bool, typer.Option(help="Write the light groups as layers of the relit EXR.")] = True

    def options(self, turned: float = 0.0) -> RelightOptions:
        """The part that relighting itself takes, with the light `turned` by so many degrees more."""
        from unrender.relight import RelightOptions

        return RelightOptions(self.yaw + turned, self.detail, self.background)


def relight(
    job: RelightJob, scene: SceneOptions, prompt: PromptOptions, network: NetworkOptions, compute: ComputeOptions
) -> None:
    """Show a picture under another light.

    Writes the relit PNG (of a clip an mp4) and EXR, whose light groups (diffuse, specular, background) add up to the
    beauty; the G-buffer EXR; a contact sheet; run.json; with --turn, of a still, an mp4 in which the light turns.
    """
    destination = parse_destination(job.out, (".exr", ".mp4", ".png"))
    record = RunRecord("relight", (job, scene, prompt, network, compute))
    with staged(destination) as stage:
        with record.stage("load"):
            from unrender.cli.engines import Engines, forward_renderer, inverse_renderer
            from unrender.files.environments import resolve_light
            from unrender.files.sequences import open_frames

            source = open_frames(job.input)
            _check(job, destination, len(source))
            light = resolve_light(job.light).exposed(job.exposure)
            engines = Engines(network, compute, record)
            inverse = inverse_renderer(job.model, engines, scene, len(source))
            forward = forward_renderer(job.forward, engines, prompt, job.forward_steps, job.forward_long_side)
        run = _Run(job, stage, destination, record, forward)
        last = _relight_frames(run, source, light, inverse)
        if len(source) == 1 and job.turn:
            with record.stage("turn"):
                _turn_light(run, last, light)
        record.write(stage / destination.record_name)
    destination.report()


@dataclass(frozen=True)
class _Run:
    """What every part of the work needs."""

    job: RelightJob
    stage: Path
    destination: Destination
    record: RunRecord
    forward: Forward


def _check(job: RelightJob, destination: Destination, frames: int) -> None:
    """Raises UserError where the settings do not fit together."""
    check_deferred(job.forward, forward_steps=job.forward_steps, forward_long_side=job.forward_long_side)
    still = frames == 1
    if still and job.frames and not job.turn:
        raise UserError(f"--frames {job.frames}: {job.input} is a still; --turn 360 with it would be right")
    if still and destination.ending == ".mp4" and not job.turn:
        raise UserError(f"-o {job.out}: {job.input} is a still; --turn 360, or an OUT ending in .png, would be right")
    if still and destination.ending in (".exr", ".png") and job.turn:
        raise UserError(f"-o {job.out}: a turning light is a video; an OUT ending in .mp4, or a folder, would be right")
    destination.check_frames(frames)


def _relight_frames(run: _Run, source: FrameReader, light: EnvironmentMap, inverse: Inverse) -> Decomposition:
    """Relights every frame, each with its own decomposition, and returns the last one. The light of a clip turns with
    its frames; that of a still stands, and turns in `_turn_light`."""
    from unrender.cli.pictures import RenderedWriter, Take, thumbnails, write_contact_sheet
    from unrender.relight import put_together, take_apart

    job, count = run.job, min(run.job.frames or len(source), len(source))
    take = Take(f"{source.name}.relit", count, source.fps)
    apart, shown = None, {}
    with RenderedWriter(run.stage, run.destination, take, job.groups) as rendered:
        for index, picture in enumerate(track(islice(source, count), "relighting", count)):
            with run.record.stage("inverse"):
                apart = take_apart(picture, inverse, run.forward, job.detail, apart.light if apart else None)
            if not run.destination.file:
                # Before there are renderings, so that a large picture's are not held beside what writing takes.
                with run.record.stage("write"):
                    _write_gbuffer(run, Take(f"{source.name}.gbuffer", count), index, apart)
                    shown = thumbnails(apart.gbuffer) if index == 0 else {}
            with run.record.stage("forward"):
                groups = put_together(apart, light, run.forward, job.options(job.turn * index / count))
            if not job.turn:
                apart = replace(apart, gain=None)  # as large as the picture, and only a turning light needs it again
            with run.record.stage("write"):
                rendered.write(groups)
                if index == 0 and not run.destination.file:
                    write_contact_sheet(run.stage / f"{source.name}.maps.png", shown, groups)
    if apart is None:
        raise UserError(f"{job.input} has no frames")
    return apart


def _write_gbuffer(run: _Run, take: Take, index: int, apart: Decomposition) -> None:
    """Writes one frame's G-buffer."""
    from unrender.files.gbuffers import write_gbuffer
    from unrender.files.sequences import numbered

    pattern = run.stage / take.file(".exr")
    write_gbuffer(pattern if take.frames == 1 else numbered(pattern, index + 1), apart.gbuffer)


def _turn_light(run: _Run, apart: Decomposition, light: EnvironmentMap) -> None:
    """Writes the video of a still whose light turns."""
    from unrender.files.video import VideoWriter
    from unrender.relight import put_together

    job, frames = run.job, run.job.frames or TURN_FRAMES
    name = run.destination.file or f"{apart.frames.name}.turn.mp4"
    with VideoWriter(run.stage / name, TURN_FPS) as video:
        for index in track(range(frames), "turning the light", frames):
            groups = put_together(apart, light, run.forward, job.options(job.turn * index / frames))
            video.write(groups.beauty)
