"""`unrender forward`: a G-buffer and a light to a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.clip_run import Progress, clip_outputs, tracked, write_in_segments
from unrender.cli.engines import check_deferred
from unrender.cli.guard import InputFiles
from unrender.cli.inputs import at_rate, parse_rate, picture_format
from unrender.cli.options import (
    Bits,
    ClipSettings,
    ColourOptions,
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
from unrender.cli.outputs import PICTURES, VIDEOS, check_results, parse_destination
from unrender.cli.run_record import RunRecord
from unrender.cli.tally import FrameTally
from unrender.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from unrender.cli.engines import Forward
    from unrender.files.gbuffers import CameraLike
    from unrender.forward import RenderPasses
    from unrender.forward.clips import RenderRun
    from unrender.scene.environment import EnvironmentMap
    from unrender.scene.gbuffer import GBuffer
    from unrender.scene.plate import Plate


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
    turn: Annotated[float, typer.Option(metavar="DEG", help="Turn the light by so much in all, over a clip.")] = 0.0
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


def forward(
    job: ForwardJob,
    clip: ClipSettings,
    prompt: PromptOptions,
    colour: ColourOptions,
    network: NetworkOptions,
    compute: ComputeOptions,
) -> None:
    """Render a G-buffer under a light.

    Writes a PNG for looking (of a clip an mp4), an EXR whose render passes (diffuse, specular, background) add up to
    the beauty, and run.json. A network takes the light itself where its card has a `light`; else the irradiance of the
    G-buffer, or that of --light in its place. Killed in the middle of a clip, the same command goes on where it was.
    """
    _check(job, prompt, network)
    rate = parse_rate(job.fps)
    destination = parse_destination(job.out, (*PICTURES, *VIDEOS))
    tally = FrameTally(job.gbuffer)
    settings = (job, clip, prompt, colour, network, compute)
    record = RunRecord("forward", settings)
    record.facts |= colour.check(destination)
    with ExitStack() as stack:
        with record.timed("load"):
            from unrender.cli.engines import Engines, clip_options, forward_renderer
            from unrender.files.environments import resolve_light
            from unrender.files.images import read_mask
            from unrender.files.sequences import open_gbuffers
            from unrender.forward.clips import part_renderer, render_steps
            from unrender.output import passes_paths, write_passes_stream

            opened = open_gbuffers(job.gbuffer, job.normals, _camera(job), colour.colorspace_in)
            gbuffers = tally.counted(at_rate(opened, rate))
            destination.check_frames(len(gbuffers))
            if job.turn and len(gbuffers) == 1:
                raise UserError(f"--turn {job.turn}: {job.gbuffer} is a still; expected a clip, or --yaw")
            read = [one for one in (job.gbuffer, job.edit_mask, job.camera, job.light, job.model) if one is not None]
            run = stack.enter_context(clip_outputs(destination, len(gbuffers), settings, read))
            paths = passes_paths(run.folder, f"{gbuffers.name}.forward", len(gbuffers))
            paths = (run.folder / destination.file,) if destination.file else paths
            stored = picture_format(destination, job.bits, job.compression, len(gbuffers), colour.colorspace_out)
            models = (job.model, network.decoder)
            inputs = InputFiles(job.gbuffer, job.edit_mask, job.camera, models=models, light=job.light)
            check_results(destination, paths, inputs)
            light = resolve_light(job.light).exposed(job.exposure) if job.light else None
            edit = read_mask(job.edit_mask) if job.edit_mask else None
            engines = Engines(network, compute, record)
            renderer = forward_renderer(job.model, engines, prompt, job.steps, job.long_side, job.samples)
            cut = clip_options(clip, getattr(renderer, "card", None), network)
            parts = part_renderer(renderer if edit is None else _edited(renderer, edit), cut)
        plates: list[Plate | None] = []  # of each frame, as it is read

        def lighting(start: int, stop: int) -> tuple[EnvironmentMap | None, float | Tensor]:
            return light, _yaws(job, start, stop, len(gbuffers))

        def steps(state: RenderRun | None) -> Iterator[tuple[RenderPasses | None, RenderRun]]:
            stream = render_steps(_noting(gbuffers, plates), parts, lighting, cut, state)
            return record.timed_items("forward", stream)

        def write(rendered: Iterable[RenderPasses], done: Progress) -> None:
            frames = (passes.frame(index) for passes in rendered for index in range(len(passes)))
            numbered = enumerate(frames, start=done.frames)
            told = ((passes, plates[number], _metadata(job, number / len(gbuffers))) for number, passes in numbered)
            files = tuple(map(run.segment, paths))
            first = gbuffers.first + done.frames
            write_passes_stream(files, told, fps=gbuffers.fps, first=first, stored=stored)

        with record.timed("write"):
            write_in_segments(run, tracked(steps, "rendering", len(gbuffers), run), write)
            tally.note(record)
            run.join(paths, gbuffers, job.gbuffer)
        record.write(run.folder / destination.record_name)
    destination.report()
    tally.tell()


def _camera(job: ForwardJob) -> CameraLike | None:
    """The camera that the command names; a camera file's poses are kept, a field of view alone is level."""
    if job.camera is None:
        return job.fov
    from unrender.files.cameras import read_cameras

    return read_cameras(job.camera).camera


def _metadata(job: ForwardJob, turned: float = 0.0) -> dict[str, str]:
    """What the EXR says of how it was lit, when the light has turned by a part of its turn."""
    if job.light is None:
        return {}
    yaw = job.yaw + job.turn * turned
    return {"light": Path(job.light).stem, "yaw": f"{yaw:.9g}", "exposure": f"{job.exposure:.9g}"}


def _edited(renderer: Forward, edit: Tensor) -> Callable[..., RenderPasses]:
    """A renderer that renders a part of its pictures."""
    return lambda gbuffer, light, yaw: renderer(gbuffer, light, yaw, edit)


def _yaws(job: ForwardJob, start: int, stop: int, frames: int) -> float | Tensor:
    """How far the light is turned in some frames of a clip."""
    if not job.turn:
        return job.yaw
    import torch

    return torch.tensor([job.yaw + job.turn * index / frames for index in range(start, stop)])


def _noting(gbuffers: Iterable[GBuffer], plates: list[Plate | None]) -> Iterator[GBuffer]:
    """Passes G-buffers on, and notes their plates."""
    for gbuffer in gbuffers:
        plates.append(gbuffer.plate)
        yield gbuffer


def _check(job: ForwardJob, prompt: PromptOptions, network: NetworkOptions) -> None:
    """Raises UserError where an option has no effect."""
    if job.light is None and (job.yaw or job.turn or job.exposure or prompt.shadows or prompt.elevation):
        raise UserError(
            "--yaw, --turn, --exposure, --elevation and --shadows are a light's; expected --light HDRI with them"
        )
    if job.camera is not None and job.fov is not None:
        raise UserError("--camera and --fov are both given; expected one of them")
    check_deferred(job.model, **asdict(network), steps=job.steps, long_side=job.long_side)
