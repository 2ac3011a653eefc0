"""`unrender light`: the light that a picture was taken in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from unrender.cli.guard import InputFiles
from unrender.cli.options import ColourOptions, ComputeOptions, NetworkOptions, SceneOptions
from unrender.cli.outputs import atomic_outputs, check_results, parse_destination
from unrender.cli.run_record import RunRecord
from unrender.errors import UserError


@dataclass(frozen=True)
class LightJob:
    """What to estimate the light of, and how."""

    input: Annotated[
        Path, typer.Argument(metavar="INPUT", help="An image, a video, a folder of frames, or name.####.exr.")
    ]
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="A folder, or a file ending in .exr.")]
    model: Annotated[str, typer.Option(help="The inverse model: an id, or the folder of a checkpoint.")] = "mini"
    frames: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of a clip, its first N frames; they share one light.")
    ] = 1


def light(
    job: LightJob, scene: SceneOptions, colour: ColourOptions, network: NetworkOptions, compute: ComputeOptions
) -> None:
    """Estimate the light that a picture was taken in.

    Writes an equirectangular EXR, linear, in the units of the picture, which --light takes; and run.json. The camera is
    taken as level, looking at the middle of the map.
    """
    destination = parse_destination(job.out, (".exr",))
    record = RunRecord("light", (job, scene, colour, network, compute))
    record.facts |= colour.check(destination)
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from itertools import islice

            from unrender.cli.engines import Engines, inverse_renderer
            from unrender.files.environments import write_environment
            from unrender.files.numbering import literal
            from unrender.files.sequences import open_frames
            from unrender.relight.light_estimate import WRITTEN_SIZE, estimate_light
            from unrender.scene.environment import mean_direction
            from unrender.scene.frames import Frames

            clip = open_frames(job.input, colour.colorspace_in)
            if job.frames > 1 and len(clip) == 1:
                raise UserError(f"--frames {job.frames}: {job.input} is a still; expected a clip with it")
            exr = work_dir / (destination.file or f"{literal(clip.name)}.light.exr")
            check_results(destination, (exr,), InputFiles(job.input, models=(job.model, network.decoder)))
            inverse = inverse_renderer(job.model, Engines(network, compute, record), scene, job.frames)
            frames = Frames.concatenate(list(islice(clip, job.frames)))
        with record.timed("light"):
            found = estimate_light(frames, inverse=inverse)
        if not bool((found.radiance > 0).any()):
            raise UserError(f"{job.input}: no surface that is neither black nor clipped says anything of its light")
        with record.timed("write"):
            record.facts["direction"] = [round(float(value), 4) for value in mean_direction(found)[0]]
            write_environment(exr, found.resized(WRITTEN_SIZE), colour.colorspace_out)
        record.write(work_dir / destination.record_name)
    destination.report()
