"""`unrender train RECIPE`: weights from ground truth."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from unrender.cli.guard import refuse_folder
from unrender.cli.messages import one_line
from unrender.cli.progress import progress_bar
from unrender.cli.run_record import RECORD, RunRecord
from unrender.cli.verb import add_verb

StillKind = Literal["maps", "lit", "captioned"]
"""What a recipe learns from: pictures with their maps, with their lights too, or with words."""

app = typer.Typer(name="train", help="Train a model. Stopped, the same command goes on where it was.")


@dataclass(frozen=True)
class RunOptions:
    """The options of every recipe."""

    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help="A new folder, or one that the same command began.")
    ]
    data: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of `unrender synth`; again for more.")
    ] = None
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DIR", help="A public dataset (hypersim, vkitti2, ...); more.")
    ] = None
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep what is read of the shards here.")] = None
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Optimiser steps; the recipe's own.")] = None
    hours: Annotated[
        float | None, typer.Option(metavar="H", help="End after so many hours of training, if not after the steps.")
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Of weights, pictures, order and noise.")] = 0
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the whole recipe, and stop.")] = False


@dataclass(frozen=True)
class ModelOptions:
    """What a model starts from, and what of it is trained."""

    task: Annotated[Literal["inverse", "forward"], typer.Option(help="Picture to maps, or maps to picture.")] = (
        "inverse"
    )
    start: Annotated[str | None, typer.Option(metavar="MODEL", help="A model's id or folder to start from.")] = None
    autoencoder: Annotated[
        str | None, typer.Option(metavar="DIR", help="Start from nothing but this, of `unrender train vae`.")
    ] = None
    base: Annotated[
        str | None, typer.Option(metavar="DIR", help="Start from Stable Diffusion 2, widened for --card.")
    ] = None
    card: Annotated[
        str | None, typer.Option(metavar="ID", help="The published model whose habits the base is to learn.")
    ] = None
    lora: Annotated[int, typer.Option(min=0, metavar="RANK", help="Train adapters of this rank; 0: all weights.")] = 0


@dataclass(frozen=True)
class VaeJob:
    """Which recipe."""

    recipe: Annotated[
        Literal["mini", "photos", "smoke"],
        typer.Option(help="`photos` is for text-to-image; `smoke` only shows that it runs."),
    ] = "mini"


@dataclass(frozen=True)
class PretrainJob:
    """Which recipe, and how much of it is for sampling in few steps."""

    recipe: Annotated[Literal["mini", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = "mini"
    terminal: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="SHARE", help="Of views noised fully, at t = T.")
    ] = None


@dataclass(frozen=True)
class E2EJob:
    """Which recipe, and what its one step starts from."""

    recipe: Annotated[
        Literal["paper", "mini", "scratch", "long", "accelerator", "smoke"],
        typer.Option(
            help="`scratch` starts from nothing, `long` for hours; `smoke` learns a few pictures by heart in minutes."
        ),
    ] = "mini"
    noise: Annotated[Literal["zeros", "gaussian", "multi_resolution"], typer.Option(help="Of the one step.")] = "zeros"


@dataclass(frozen=True)
class DetailJob:
    """Which recipe, over which model."""

    recipe: Annotated[Literal["mini", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = "mini"
    task: Annotated[Literal["inverse", "forward"], typer.Option(help="Picture to maps, or maps to picture.")] = (
        "inverse"
    )
    start: Annotated[str, typer.Option(metavar="MODEL", help="A model's id or folder, which stays as it is.")] = "mini"
    hint: Annotated[
        Literal["split_sum", "screen_space"], typer.Option(help="The first render that a forward one mends.")
    ] = "split_sum"


@dataclass(frozen=True)
class GuessedLightJob:
    """Which recipe, and whose maps it learns from."""

    recipe: Annotated[Literal["mini", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = "mini"
    inverse: Annotated[str, typer.Option(metavar="MODEL", help="The inverse model whose maps are looked at.")] = "mini"


@dataclass(frozen=True)
class OuroborosJob:
    """What to train together, and how."""

    inverse: Annotated[str, typer.Option(metavar="MODEL", help="A single-step inverse model to start from.")] = "mini"
    forward: Annotated[str, typer.Option(metavar="MODEL", help="A single-step forward model to start from.")] = "mini"
    photos: Annotated[Path | None, typer.Option(metavar="DIR", help="Real photos, whose maps nobody knows.")] = None
    recipe: Annotated[Literal["mini", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = "mini"
    noise: Annotated[Literal["zeros", "gaussian", "multi_resolution"], typer.Option(help="Of the one step.")] = (
        "multi_resolution"
    )
    cycles: Annotated[bool, typer.Option("--cycles/--no-cycles", help="Without cycles: the task losses alone.")] = True
    lora: Annotated[int, typer.Option(min=0, metavar="RANK", help="Train adapters of this rank; 0: all weights.")] = 0


@dataclass(frozen=True)
class TextToImageJob:
    """Which recipe, and the autoencoder that it learns with, or the model that it goes on from."""

    autoencoder: Annotated[
        str, typer.Option(metavar="DIR", help="The model that `unrender train vae --recipe photos` wrote.")
    ] = ""
    start: Annotated[
        str, typer.Option(metavar="MODEL", help="In its place, a model to go on from: an id or a folder.")
    ] = ""
    recipe: Annotated[Literal["mini", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = "mini"


@dataclass(frozen=True)
class PersonaliseJob:
    """Which picture is taught to which model."""

    target: Annotated[Path, typer.Argument(metavar="PICTURE", help="The picture whose look is to be learnt.")]
    class_name: Annotated[str, typer.Option(metavar="WORDS", help="What is to be inserted into it, as chair.")]
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help="A new folder, or one that the same command began.")
    ]
    base: Annotated[
        str,
        typer.Option(metavar="MODEL", help="A text-to-image model: an id, or a folder in Stable Diffusion's layout."),
    ] = "mini-t2i"
    concepts: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Pictures of the class that keep its look; the paper has 200 outdoors."),
    ] = 36
    rank: Annotated[int, typer.Option(min=1, metavar="R", help="Of the adapters.")] = 4
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="Optimiser steps; the recipe's own.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Of weights, pictures, order and noise.")] = 0
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the whole recipe, and stop.")] = False


@dataclass(frozen=True)
class ViewDiffJob:
    """Which recipe, and what learns."""

    recipe: Annotated[Literal["paper", "mini", "smoke"], typer.Option(help="`smoke` only shows that it runs.")] = "mini"
    base: Annotated[
        str,
        typer.Option(metavar="MODEL", help="A text-to-image model: a folder in Stable Diffusion's layout, or an id."),
    ] = ""
    side: Annotated[int, typer.Option(min=16, metavar="PIXELS", help="Of captures, as they are kept.")] = 256
    per_capture: Annotated[int, typer.Option(min=2, metavar="N", help="Views that are read of each capture.")] = 100
    projection: Annotated[
        Literal["paper", "released", "none"] | None,
        typer.Option(help="Where projection layers are, or none at all; the recipe's own."),
    ] = None
    cross_frame: Annotated[
        bool, typer.Option("--cross-frame/--no-cross-frame", help="Without: each view attends to itself alone.")
    ] = True


def vae(job: VaeJob, options: RunOptions) -> None:
    """Train an autoencoder of photos and maps, from nothing."""
    from unrender.train.vae import RECIPES, train_vae

    run_recipe(
        "vae", (job, options), RECIPES[job.recipe], train_vae, kind="captioned" if job.recipe == "photos" else "maps"
    )


def pretrain(job: PretrainJob, model: ModelOptions, options: RunOptions) -> None:
    """Train a multi-step diffusion model, as Marigold and RGB<->X are."""
    from unrender.train.pretrain import RECIPES
    from unrender.train.pretrain import pretrain as train

    recipe = _started(RECIPES[job.recipe], model)
    recipe = recipe if job.terminal is None else replace(recipe, terminal=job.terminal)
    run_recipe("pretrain", (job, model, options), recipe, train, kind=_kind(model))


def e2e(job: E2EJob, model: ModelOptions, options: RunOptions) -> None:
    """Train a single-step model end to end through its decoder (E2E-FT), with the losses of the task."""
    from unrender.train.e2e import RECIPES, train_e2e

    recipe = _started(RECIPES[job.recipe], model)
    run_recipe("e2e", (job, model, options), replace(recipe, noise=job.noise), train_e2e, kind=_kind(model))


def detail(job: DetailJob, options: RunOptions) -> None:
    """Train what brings a model's answer to the picture's own resolution."""
    from unrender.train.detail import RECIPES, train_detail
    from unrender.train.start import Start

    recipe = replace(RECIPES[job.recipe], start=Start(job.task, job.start), hint=job.hint)
    kind: StillKind = "lit" if job.task == "forward" else "maps"
    run_recipe("detail", (job, options), recipe, train_detail, load=lambda: _stills(options, kind, hint=job.hint))


def light(job: GuessedLightJob, options: RunOptions) -> None:
    """Train the network that guesses the light of a photo, of `unrender synth` under known lights."""
    from unrender.train.light import RECIPES, train_light

    run_recipe("light", (job, options), RECIPES[job.recipe], train_light, load=lambda: _light_examples(job, options))


def _light_examples(job: GuessedLightJob, options: RunOptions) -> Any:
    from unrender.errors import UserError
    from unrender.inverse.renderer import InverseRenderer
    from unrender.train.light_data import load_light_examples

    if options.dataset or not options.data:
        raise UserError("lights are known of `unrender synth` alone; expected --data DIR, without --dataset")
    return load_light_examples(options.data, InverseRenderer.from_pretrained(job.inverse), options.cache)


def ouroboros(job: OuroborosJob, options: RunOptions) -> None:
    """Train an inverse and a forward model together, each held to what the other makes of it (Ouroboros)."""
    from functools import partial

    from unrender.diffusion.lora import Lora
    from unrender.train.datasets import load_dataset
    from unrender.train.ouroboros import RECIPES, train_ouroboros
    from unrender.train.start import Start

    known = RECIPES[job.recipe]
    recipe = replace(
        known,
        inverse=Start("inverse", job.inverse),
        forward=Start("forward", job.forward),
        noise=job.noise,
        photo_cycle=known.photo_cycle if job.cycles else 0.0,
        maps_cycle=known.maps_cycle if job.cycles else 0.0,
        lora=Lora(job.lora, job.lora) if job.lora else None,
    )
    photos = None if job.photos is None else load_dataset("photos", job.photos)
    run_recipe("ouroboros", (job, options), recipe, partial(train_ouroboros, photos=photos), kind="lit")


def text_to_image(job: TextToImageJob, options: RunOptions) -> None:
    """Train a small text-to-image model, from nothing or on, of synthetic stills and the words for them."""
    from unrender.train.text_to_image import RECIPES, train_text_to_image

    recipe = replace(RECIPES[job.recipe], autoencoder=job.autoencoder, start=job.start)
    run_recipe("text-to-image", (job, options), recipe, train_text_to_image, kind="captioned")


def personalise(job: PersonaliseJob) -> None:
    """Teach a text-to-image model one picture by adapters, so that it can guide what is inserted there (DiPIR)."""
    from unrender.diffusion.lora import Lora
    from unrender.files.images import read_image
    from unrender.train.personalise import personalise as train
    from unrender.train.personalise import recipe_for

    adapters = Lora(job.rank, job.rank)
    recipe = replace(recipe_for(job.base), class_name=job.class_name, concepts=job.concepts, lora=adapters)
    run_recipe("personalise", (job,), recipe, train, load=lambda: read_image(job.target))


def viewdiff(job: ViewDiffJob, options: RunOptions) -> None:
    """Teach a text-to-image model to make views that agree (ViewDiff).

    Sets come from `unrender synth --cameras 5`, or from captures: --dataset co3d=ROOT/CATEGORY, --dataset uco3d=ROOT.
    """
    from unrender.train.viewdiff import RECIPES, train_viewdiff

    known = RECIPES[job.recipe]
    layers = replace(
        known.layers,
        projection=job.projection or known.layers.projection,
        others=known.layers.others if job.cross_frame else 0,
    )
    recipe = replace(known, base=job.base, layers=layers)
    run_recipe("viewdiff", (job, options), recipe, train_viewdiff, load=lambda: _view_sets(job, options, recipe.layers))


def _view_sets(job: ViewDiffJob, options: RunOptions, layers: Any) -> Any:
    from unrender.errors import UserError
    from unrender.files.datasets.sequences import read_co3d_sequences, read_uco3d_sequences
    from unrender.files.shards import read_clips
    from unrender.train.view_sets import captured_views, synthetic_views

    sets = [one for folder in options.data or () for one in synthetic_views(read_clips(folder), layers)]
    for text in options.dataset or ():
        name, _, where = text.partition("=")
        if name == "co3d" and where:
            sequences = read_co3d_sequences(Path(where).parent, Path(where).name)
        elif name == "uco3d" and where:
            sequences = read_uco3d_sequences(where)
        else:
            raise UserError(f"--dataset {text}; expected co3d=ROOT/CATEGORY or uco3d=ROOT")
        sets += captured_views(sequences, layers, job.side, job.per_capture)
    return sets


def _started(recipe: Any, model: ModelOptions) -> Any:
    """The recipe with the caller's start; where there is none, its own."""
    from unrender.diffusion.lora import Lora
    from unrender.train.start import Start

    lora = Lora(model.lora, model.lora) if model.lora else recipe.lora
    start = Start(model.task, model.start, model.autoencoder, model.base, model.card)
    own = replace(recipe.start, task=model.task)
    given = replace(start, scratch=own.scratch)
    return replace(recipe, start=own if start == Start(model.task) else given, lora=lora)


