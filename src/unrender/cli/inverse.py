"""`unrender inverse`: a picture to its G-buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.cli.clip_run import Progress, clip_outputs, tracked, write_in_segments
from unrender.cli.guard import InputFiles
from unrender.cli.inputs import at_rate, parse_maps, parse_rate
from unrender.cli.options import ClipSettings, ComputeOptions, Fps, NetworkOptions, Out, Profile, SceneOptions
from unrender.cli.outputs import check_results, parse_destination
from unrender.cli.run_record import RunRecord
from unrender.cli.tally import FrameTally

if TYPE_CHECKING:
    from unrender.inverse.clips import InverseState
    from unrender.scene.gbuffer import GBuffer


@dataclass(frozen=True)
class InverseJob:
    """What to estimate the maps of, and which."""

    input: Annotated[
        Path, typer.Argument(metavar="INPUT", help="An image, a video, a folder of frames, or name.####.exr.")
    ]
    out: Out
    model: Annotated[
        str, typer.Option(help="A model's id, or the folder of a checkpoint; several with commas, for all their maps.")
    ] = "mini"
    maps: Annotated[str | None, typer.Option(metavar="A,B,...", help="The maps wanted; all that the model gives.")] = (
        None
    )
    profile: Profile = "unrender"
    fps: Fps = None


def inverse(
    job: InverseJob, scene: SceneOptions, clip: ClipSettings, network: NetworkOptions, compute: ComputeOptions
) -> None:
    """Take a picture apart into its maps.

    Writes base colour, normals, depth, roughness and metallic as one multi-layer float EXR (one for every frame of a
    clip), a contact sheet, and run.json. Killed in the middle of a clip, the same command goes on where it was.
    """
    maps, rate = parse_maps(job.maps), parse_rate(job.fps)
    destination = parse_destination(job.out, (".exr", ".png"))
    tally = FrameTally(job.input)
    settings = (job, scene, clip, network, compute)
    record = RunRecord("inverse", settings)
    with ExitStack() as stack:
        with record.timed("load"):
            from unrender.cli.engines import Engines, inverse_renderer
            from unrender.files.numbering import literal
            from unrender.files.sequences import open_frames
            from unrender.inverse.clips import inverse_steps
            from unrender.output import write_gbuffer_stream

            frames = tally.counted(at_rate(open_frames(job.input), rate))
            destination.check_frames(len(frames))
            run = stack.enter_context(clip_outputs(destination, len(frames), settings, (job.input, job.model)))
            number = "" if len(frames) == 1 else ".####"
            exr = destination.path(run.folder, f"{literal(frames.name)}{number}.exr")
            sheet = destination.path(run.folder, f"{frames.name}.maps.png")
            inputs = InputFiles(job.input, models=(job.model, network.decoder))
            check_results(destination, (exr, sheet), inputs)
            renderer = inverse_renderer(job.model, Engines(network, compute, record), scene, len(frames), clip)

        def steps(state: InverseState | None) -> Iterator[tuple[GBuffer, InverseState]]:
            return record.timed_items("inverse", inverse_steps(frames, renderer, maps, state))

        def write(gbuffers: Iterable[GBuffer], done: Progress) -> None:
            shown = None if done.frames else sheet
            first = frames.first + done.frames
            write_gbuffer_stream(exr, gbuffers, profile=job.profile, contact_sheet=shown, first=first)

        with record.timed("write"):
            write_in_segments(run, tracked(steps, "estimating maps", len(frames), run), write)
        tally.note(record)
        record.write(run.folder / destination.record_name)
    destination.report()
    tally.tell()
