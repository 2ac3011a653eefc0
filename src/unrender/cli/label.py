"""`unrender label`: real footage into shards that `train` reads."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.cli.guard import refuse_folder
from unrender.cli.messages import one_line
from unrender.cli.options import ComputeOptions, NetworkOptions
from unrender.cli.progress import progress_bar
from unrender.cli.run_record import RECORD, RunRecord
from unrender.cli.tally import INCOMPLETE
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.train.labelling import LabelReport


@dataclass(frozen=True)
class LabelJob:
    """What to label, and how."""

    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEOS...", help="Videos, folders of frames, or name.####.png.")
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
    shard: Annotated[str, typer.Option(metavar="I/N", help="Label every N-th segment only, from the I-th on.")] = "1/1"


def label(job: LabelJob, network: NetworkOptions, compute: ComputeOptions) -> None:
    """Label real footage for training.

    Cuts videos into segments, and writes the maps and the light of each as a shard that `unrender train --data` reads.
    What is there already is not done again: the same command goes on where it was.
    """
    from unrender.diffusion.options import InferenceOptions
    from unrender.files.atomic import atomic_write
    from unrender.inverse.renderer import InverseRenderer
    from unrender.train.labelling import LabelRecipe, label_footage

    recipe = LabelRecipe(job.frames, job.segments, job.resolution, job.lights, _parse_shard(job.shard))
    refuse_folder(job.out, *job.videos, job.lights)
    record = RunRecord("label", (job, network, compute))
    inference = InferenceOptions(
        compute.device, compute.dtype, network.memory, network.faithful, network.decoder, compile=network.compile
    )
    renderer = InverseRenderer.from_pretrained(job.model, inference)
    with record.timed("label"), progress_bar("labelling", "segments") as show:
        report = label_footage(job.videos, job.out, renderer, recipe, show)
    record.facts |= {"model": {"id": renderer.card.id, "licence": renderer.card.identity.licence}, **asdict(report)}
    with atomic_write(job.out / RECORD) as path:
        record.write(path)
    _tell(job, report)


def _parse_shard(text: str) -> tuple[int, int]:
    first, slash, second = text.partition("/")
    if not (slash and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise UserError(f"--shard {text}; expected I/N, such as 2/8")
    return int(first), int(second)


def _tell(job: LabelJob, report: LabelReport) -> None:
    """Says what became of the segments; status 1 where a video could not be read to its end."""
    there = f", {len(report.before)} there before" if report.before else ""
    gone = f", {len(report.rejected)} rejected" if report.rejected else ""
    print(one_line(f"{job.out}: {len(report.labelled)} segments labelled{there}{gone}"))
    for name, reason in (*report.rejected, *report.failed):
        print(f"unrender: {one_line(f'{name}: {reason}' if name not in reason else reason)}", file=sys.stderr)
    if report.failed:
        raise typer.Exit(INCOMPLETE)