def _kind(model: ModelOptions) -> StillKind:
    return "lit" if model.task == "forward" else "maps"


def run_recipe(
    name: str,
    jobs: tuple[Any, ...],
    recipe: Any,
    train: Callable[..., Path],
    *,
    kind: StillKind = "maps",
    load: Callable[[], Any] | None = None,
) -> None:
    """Runs a recipe on what `load` gives; on the stills that the options name, of a kind, where it is None."""
    from unrender.files.atomic import atomic_write
    from unrender.train.recipe import resolved

    options: RunOptions | PersonaliseJob = jobs[-1]
    config = replace(
        recipe.config,
        steps=options.steps or recipe.config.steps,
        seed=options.seed,
        hours=getattr(options, "hours", None) or recipe.config.hours,
    )
    recipe = replace(recipe, config=config)
    if options.dry_run:
        print(resolved(recipe), end="")
        return
    refuse_folder(options.out, *_folders(jobs))
    record = RunRecord(f"train {name}", jobs)
    with record.timed("load"):
        material = load() if load else _stills(jobs[-1], kind)
    with record.timed("train"), progress_bar("training") as show:
        model = train(recipe, material, options.out, lambda step, loss: show(step, config.steps))
    if os.environ.get("RANK", "0") == "0":  # of several processes the first one reports
        with atomic_write(options.out / RECORD) as path:
            record.write(path)
        print(one_line(str(model), 1 << 16))


