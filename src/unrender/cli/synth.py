"""`unrender synth`: random scenes with their whole truth."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from unrender.cli.guard import refuse_folder
from unrender.cli.messages import one_line
from unrender.cli.progress import progress_bar
from unrender.cli.run_record import RECORD, RunRecord
from unrender.cli.scaling import ScaleOptions, rate
from unrender.errors import UserError


@dataclass(frozen=True)
class SynthJob:
    """What to generate."""

    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or one that the same command began.")]
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="How many.")] = 100
    frames: Annotated[int, typer.Option(min=1, metavar="F", help="Of each clip; 1 makes stills.")] = 24
    resolution: Annotated[int, typer.Option(min=16, metavar="R", help="Height and width in pixels.")] = 160
    samples: Annotated[
        int, typer.Option(min=1, metavar="S", help="Light paths a pixel; rooms get four times as many.")
    ] = 36
    lights: Annotated[
        int, typer.Option(min=0, metavar="K", help="Other lights that the same frames are rendered under, too.")
    ] = 0
    cameras: Annotated[
        int, typer.Option(min=0, metavar="K", help="Other cameras that the same frames are seen from, too.")
    ] = 0
    assets: Annotated[Path | None, typer.Option(metavar="DIR", help="GLB and OBJ files, or furniture catalogues.")] = (
        None
    )
    hdris: Annotated[Path | None, typer.Option(metavar="DIR", help="HDR and EXR lights to draw from.")] = None
    normals: Annotated[Path | None, typer.Option(metavar="DIR", help="Pictures of normals that emboss surfaces.")] = (
        None
    )
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0
    split: Annotated[
        Literal["train", "test"], typer.Option(help="`test` has worlds and textures that `train` never sees.")
    ] = "train"
    preview: Annotated[bool, typer.Option("--preview", help="Also write preview.png, a contact sheet.")] = False
    insertion: Annotated[
        bool,
        typer.Option(
            "--insertion",
            help="Pictures with and without an object, N pairs, to measure insertion by; with --resolution, --samples "
            "and --seed alone.",
        ),
    ] = False


def synth(job: SynthJob, scale: ScaleOptions) -> None:
    """Render random scenes with their truth.

    Mitsuba renders them into shards. Stopped, the same command goes on where it was.
    """
    import trimesh  # noqa: F401  # of an extra: that it is missing is said here, and not by a worker

    from unrender.files.atomic import atomic_write
    from unrender.scale import WHOLE
    from unrender.synth import SynthRecipe, generate, preview

    refuse_folder(job.out, job.assets, job.hdris, job.normals)
    record = RunRecord("synth", (job, scale))
    part = scale.part
    if job.insertion:
        if scale.ray is not None or part != WHOLE:
            raise UserError("--ray or --shard beside --insertion; pairs are rendered by one process of this machine")
        _pairs(job, record)
        return
    recipe = SynthRecipe(
        job.clips,
        frames=job.frames,
        resolution=job.resolution,
        seed=job.seed,
        split=job.split,
        samples=job.samples,
        lights=job.lights,
        cameras=job.cameras,
        assets=job.assets,
        hdris=job.hdris,
        normals=job.normals,
    )
    with record.timed("render"), progress_bar("rendering", "frames") as show:
        workers = scale.workers or os.cpu_count() or 1
        report = generate(recipe, job.out, workers, show, part=part, executor=scale.cluster)
    record.facts |= {"shards": asdict(report)}
    if job.preview:
        with record.timed("preview"):
            preview(job.out, job.out / "preview.png")
    with atomic_write(job.out / scale.record_name(RECORD)) as path:
        record.write(path)
    what = "stills" if job.frames == 1 else f"clips of {job.frames} frames"
    mine = f", shard {scale.shard} of them" if part != WHOLE else ""
    there = f", {report.before} there before" if report.before else ""
    shards = f"{report.done} files rendered{there} in {rate(report.done, report.seconds)}"
    print(one_line(f"{job.out}: {job.clips} {what}{mine}; {shards}"))


def _pairs(job: SynthJob, record: RunRecord) -> None:
    """Renders pairs of pictures instead of clips."""
    from unrender.files.atomic import atomic_write
    from unrender.synth import generate_pairs

    plain = SynthJob(job.out)
    for name in ("frames", "lights", "cameras", "assets", "hdris", "split", "preview"):
        if getattr(job, name) != getattr(plain, name):
            raise UserError(f"--{name} beside --insertion, which has none; expected --clips, --resolution and --seed")
    samples = 256 if job.samples == plain.samples else job.samples
    with record.timed("render"), progress_bar("rendering", "pairs") as show:
        generate_pairs(job.out, job.clips, seed=job.seed, resolution=job.resolution, samples=samples, progress=show)
    with atomic_write(job.out / RECORD) as path:
        record.write(path)
    print(f"{one_line(str(job.out))}: {job.clips} pairs")
