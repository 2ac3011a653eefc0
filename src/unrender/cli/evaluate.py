"""`unrender evaluate PROTOCOL`: how good a model, or a picture, is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.cli.options import ComputeOptions
from unrender.cli.progress import progress_bar
from unrender.cli.verb import add_verb

if TYPE_CHECKING:
    from unrender.evaluate.metrics.lpips import Lpips
    from unrender.evaluate.report import Report

app = typer.Typer(name="evaluate", help="Measure a model against ground truth, or pictures against others.")


@dataclass(frozen=True)
class MapsJob:
    """What to measure, and on what."""

    model: Annotated[str, typer.Option(help="A model's id, or the folder of a checkpoint.")]
    data: Annotated[Path, typer.Option(metavar="DIR", help="A folder that `unrender synth --split test` has written.")]
    clips: Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N clips only; all.")] = None


@dataclass(frozen=True)
class PicturesJob:
    """What to measure, and against what."""

    predicted: Annotated[Path, typer.Argument(metavar="INPUT", help="A picture, a video, or a folder of frames.")]
    target: Annotated[Path, typer.Argument(metavar="TRUTH", help="What they should be: as many, of the same size.")]
    fid: Annotated[Path | None, typer.Option(metavar="FILE", help="Inception weights; adds the FID of both sets.")] = (
        None
    )


@dataclass(frozen=True)
class LpipsOptions:
    """Weights of LPIPS; they are never downloaded."""

    lpips: Annotated[
        Path | None, typer.Option(metavar="FILE", help="AlexNet or VGG16 weights (torchvision's); adds LPIPS.")
    ] = None
    lpips_linear: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Linear weights of LPIPS; those in the extra `metrics`.")
    ] = None


@dataclass(frozen=True)
class ReportOptions:
    """Where the figures go, besides the terminal."""

    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures as JSON too.")] = None
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them as a Markdown table too.")] = None


def maps(job: MapsJob, weights: LpipsOptions, files: ReportOptions, compute: ComputeOptions) -> None:
    """Print a model's errors beside those of trivial answers, map by map."""
    from itertools import islice

    from unrender.diffusion.running import Running
    from unrender.evaluate.maps import evaluate_maps
    from unrender.files.shards import read_clips
    from unrender.inverse.renderer import InverseRenderer

    lpips = _lpips(weights)
    renderer = InverseRenderer.from_pretrained(job.model, Running(compute.device, compute.dtype))
    truths = (clip.gbuffer for clip in islice(read_clips(job.data, others=False), job.clips))
    with progress_bar("measuring") as show:
        report = evaluate_maps(renderer, truths, lambda done: show(done, job.clips), lpips)
    print(f"{job.model} on {report.pictures} pictures of {job.data}: {report.protocol}\n")
    _tell(report, files, {"model": job.model, "data": str(job.data)})


def pictures(job: PicturesJob, weights: LpipsOptions, files: ReportOptions) -> None:
    """Print how far pictures are from those that they should be."""
    from unrender.evaluate.metrics.inception import Inception
    from unrender.evaluate.pictures import evaluate_pictures
    from unrender.files.sequences import open_frames

    lpips = _lpips(weights)
    inception = Inception.read(job.fid) if job.fid else None
    predicted, target = open_frames(job.predicted), open_frames(job.target)
    with progress_bar("measuring") as show:
        report = evaluate_pictures(predicted, target, lpips, inception, lambda done: show(done, len(target)))
    print(f"{job.predicted} against {job.target}, {report.pictures} frames: {report.protocol}\n")
    _tell(report, files, {"predicted": str(job.predicted), "target": str(job.target)})


def _lpips(weights: LpipsOptions) -> Lpips | None:
    from unrender.evaluate.metrics.lpips import Lpips

    wanted = weights.lpips or weights.lpips_linear
    return Lpips.read(weights.lpips, weights.lpips_linear) if wanted else None


def _tell(report: Report, files: ReportOptions, facts: dict[str, str]) -> None:
    """Prints the report's table, and writes the files asked for: `facts` say of what they are."""
    import json

    from unrender.evaluate.report import as_dict, markdown, table
    from unrender.files.atomic import whole

    print(table(report))
    if files.json:
        with whole(files.json) as path:
            path.write_text(json.dumps(facts | as_dict(report), indent=2) + "\n", encoding="utf-8")
    if files.markdown:
        named = ", ".join(f"{name} `{value}`" for name, value in facts.items())
        with whole(files.markdown) as path:
            path.write_text(f"{markdown(report)}\n{named}\n", encoding="utf-8")


add_verb(app, "maps", maps)
add_verb(app, "pictures", pictures)
