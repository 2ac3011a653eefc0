"""`unrender inverse`: a picture to its G-buffer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from unrender.cli.inputs import parse_maps
from unrender.cli.options import ComputeOptions, NetworkOptions, Out, SceneOptions
from unrender.cli.outputs import parse_destination, staged
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord


@dataclass(frozen=True)
class InverseJob:
    """What to take apart, and into what."""

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
    profile: Annotated[
        Literal["unrender", "blender", "arnold", "nuke"], typer.Option(help="Whose channel names the EXR carries.")
    ] = "unrender"


def inverse(job: InverseJob, scene: SceneOptions, network: NetworkOptions, compute: ComputeOptions) -> None:
    """Take a picture apart into its maps.

    Writes base colour, normals, depth, roughness and metallic as one multi-layer float EXR (one for every frame of a
    clip), a contact sheet, and run.json.
    """
    maps = parse_maps(job.maps)
    destination = parse_destination(job.out, (".exr", ".png"))
    record = RunRecord("inverse", (job, scene, network, compute))
    with staged(destination) as stage:
        with record.stage("load"):
            from unrender.cli.engines import Engines, inverse_renderer
            from unrender.cli.pictures import Take, thumbnails, write_contact_sheet
            from unrender.files.gbuffers import write_gbuffer
            from unrender.files.sequences import numbered, open_frames

            frames = open_frames(job.input)
            destination.check_frames(len(frames))
            take = Take(frames.name, len(frames))
            renderer = inverse_renderer(job.model, Engines(network, compute, record), scene, len(frames))
        for index, picture in enumerate(track(frames, "taking apart", len(frames))):
            with record.stage("inverse"):
                gbuffer = renderer(picture, maps)
            with record.stage("write"):
                if destination.wants(".exr"):
                    pattern = stage / (destination.file or take.file(".exr"))
                    path = pattern if len(frames) == 1 else numbered(pattern, index + 1)
                    write_gbuffer(path, gbuffer, profile=job.profile)
                if index == 0 and destination.wants(".png"):
                    sheet = stage / (destination.file or f"{frames.name}.maps.png")
                    write_contact_sheet(sheet, thumbnails(gbuffer))
        record.write(stage / destination.record_name)
    destination.report()
