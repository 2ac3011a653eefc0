"""`unrender forward`: a G-buffer and a light to a picture."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from unrender.cli.engines import check_deferred
from unrender.cli.guard import InputFiles
from unrender.cli.options import (
    ComputeOptions,
    Exposure,
    LongSide,
    NetworkOptions,
    Out,
    PromptOptions,
    Samples,
    Steps,
    Yaw,
)
from unrender.cli.outputs import atomic_outputs, check_results, parse_destination
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord
from unrender.cli.tally import FrameTally
from unrender.errors import UserError


@dataclass(frozen=True)
class ForwardJob:
    """What to render, and under what."""

    gbuffer: Annotated[Path, typer.Argument(metavar="GBUFFER", help="A multi-layer EXR, as `unrender inverse` writes.")]
    out: Out
    light: Annotated[
        str | None,
        typer.Option(
            metavar="HDRI",
            help="An environment map (.exr, .hdr, or a picture), or a shipped one's name. Some networks do without.",
        ),
    ] = None
    model: Annotated[
        str, typer.Option(help="deferred, deferred:monte_carlo, deferred:screen_space, a model's id, or a folder.")
    ] = "deferred"
    normals: Annotated[
        Literal["auto", "camera", "world"],
        typer.Option(help="The axes of a renderer's normals; `auto` holds them against its depth."),
    ] = "auto"
    yaw: Yaw = 0.0
    turn: Annotated[float, typer.Option(metavar="DEG", help="Turn the light by so much in all, over a clip.")] = 0.0
    exposure: Exposure = 0.0
    samples: Samples = None
    steps: Steps = None
    long_side: LongSide = None
    edit_mask: Annotated[
        Path | None,
        typer.Option(metavar="MASK", help="A picture, white where a model that edits renders anew, black where not."),
    ] = None


def forward(job: ForwardJob, prompt: PromptOptions, network: NetworkOptions, compute: ComputeOptions) -> None:
    """Render a G-buffer under a light.

    Writes a PNG for looking (of a clip an mp4), an EXR whose render passes (diffuse, specular, background) add up to
    the beauty, and run.json. A network takes the light itself where its card has a `light`; else the irradiance of the
    G-buffer, or that of --light in its place.
    """
    _check(job, prompt, network)
    destination = parse_destination(job.out, (".exr", ".mp4", ".png"))
    tally = FrameTally(job.gbuffer)
    record = RunRecord("forward", (job, prompt, network, compute))
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from unrender.cli.engines import Engines, forward_renderer
            from unrender.files.environments import resolve_light
            from unrender.files.images import read_mask
            from unrender.files.sequences import open_gbuffers
            from unrender.output import passes_paths, write_passes_stream

            gbuffers = tally.counted(open_gbuffers(job.gbuffer, job.normals))
            destination.check_frames(len(gbuffers))
            if job.turn and len(gbuffers) == 1:
                raise UserError(f"--turn {job.turn}: {job.gbuffer} is a still; expected a clip, or --yaw")
            paths = passes_paths(work_dir, f"{gbuffers.name}.forward", len(gbuffers))
            paths = [work_dir / destination.file] if destination.file else paths
            models = (job.model, network.decoder)
            check_results(destination, paths, InputFiles(job.gbuffer, job.edit_mask, models=models, light=job.light))
            light = resolve_light(job.light).exposed(job.exposure) if job.light else None
            edit = read_mask(job.edit_mask) if job.edit_mask else None
            engines = Engines(network, compute, record)
            renderer = forward_renderer(job.model, engines, prompt, job.steps, job.long_side, job.samples)
        yaws = [job.yaw + job.turn * index / len(gbuffers) for index in range(len(gbuffers))]
        rendered = (
            (renderer(gbuffer, light, yaw, edit), gbuffer.plate)
            for gbuffer, yaw in zip(track(gbuffers, "rendering", len(gbuffers)), yaws, strict=False)
        )
        with record.timed("write"):
            write_passes_stream(paths, record.timed_items("forward", rendered), fps=gbuffers.fps, first=gbuffers.first)
        tally.note(record)
        record.write(work_dir / destination.record_name)
    destination.report()
    tally.tell()


def _check(job: ForwardJob, prompt: PromptOptions, network: NetworkOptions) -> None:
    """Raises UserError where an option has no effect."""
    if job.light is None and (job.yaw or job.turn or job.exposure or prompt.shadows or prompt.elevation):
        raise UserError(
            "--yaw, --turn, --exposure, --elevation and --shadows are a light's; expected --light HDRI with them"
        )
    check_deferred(job.model, **asdict(network), steps=job.steps, long_side=job.long_side)
