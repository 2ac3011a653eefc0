"""`unrender evaluate PROTOCOL`: how good a model is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from unrender.cli.options import ComputeOptions
from unrender.cli.progress import progress_bar
from unrender.cli.verb import add_verb

app = typer.Typer(name="evaluate", help="Measure a model against ground truth.")


@dataclass(frozen=True)
class MapsJob:
    """What to measure, and on what."""

    model: Annotated[str, typer.Option(help="A model's id, or the folder of a checkpoint.")]
    data: Annotated[Path, typer.Option(metavar="DIR", help="A folder that `unrender synth --split test` has written.")]
    clips: Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N clips only; all.")] = None


def maps(job: MapsJob, compute: ComputeOptions) -> None:
    """Print a model's errors beside those of trivial answers, map by map."""
    from itertools import islice

    from unrender.diffusion.running import Running
    from unrender.evaluate.maps import PROTOCOL, evaluate_maps, table
    from unrender.files.shards import read_clips
    from unrender.inverse.renderer import InverseRenderer

    renderer = InverseRenderer.from_pretrained(job.model, Running(compute.device, compute.dtype))
    truths = (clip.gbuffer for clip in islice(read_clips(job.data, others=False), job.clips))
    with progress_bar("measuring") as show:
        report = evaluate_maps(renderer, truths, lambda done: show(done, job.clips))
    print(f"{job.model} on {report.pictures} pictures of {job.data}: {PROTOCOL}\n\n{table(report)}")


add_verb(app, "maps", maps)
app.callback()(lambda: None)  # keeps `maps` a word of its own while it is the only protocol
