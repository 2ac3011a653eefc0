"""`unrender train RECIPE`: weights from ground truth."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from unrender.cli.progress import progress_bar
from unrender.cli.run_record import RunRecord
from unrender.cli.verb import add_verb

app = typer.Typer(name="train", help="Train a model. Stopped, the same command goes on where it was.")


@dataclass(frozen=True)
class E2EJob:
    """What to train, and on what."""

    data: Annotated[Path, typer.Option(metavar="DIR", help="A folder that `unrender synth` has written.")]
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help="A new folder, or one that the same command began.")
    ]
    recipe: Annotated[
        Literal["mini", "smoke"], typer.Option(help="`smoke` is minutes long and only shows that it runs.")
    ] = "mini"
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Optimiser steps; the recipe's own.")] = None
    start: Annotated[str | None, typer.Option(metavar="FOLDER", help="Weights to start from; none.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Of weights, pictures and order.")] = 0


def e2e(job: E2EJob) -> None:
    """Train a single-step inverse renderer end to end through its decoder (E2E-FT), with the losses of the task."""
    from unrender.files.shards import read_clips
    from unrender.train.data import load_stills
    from unrender.train.e2e import RECIPES, train

    record = RunRecord("train e2e", (job,))
    known = RECIPES[job.recipe]
    recipe = replace(known, steps=job.steps or known.steps, start=job.start, seed=job.seed)
    with record.stage("load"):
        stills = load_stills(clip.gbuffer for clip in read_clips(job.data, others=False))
    with record.stage("train"), progress_bar("training") as show:
        model = train(recipe, stills, job.out, lambda step, loss: show(step, recipe.steps))
    record.write(job.out / "run.json")
    print(model)


add_verb(app, "e2e", e2e)
app.callback()(lambda: None)  # keeps `e2e` a word of its own while it is the only recipe
