"""`unrender forward`: a G-buffer and a light to a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from unrender.cli.options import ComputeOptions, Exposure, Light, Out, Yaw
from unrender.cli.outputs import parse_destination, staged
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord


@dataclass(frozen=True)
class ForwardJob:
    """What to render, and under what."""

    gbuffer: Annotated[Path, typer.Argument(metavar="GBUFFER", help="A multi-layer EXR, as `unrender inverse` writes.")]
    out: Out
    light: Light
    model: Annotated[
        str, typer.Option(help="deferred, deferred:monte_carlo, deferred:screen_space, a model's id, or a folder.")
    ] = "deferred"
    yaw: Yaw = 0.0
    exposure: Exposure = 0.0


def forward(job: ForwardJob, compute: ComputeOptions) -> None:
    """Render a G-buffer under a light.

    Writes a PNG for looking (of a clip an mp4), an EXR whose light groups (diffuse, specular, background) add up to
    the beauty, and run.json.
    """
    destination = parse_destination(job.out, (".exr", ".mp4", ".png"))
    record = RunRecord("forward", (job, compute))
    with staged(destination) as stage:
        with record.stage("load"):
            from unrender.cli.engines import forward_renderer
            from unrender.cli.pictures import RenderedWriter, Take
            from unrender.files.environments import resolve_light
            from unrender.files.sequences import open_gbuffers

            gbuffers = open_gbuffers(job.gbuffer)
            destination.check_frames(len(gbuffers))
            light = resolve_light(job.light).exposed(job.exposure)
            renderer = forward_renderer(job.model, compute, record)
        take = Take(f"{gbuffers.name}.forward", len(gbuffers), gbuffers.fps)
        with RenderedWriter(stage, destination, take) as rendered:
            for gbuffer in track(gbuffers, "rendering", len(gbuffers)):
                with record.stage("forward"):
                    groups = renderer(gbuffer, light, job.yaw)
                with record.stage("write"):
                    rendered.write(groups)
        record.write(stage / destination.record_name)
    destination.report()
