"""`unrender evaluate PROTOCOL`: how good a model, or a picture, is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.engines import check_deferred
from unrender.cli.guard import InputFiles
from unrender.cli.options import ClipSettings, ComputeOptions, Steps
from unrender.cli.progress import progress_bar
from unrender.cli.verb import add_verb
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.evaluate.metrics.lpips import Lpips
    from unrender.evaluate.report import Report
    from unrender.scene.frames import Frames

app = typer.Typer(name="evaluate", help="Measure a model against ground truth, or pictures against others.")


@dataclass(frozen=True)
class MapsJob:
    """What to measure, and on what."""

    model: Annotated[str, typer.Option(help="A model's id, or the folder of a checkpoint.")]
    data: Annotated[Path, typer.Option(metavar="DIR", help="A folder that `unrender synth --split test` has written.")]
    clips: Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N clips only; all.")] = None


@dataclass(frozen=True)
class EstimatedLightJob:
    """What to measure, and on what."""

    data: Annotated[Path, typer.Option(metavar="DIR", help="A folder that `unrender synth --split test` has written.")]
    model: Annotated[str, typer.Option(help="An inverse model's id, or the folder of a checkpoint.")] = "mini"
    clips: Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N clips only; all.")] = None


@dataclass(frozen=True)
class ForwardJob:
    """What to measure, and on what."""

    model: Annotated[
        str, typer.Option(help="deferred, deferred:monte_carlo, deferred:screen_space, a model's id, or a folder.")
    ]
    data: Annotated[Path, typer.Option(metavar="DIR", help="A folder that `unrender synth --split test` has written.")]
    clips: Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N clips only; all.")] = None
    steps: Steps = None


@dataclass(frozen=True)
class ClipsJob:
    """What to measure, and on what."""

    model: Annotated[str, typer.Option(help="A model's id, or the folder of a checkpoint.")]
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="A folder that `unrender synth --split test --frames 10` has written.")
    ]
    clips: Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N clips only; all.")] = None
    task: Annotated[
        Literal["inverse", "forward"],
        typer.Option(help="Maps of the pictures, or pictures of the true maps and light."),
    ] = "inverse"
    steady: Annotated[bool, typer.Option(help="Hold maps steady along the photo's motion.")] = True


@dataclass(frozen=True)
class TextToImageEvaluation:
    """What to measure, and on what."""

    data: Annotated[Path, typer.Option(metavar="DIR", help="A folder that `unrender synth --split test` has written.")]
    model: Annotated[str, typer.Option(help="A text-to-image model's id, or a folder.")] = "mini-t2i"
    clips: Annotated[int | None, typer.Option(min=1, metavar="N", help="The first N clips only; all.")] = None


@dataclass(frozen=True)
class MultiViewJob:
    """Which views to measure, and against what."""

    views: Annotated[
        Path,
        typer.Argument(metavar="VIEWS", help="A folder of `unrender multiview`: a transforms.json and its pictures."),
    ]
    truth: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The true pictures of the same cameras, likewise.")
    ] = None
    given: Annotated[
        str, typer.Option(metavar="N,N,...", help="Views that were given, from 1: not compared with the truth.")
    ] = ""
    fid: Annotated[Path | None, typer.Option(metavar="FILE", help="Inception weights; adds FID and KID.")] = None
    split_half: Annotated[
        bool, typer.Option("--split-half/--no-split-half", help="Fit Gaussians to both halves and compare them.")
    ] = True


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

    from unrender.diffusion.options import InferenceOptions
    from unrender.evaluate.maps import evaluate_maps
    from unrender.files.shards import read_clips
    from unrender.inverse.renderer import InverseRenderer

    weights_files = (weights.lpips, weights.lpips_linear)
    check_files((files.json, files.markdown), InputFiles(job.data, *weights_files, models=(job.model,)))
    lpips = read_lpips(weights)
    renderer = InverseRenderer.from_pretrained(job.model, InferenceOptions(compute.device, compute.dtype))
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

    inputs = InputFiles(job.predicted, job.target, job.fid, weights.lpips, weights.lpips_linear)
    check_files((files.json, files.markdown), inputs)
    lpips = read_lpips(weights)
    inception = Inception.read(job.fid) if job.fid else None
    predicted, target = open_frames(job.predicted), open_frames(job.target)
    with progress_bar("measuring") as show:
        report = evaluate_pictures(predicted, target, lpips, inception, lambda done: show(done, len(target)))
    print(f"{job.predicted} against {job.target}, {report.pictures} frames: {report.protocol}\n")
    _tell(report, files, {"predicted": str(job.predicted), "target": str(job.target)})


def forward(job: ForwardJob, files: ReportOptions, compute: ComputeOptions) -> None:
    """Print how far a forward renderer's pictures are from the truth, beside the split sum's."""
    from itertools import islice

    from unrender.diffusion.options import InferenceOptions
    from unrender.evaluate.forward import evaluate_forward
    from unrender.evaluate.scenes import scenes_of
    from unrender.files.shards import read_clips
    from unrender.forward import ForwardOptions, ForwardRenderer

    check_files((files.json, files.markdown), InputFiles(job.data, models=(job.model,)))
    inference, options = (
        InferenceOptions(compute.device, compute.dtype),
        ForwardOptions(steps=job.steps, seed=compute.seed),
    )
    check_deferred(job.model, steps=job.steps)
    renderer = ForwardRenderer.from_pretrained(job.model, inference, options)
    scenes = scenes_of(islice(read_clips(job.data, others=False), job.clips), "evaluate forward")
    with progress_bar("measuring") as show:
        report = evaluate_forward(renderer, scenes, lambda done: show(done, job.clips))
    print(f"{job.model} on {report.pictures} pictures of {job.data}: {report.protocol}\n")
    _tell(report, files, {"model": job.model, "data": str(job.data)})


def light(job: EstimatedLightJob, files: ReportOptions, compute: ComputeOptions) -> None:
    """Print how far the estimated light of photos is from the truth, beside trivial answers."""
    from itertools import islice

    from unrender.diffusion.options import InferenceOptions
    from unrender.evaluate.light import evaluate_light
    from unrender.evaluate.scenes import scenes_of
    from unrender.files.shards import read_clips
    from unrender.inverse.renderer import InverseRenderer

    check_files((files.json, files.markdown), InputFiles(job.data, models=(job.model,)))
    inverse = InverseRenderer.from_pretrained(job.model, InferenceOptions(compute.device, compute.dtype))
    scenes = scenes_of(islice(read_clips(job.data, others=False), job.clips), "evaluate light")
    with progress_bar("measuring") as show:
        report = evaluate_light(inverse, scenes, lambda done: show(done, job.clips))
    print(f"{job.model} on {report.pictures} pictures of {job.data}: {report.protocol}\n")
    _tell(report, files, {"model": job.model, "data": str(job.data)})


def clips(job: ClipsJob, clip: ClipSettings, files: ReportOptions, compute: ComputeOptions) -> None:
    """Print how steady a model's maps are on clips with known motion, and how good, beside frame by frame."""
    from dataclasses import replace
    from functools import partial
    from itertools import islice

    from unrender.diffusion.options import InferenceOptions
    from unrender.diffusion.windows import ClipOptions
    from unrender.evaluate.clips import evaluate_clips
    from unrender.files.shards import read_clips
    from unrender.inverse.clips import ClipInverse
    from unrender.inverse.renderer import InverseRenderer
    from unrender.scene.gbuffer import GBuffer

    check_files((files.json, files.markdown), InputFiles(job.data, models=(job.model,)))
    if job.task == "forward":
        if not job.steady:
            raise UserError("--no-steady is of maps; expected --task inverse, or no such option")
        _rendered_clips(job, clip, files, compute)
        return
    renderer = InverseRenderer.from_pretrained(job.model, InferenceOptions(compute.device, compute.dtype))
    options = ClipOptions.of(renderer.card, clip.temporal, clip.window, clip.overlap)
    whole = ClipInverse(renderer, replace(options, steady=job.steady), seed=compute.seed)
    alone = ClipInverse(renderer, ClipOptions.of(renderer.card, "none"), seed=compute.seed)

    def answer(inverse: ClipInverse, photo: Frames) -> GBuffer:
        return GBuffer.concatenate(list(inverse.stream(photo)))

    answers = {"clip": partial(answer, whole), "frame by frame": partial(answer, alone)}
    truths = (one.gbuffer for one in islice(read_clips(job.data, others=False), job.clips))
    with progress_bar("measuring") as show:
        report = evaluate_clips(answers, truths, options, lambda done: show(done, job.clips))
    print(f"{job.model} on clips of {report.pictures} frames in all, of {job.data}: {report.protocol}\n")
    _tell(report, files, {"model": job.model, "data": str(job.data)})


