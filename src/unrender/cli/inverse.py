"""`unrender inverse`: a picture to its G-buffer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from unrender.cli.guard import InputFiles
from unrender.cli.inputs import at_rate, parse_maps, parse_rate
from unrender.cli.options import ComputeOptions, Fps, NetworkOptions, Out, Profile, SceneOptions
from unrender.cli.outputs import atomic_outputs, check_results, parse_destination
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord
from unrender.cli.tally import FrameTally


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


def inverse(job: InverseJob, scene: SceneOptions, network: NetworkOptions, compute: ComputeOptions) -> None:
    """Take a picture apart into its maps.

    Writes base colour, normals, depth, roughness and metallic as one multi-layer float EXR (one for every frame of a
    clip), a contact sheet, and run.json.
    """
    maps, rate = parse_maps(job.maps), parse_rate(job.fps)
    destination = parse_destination(job.out, (".exr", ".png"))
    tally = FrameTally(job.input)
    record = RunRecord("inverse", (job, scene, network, compute))
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from unrender.cli.engines import Engines, inverse_renderer
            from unrender.files.numbering import literal
            from unrender.files.sequences import open_frames
            from unrender.output import write_gbuffer_stream

            frames = tally.counted(at_rate(open_frames(job.input), rate))
            destination.check_frames(len(frames))
            number = "" if len(frames) == 1 else ".####"
            exr = destination.path(work_dir, f"{literal(frames.name)}{number}.exr")
            sheet = destination.path(work_dir, f"{frames.name}.maps.png")
            inputs = InputFiles(job.input, models=(job.model, network.decoder))
            check_results(destination, (exr, sheet), inputs)
            renderer = inverse_renderer(job.model, Engines(network, compute, record), scene, len(frames))
        gbuffers = (renderer(picture, maps) for picture in track(frames, "estimating maps", len(frames)))
        with record.timed("write"):
            write_gbuffer_stream(
                exr,
                record.timed_items("inverse", gbuffers),
                profile=job.profile,
                contact_sheet=sheet,
                first=frames.first,
            )
        tally.note(record)
        record.write(work_dir / destination.record_name)
    destination.report()
    tally.tell()
