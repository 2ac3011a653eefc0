"""`unrender forward`: a G-buffer and a light to a picture."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.engines import check_deferred
from unrender.cli.guard import InputFiles
from unrender.cli.inputs import at_rate, parse_rate, picture_format
from unrender.cli.options import (
    Bits,
    Compression,
    ComputeOptions,
    Exposure,
    Fps,
    LongSide,
    NetworkOptions,
    Out,
    PromptOptions,
    Samples,
    Steps,
    Yaw,
)
from unrender.cli.outputs import PICTURES, VIDEOS, atomic_outputs, check_results, parse_destination
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord
from unrender.cli.tally import FrameTally
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.files.gbuffers import CameraLike


@dataclass(frozen=True)
class ForwardJob:
    """What to render, and under what."""

    gbuffer: Annotated[
        Path,
        typer.Argument(
            metavar="GBUFFER",
            help="A multi-layer EXR, as `unrender inverse` writes; name.####.exr; or a folder of EXR files, or of "
            "pictures named by maps (albedo.png, normal.png, ...).",
        ),
    ]
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
    camera: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The camera, or one a frame: transforms.json, a folder of COLMAP's, or an EXR with one; its pose "
            "places the light.",
        ),
    ] = None
    fov: Annotated[
        float | None, typer.Option(metavar="DEG", help="The vertical field of view, where the file says none.  [50]")
    ] = None
    yaw: Yaw = 0.0
    exposure: Exposure = 0.0
    fps: Fps = None
    bits: Bits = "8"
    compression: Compression = "auto"
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
    rate = parse_rate(job.fps)
    destination = parse_destination(job.out, (*PICTURES, *VIDEOS))
    tally = FrameTally(job.gbuffer)
    record = RunRecord("forward", (job, prompt, network, compute))
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from unrender.cli.engines import Engines, forward_renderer
            from unrender.files.environments import resolve_light
            from unrender.files.images import read_mask
            from unrender.files.sequences import open_gbuffers
            from unrender.output import passes_paths, write_passes_stream

            gbuffers = tally.counted(at_rate(open_gbuffers(job.gbuffer, job.normals, _camera(job)), rate))
            destination.check_frames(len(gbuffers))
            paths = passes_paths(work_dir, f"{gbuffers.name}.forward", len(gbuffers))
            paths = [work_dir / destination.file] if destination.file else paths
            stored = picture_format(destination, job.bits, job.compression, gbuffers)
            models = (job.model, network.decoder)
            inputs = InputFiles(job.gbuffer, job.edit_mask, job.camera, models=models, light=job.light)
            check_results(destination, paths, inputs)
            light = resolve_light(job.light).exposed(job.exposure) if job.light else None
            edit = read_mask(job.edit_mask) if job.edit_mask else None
            engines = Engines(network, compute, record)
            renderer = forward_renderer(job.model, engines, prompt, job.steps, job.long_side, job.samples)
        rendered = (
            (renderer(gbuffer, light, job.yaw, edit), gbuffer.plate)
            for gbuffer in track(gbuffers, "rendering", len(gbuffers))
        )
        with record.timed("write"):
            write_passes_stream(
                paths,
                record.timed_items("forward", rendered),
                fps=gbuffers.fps,
                first=gbuffers.first,
                metadata=_metadata(job),
                stored=stored,
            )
        tally.note(record)
        record.write(work_dir / destination.record_name)
    destination.report()
    tally.tell()


def _camera(job: ForwardJob) -> "CameraLike | None":
    """The camera that the command names; a camera file's poses are kept, a field of view alone is level."""
    if job.camera is None:
        return job.fov
    from unrender.files.cameras import read_cameras

    return read_cameras(job.camera).camera


def _metadata(job: ForwardJob) -> dict[str, str]:
    """What the EXR says of how it was lit."""
    if job.light is None:
        return {}
    return {"light": Path(job.light).stem, "yaw": f"{job.yaw:.9g}", "exposure": f"{job.exposure:.9g}"}


def _check(job: ForwardJob, prompt: PromptOptions, network: NetworkOptions) -> None:
    """Raises UserError where an option has no effect."""
    if job.light is None and (job.yaw or job.exposure or prompt.shadows):
        raise UserError("--yaw, --exposure and --shadows are a light's; expected --light HDRI with them")
    if job.camera is not None and job.fov is not None:
        raise UserError("--camera and --fov are both given; expected one of them")
    check_deferred(job.model, **asdict(network), steps=job.steps, long_side=job.long_side)