def _rendered_clips(job: ClipsJob, clip: ClipSettings, files: ReportOptions, compute: ComputeOptions) -> None:
    """The same of a forward network, from true maps and lights."""
    from functools import partial
    from itertools import islice

    from unrender.diffusion.options import InferenceOptions
    from unrender.diffusion.windows import ClipOptions
    from unrender.evaluate.rendered_clips import evaluate_rendered_clips, render_clip
    from unrender.files.shards import read_clips
    from unrender.forward.neural import NeuralRenderer
    from unrender.forward.options import ForwardOptions

    inference = InferenceOptions(compute.device, compute.dtype)
    renderer = NeuralRenderer.from_pretrained(job.model, inference, ForwardOptions(seed=compute.seed))
    options = ClipOptions.of(renderer.card, clip.temporal, clip.window, clip.overlap)
    answers = {
        "clip": partial(render_clip, renderer, options),
        "frame by frame": partial(render_clip, renderer, ClipOptions(temporal="none")),
    }
    with progress_bar("measuring") as show:
        clips = islice(read_clips(job.data, others=False), job.clips)
        report = evaluate_rendered_clips(answers, clips, lambda done: show(done, job.clips))
    print(f"{job.model} on clips of {report.pictures} frames in all, of {job.data}: {report.protocol}\n")
    _tell(report, files, {"model": job.model, "data": str(job.data), "task": job.task})


