"""`unrender generate`: a picture from words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from unrender.cli.guard import InputFiles
from unrender.cli.options import ComputeOptions, Out, Steps
from unrender.cli.outputs import atomic_outputs, check_results, parse_destination
from unrender.cli.progress import track
from unrender.cli.run_record import RunRecord


@dataclass(frozen=True)
class GenerateJob:
    """What to make a picture of, and with what."""

    prompt: Annotated[str, typer.Argument(metavar="WORDS", help="What the picture is to show.")]
    out: Out
    model: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="A text-to-image model: an id, or a folder in Stable Diffusion's layout. mini-t2i is small: it gives "
            "colours and layout, 128 pixels a side.",
        ),
    ] = "mini-t2i"
    lora: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Adapters, as `unrender train personalise` writes them.")
    ] = None
    steps: Steps = None
    guidance: Annotated[
        float | None,
        typer.Option(min=0, metavar="G", help="How much words count: 1 no guidance, 0 no words at all; the model's."),
    ] = None
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="How many pictures.")] = 1


def generate(job: GenerateJob, compute: ComputeOptions) -> None:
    """Make a picture of words.

    Writes PNGs at the model's own size, and run.json.
    """
    destination = parse_destination(job.out, (".png", ".exr", ".jpg"))
    destination.check_frames(job.count)
    record = RunRecord("generate", (job, compute))
    with atomic_outputs(destination) as work_dir:
        with record.timed("load"):
            from unrender.diffusion.options import InferenceOptions
            from unrender.diffusion.text_to_image import TextToImage
            from unrender.files.images import write_image
            from unrender.files.numbering import is_pattern, numbered, plain

            name = destination.file or ("picture.png" if job.count == 1 else "picture.####.png")
            check_results(destination, (work_dir / name,), InputFiles(job.lora, models=(job.model,)))
            options = InferenceOptions(compute.device, compute.dtype)
            model = TextToImage.from_pretrained(job.model, options, lora=job.lora)
        with record.timed("generate"):
            tokens = model.embed([job.prompt])
            for index in track(range(job.count), "making pictures", job.count):
                made = model.of_tokens(tokens, steps=job.steps, guidance=job.guidance, seed=compute.seed + index)
                write_image(numbered(work_dir / name, index) if is_pattern(name) else plain(work_dir / name), made.rgb)
        record.write(work_dir / destination.record_name)
    destination.report()
