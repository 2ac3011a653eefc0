"""`unrender label`: real footage into shards that `train` reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.cli.guard import refuse_folder
from unrender.cli.inputs import listed
from unrender.cli.messages import one_line
from unrender.cli.options import ComputeOptions, NetworkOptions
from unrender.cli.progress import progress_bar
from unrender.cli.run_record import RECORD, RunRecord
from unrender.cli.scaling import ScaleOptions, rate, tell_failures
from unrender.cli.tally import INCOMPLETE

if TYPE_CHECKING:
    from unrender.train.labelling import LabelReport


@dataclass(frozen=True)
class LabelJob:
    """What to label, and how."""

    videos: Annotated[
        list[Path],
        typer.Argument(metavar="VIDEOS...", help="Videos, folders of frames, name.####.png, or @FILE of them."),
    ]
    out: Annotated[Path, typer.Option("--out", "-o", metavar="SHARDS", help="A folder, new or of earlier labels.")]
    model: Annotated[str, typer.Option(help="The inverse model: an id, or the folder of a checkpoint.")] = "mini"
    frames: Annotated[int, typer.Option(min=1, metavar="F", help="Of a segment.")] = 24
    segments: Annotated[int, typer.Option(min=1, metavar="N", help="Of a video, at most.")] = 15
    resolution: Annotated[int, typer.Option(min=16, metavar="R", help="Side of the squares that are kept.")] = 160
    lights: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Chrome balls or maps by the videos' names, as DiffusionLight writes them."),
    ] = None


def label(job: LabelJob, network: NetworkOptions, compute: ComputeOptions, scale: ScaleOptions) -> None:
    """Label real footage for training.

    Cuts videos into segments, and writes the maps and the light of each as a shard that `unrender train --data` reads.
    What is there already is not done again: the same command goes on where it was.
    """
    from functools import partial

    from unrender.cli.engines import location_facts
    from unrender.diffusion.checkpoints.hub.registry import find
    from unrender.diffusion.options import InferenceOptions
    from unrender.files.atomic import atomic_write
    from unrender.inverse.renderer import InverseRenderer
    from unrender.train.labelling import LabelRecipe, label_footage

    recipe = LabelRecipe(job.frames, job.segments, job.resolution, job.lights, scale.part)
    videos = listed(job.videos)
    refuse_folder(job.out, *videos, job.lights)
    record = RunRecord("label", (job, network, compute, scale))
    inference = InferenceOptions(
        compute.device, compute.dtype, network.memory, network.faithful, network.decoder, compile=network.compile
    )
    home = find(job.model, "inverse")
    load = partial(InverseRenderer.from_pretrained, job.model, inference)
    with record.timed("label"), progress_bar("labelling", "segments") as show:
        report = label_footage(
            videos, job.out, load, recipe, show, executor=scale.executor, needs=scale.needs(compute.device)
        )
    record.facts |= {"model": location_facts(home.card, home), **asdict(report)}
    with atomic_write(job.out / scale.record_name(RECORD)) as path:
        record.write(path)
    _tell(job, report, record.seconds["label"])


def _tell(job: LabelJob, report: LabelReport, seconds: float) -> None:
    """Says what became of the segments; status 1 where a video could not be read to its end."""
    there = f", {len(report.before)} there before" if report.before else ""
    gone = f", {len(report.rejected)} rejected" if report.rejected else ""
    lost = f", {len(report.failed)} videos set aside" if report.failed else ""
    tried = len(report.labelled) + len(report.rejected)
    print(one_line(f"{job.out}: {len(report.labelled)} segments labelled{there}{gone}{lost} in {rate(tried, seconds)}"))
    tell_failures((*report.rejected, *report.failed))
    if report.failed:
        raise typer.Exit(INCOMPLETE)
