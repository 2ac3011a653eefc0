"""`unrender synth`: random scenes with their whole truth."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from unrender.cli.progress import progress_bar
from unrender.cli.run_record import RunRecord


@dataclass(frozen=True)
class SynthJob:
    """What to generate."""

    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or one that the same command began.")]
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="How many.")] = 100
    resolution: Annotated[int, typer.Option(min=16, metavar="R", help="Height and width in pixels.")] = 160
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0
    workers: Annotated[int, typer.Option(min=1, metavar="W", help="Processes, each with one thread.")] = (
        os.cpu_count() or 1
    )
    split: Annotated[
        Literal["train", "test"], typer.Option(help="`test` has worlds and textures that `train` never sees.")
    ] = "train"
    preview: Annotated[bool, typer.Option("--preview", help="Also write preview.png, a contact sheet.")] = False


def synth(job: SynthJob) -> None:
    """Render random scenes with their truth.

    Mitsuba renders them into shards. Stopped, the same command goes on where it was.
    """
    from unrender.synth import SynthRecipe, generate, preview

    record = RunRecord("synth", (job,))
    recipe = SynthRecipe(job.clips, resolution=job.resolution, seed=job.seed, split=job.split)
    with record.stage("render"), progress_bar("rendering") as show:
        generate(recipe, job.out, job.workers, show)
    if job.preview:
        with record.stage("preview"):
            preview(job.out, job.out / "preview.png")
    record.write(job.out / "run.json")
    print(f"{job.out}: {job.clips} clips")