def text_to_image(job: TextToImageEvaluation, files: ReportOptions, compute: ComputeOptions) -> None:
    """Print how well a model heeds its words, and how near its pictures are to true ones."""
    from itertools import islice

    from unrender.diffusion.options import InferenceOptions
    from unrender.diffusion.text_to_image import TextToImage
    from unrender.evaluate.text_to_image import evaluate_text_to_image
    from unrender.files.shards import read_clips

    check_files((files.json, files.markdown), InputFiles(job.data, models=(job.model,)))
    model = TextToImage.from_pretrained(job.model, InferenceOptions(compute.device, compute.dtype))
    clips = islice(read_clips(job.data, others=False), job.clips)
    with progress_bar("measuring") as show:
        report = evaluate_text_to_image(model, clips, lambda done: show(done, job.clips), seed=compute.seed)
    print(f"{job.model} on {report.pictures} pictures of {job.data}: {report.protocol}\n")
    _tell(report, files, {"model": job.model, "data": str(job.data)})


def multiview(job: MultiViewJob, weights: LpipsOptions, files: ReportOptions) -> None:
    """Print whether views are right, and whether they agree, beside the true pictures and shuffled ones."""
    import torch

    from unrender.evaluate.metrics.inception import Inception
    from unrender.evaluate.multiview import ViewMeasures, evaluate_multiview
    from unrender.files.posed import read_posed

    inputs = InputFiles(job.views, job.truth, job.fid, weights.lpips, weights.lpips_linear)
    check_files((files.json, files.markdown), inputs)
    measures = ViewMeasures(read_lpips(weights), Inception.read(job.fid) if job.fid else None, job.split_half)
    views = read_posed(job.views)
    truth = read_posed(job.truth) if job.truth else None
    count = len(views.frames)
    numbers = [part.strip() for part in job.given.split(",") if part.strip()]
    if not all(part.isdigit() and 1 <= int(part) <= count for part in numbers):
        raise UserError(f"--given {job.given}; expected numbers of views from 1 to {count}, with commas")
    given = torch.tensor([str(i + 1) in numbers for i in range(count)])
    with progress_bar("measuring") as show:
        report = evaluate_multiview(views, truth, given, measures, lambda done: show(done, 3))
    print(f"{job.views}, {report.pictures} views: {report.protocol}\n")
    _tell(report, files, {"views": str(job.views), "truth": str(job.truth or "")})


def check_files(files: Iterable[Path | None], inputs: InputFiles) -> None:
    """Raises UserError, before the work, where a file that is to be written is an input, a folder, or in none."""
    from unrender.files.leftovers import clean_leftovers, unfinished_name

    for file in files:
        if file is not None:
            inputs.refuse(file)
            if not file.parent.is_dir():
                raise UserError(f"cannot write {file}: there is no folder {file.parent}; make it first")
            clean_leftovers(file.parent)
            probe = file.parent / unfinished_name()
            probe.touch()
            probe.unlink()


def read_lpips(weights: LpipsOptions) -> Lpips | None:
    from unrender.evaluate.metrics.lpips import Lpips

    wanted = weights.lpips or weights.lpips_linear
    return Lpips.read(weights.lpips, weights.lpips_linear) if wanted else None


def _tell(report: Report, files: ReportOptions, facts: dict[str, str]) -> None:
    """Prints the report's table, and writes the files asked for: `facts` say of what they are."""
    import json

    from unrender.evaluate.report import as_dict, markdown, table
    from unrender.files.atomic import atomic_write

    print(table(report))
    if files.json:
        with atomic_write(files.json) as path:
            path.write_text(json.dumps(facts | as_dict(report), indent=2) + "\n", encoding="utf-8")
    if files.markdown:
        named = ", ".join(f"{name} `{value}`" for name, value in facts.items())
        with atomic_write(files.markdown) as path:
            path.write_text(f"{markdown(report)}\n{named}\n", encoding="utf-8")


add_verb(app, "maps", maps)
add_verb(app, "forward", forward)
add_verb(app, "clips", clips)
add_verb(app, "light", light)
add_verb(app, "pictures", pictures)
add_verb(app, "text-to-image", text_to_image)
add_verb(app, "multiview", multiview)