def _folders(jobs: tuple[Any, ...]) -> list[str | Path]:
    """The folders that a run is told to read."""
    names = ("start", "autoencoder", "base", "inverse", "forward", "photos", "target", "environment")
    named = [getattr(job, name, None) for job in jobs for name in names]
    shards = [folder for job in jobs for name in ("data", "real") for folder in getattr(job, name, None) or ()]
    datasets = [text.partition("=")[2] for job in jobs for text in getattr(job, "dataset", None) or ()]
    return [*shards, *datasets, *filter(None, named)]


def _stills(options: RunOptions, kind: StillKind, hint: str = "split_sum") -> Any:
    from unrender.errors import UserError
    from unrender.train.captioned import load_captioned
    from unrender.train.data import join
    from unrender.train.datasets import dataset_named, load_dataset

    named = [dataset_named(text) for text in options.dataset or ()]
    if not (options.data or named):
        raise UserError("nothing to train on; expected --data DIR of `unrender synth`, or --dataset NAME=DIR")
    if kind == "captioned":
        if named or not options.data:
            raise UserError("only pictures of `unrender synth` come with their words; expected --data DIR of it alone")
        return load_captioned(options.data, options.cache)
    sets = [_synthetic(options.data, options.cache, lit=kind == "lit", hint=hint)] if options.data else []
    if named and options.cache is not None and sets:
        sets = [sets[0].in_memory()]
    sets += [load_dataset(name, folder) for name, folder in named]
    return sets[0] if len(sets) == 1 else join(sets)


def _synthetic(folders: list[Path], cache: Path | None, *, lit: bool, hint: Any) -> Any:
    from unrender.diffusion.card import LightTokens
    from unrender.files.shards import read_clips
    from unrender.train.data import lit_frames, load_lit_still_dataset, load_still_dataset
    from unrender.train.packed import are_packed, packed

    if cache is not None or are_packed(folders):
        return packed(cache or folders[0], folders, LightTokens() if lit else None, hint)
    frames = (frame for folder in folders for clip in read_clips(folder) for frame in lit_frames(clip))
    return (
        load_lit_still_dataset(frames, LightTokens()) if lit else load_still_dataset(gbuffer for gbuffer, _ in frames)
    )


for verb in (vae, pretrain, e2e, detail, light, ouroboros, text_to_image, personalise, viewdiff):
    add_verb(app, verb.__name__.replace("_", "-"), verb)
