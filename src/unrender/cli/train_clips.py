"""`unrender train`, the recipes of clips: temporal layers, and video models with their encoder of lights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from unrender.cli.train import RunOptions, app, run_recipe
from unrender.cli.verb import add_verb


@dataclass(frozen=True)
class TemporalJob:
    """Which recipe, and over which model."""

    recipe: Annotated[Literal["mini", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = "mini"
    start: Annotated[str, typer.Option(metavar="MODEL", help="The picture model that gets the layers.")] = "mini"
    task: Annotated[Literal["inverse", "forward"], typer.Option(help="Picture to maps, or maps to picture.")] = (
        "inverse"
    )
    steadiness: Annotated[
        float | None, typer.Option(min=0, metavar="W", help="Weight of the temporal loss; the recipe's own.")
    ] = None


@dataclass(frozen=True)
class EnvEncoderJob:
    """Which recipe, and whose latents."""

    recipe: Annotated[Literal["paper", "small", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = (
        "small"
    )
    start: Annotated[str | None, typer.Option(metavar="MODEL", help="A model whose VAE makes the latents.")] = None
    autoencoder: Annotated[
        str | None, typer.Option(metavar="DIR", help="Or an autoencoder of `unrender train vae`.")
    ] = None
    without: Annotated[
        Literal["log", "direction"] | None,
        typer.Option(help="A picture of lights that it is not shown, nor a model that attends to it (an ablation)."),
    ] = None


@dataclass(frozen=True)
class VideoJob:
    """What a video model starts from, and what of it is trained."""

    recipe: Annotated[Literal["paper", "small", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = (
        "small"
    )
    start: Annotated[str | None, typer.Option(metavar="MODEL", help="A video model's id or folder to start from.")] = (
        None
    )
    base: Annotated[str | None, typer.Option(metavar="DIR", help="Or Stable Video Diffusion (unet, vae), widened.")] = (
        None
    )
    autoencoder: Annotated[
        str | None, typer.Option(metavar="DIR", help="Or nothing but this, of `unrender train vae`.")
    ] = None
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of a window; the recipe's own.")] = None


@dataclass(frozen=True)
class LitVideoJob:
    """What only a forward video model learns from."""

    environment: Annotated[
        str | None, typer.Option(metavar="DIR", help="An encoder of lights, of `unrender train env-encoder`.")
    ] = None
    real: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Shards of labelled footage, learnt with an adapter; more.")
    ] = None
    adapter: Annotated[
        bool, typer.Option("--adapter/--no-adapter", help="Without: footage is learnt by the weights (an ablation).")
    ] = True
    levels: Annotated[
        bool, typer.Option("--levels/--no-levels", help="Without: the light's coarsest features alone (an ablation).")
    ] = True


def temporal(job: TemporalJob, options: RunOptions) -> None:
    """Train temporal layers over a picture model, which stays as it is, from clips: what a window of frames sees."""
    from unrender.train.start import Start
    from unrender.train.temporal import RECIPES, train_temporal

    known = RECIPES[job.recipe]
    steadiness = known.steadiness if job.steadiness is None else job.steadiness
    recipe = replace(known, start=Start(job.task, job.start), steadiness=steadiness)
    run_recipe(
        "temporal", (job, options), recipe, train_temporal, load=lambda: _moving(options, lit=job.task == "forward")
    )


def _moving(options: RunOptions, *, lit: bool) -> Any:
    from unrender.diffusion.card import LightTokens
    from unrender.errors import UserError
    from unrender.files.shards import read_clips
    from unrender.train.clips import load_training_clips

    if options.dataset or not options.data:
        raise UserError(
            "temporal layers learn from rendered clips with known motion; expected --data DIR, no --dataset"
        )
    clips = (clip for folder in options.data for clip in read_clips(folder, others=False))
    return load_training_clips(clips, LightTokens() if lit else None)


def env_encoder(job: EnvEncoderJob, options: RunOptions) -> None:
    """Train the encoder of environment maps that a forward video model attends to (DiffusionRenderer)."""
    from unrender.train.env_encoder import RECIPES, lights_of, train_env_encoder

    known = RECIPES[job.recipe]
    pictures = tuple(name for name in known.pictures if name != job.without)
    recipe = replace(known, autoencoder=job.autoencoder, model=job.start, pictures=pictures)
    run_recipe(
        "env-encoder", (job, options), recipe, train_env_encoder, load=lambda: lights_of(_rendered(options.data))
    )


def video_inverse(job: VideoJob, options: RunOptions) -> None:
    """Train a video model to give a clip's buffers, one at a time (DiffusionRenderer). Stills join as single frames."""
    from functools import partial

    from unrender.train.datasets import dataset_named, load_dataset
    from unrender.train.video import train_video_inverse
    from unrender.train.video_data import clips_of_stills, load_video_clips

    def load() -> Any:
        named = [dataset_named(text) for text in options.dataset or ()]
        stills = [clip for name, folder in named for clip in clips_of_stills(load_dataset(name, folder))]
        return [*(load_video_clips(_rendered(options.data)) if options.data or not stills else ()), *stills]

    train = partial(train_video_inverse, cache=options.cache)
    run_recipe("video-inverse", (job, options), _video_recipe(job, "inverse", None), train, load=load)


def video_forward(job: VideoJob, lit: LitVideoJob, options: RunOptions) -> None:
    """Train a video model to render buffers under a light (DiffusionRenderer)."""
    from functools import partial

    from unrender.train.video import train_video_forward
    from unrender.train.video_data import load_video_clips

    real = load_video_clips(_rendered(lit.real)) if lit.real and not options.dry_run else ()
    recipe = _video_recipe(job, "forward", lit.environment)
    start = replace(recipe.start, one_level=not lit.levels)
    recipe = replace(recipe, start=start, adapted=lit.adapter)
    train = partial(train_video_forward, real=real, cache=options.cache)
    run_recipe(
        "video-forward", (job, lit, options), recipe, train, load=lambda: load_video_clips(_rendered(options.data))
    )


def _video_recipe(job: VideoJob, task: Literal["inverse", "forward"], environment: str | None) -> Any:
    from unrender.train.video import RECIPES
    from unrender.train.video_start import VideoStart

    start = VideoStart(task, job.start, job.base, job.autoencoder, environment)
    known = replace(RECIPES[job.recipe], start=start)
    return known if job.frames is None else replace(known, frames=job.frames)


def _rendered(folders: list[Path] | None) -> Any:
    from unrender.errors import UserError
    from unrender.files.shards import read_clips

    if not folders:
        raise UserError("nothing to train on; expected --data DIR of `unrender synth`")
    return (clip for folder in folders for clip in read_clips(folder))


for verb in (temporal, env_encoder, video_inverse, video_forward):
    add_verb(app, verb.__name__.replace("_", "-"), verb)
