"""What `unrender insert` is guided by: a text-to-image model, taught the picture first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrender.cli.engines import checkpoint_facts
from unrender.cli.options import ComputeOptions
from unrender.cli.progress import progress_bar
from unrender.cli.run_record import RunRecord
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.diffusion.score_distillation import ScoreDistillation
    from unrender.scene.frames import Frames
    from unrender.train.personalise import PersonaliseRecipe

DEFAULT_BASE = "mini-t2i"


@dataclass(frozen=True)
class GuidanceOptions:
    """What finds the light where none is given."""

    guidance: Annotated[
        Literal["none", "lds", "sds"],
        typer.Option(
            help="none: the picture's own shading. lds: from there on, a text-to-image model that was taught the "
            "picture (DiPIR). sds: the same model by its prompt, for comparison."
        ),
    ] = "none"
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help=f"Its model: an id, or a folder in Stable Diffusion's layout.  [default: {DEFAULT_BASE}]",
        ),
    ] = None
    personalise: Annotated[
        Literal["yes", "none"] | None,
        typer.Option(help="Teach the model the picture first, once for each picture, or not.  [default: yes]"),
    ] = None
    personalise_steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Optimiser steps of that; the recipe's own.")
    ] = None
    concepts: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Pictures of the class that keep its look in that; the paper has 200 outdoors.  [default: 36]",
        ),
    ] = None


def guidance_recipe(options: GuidanceOptions, class_name: str, *, light_given: bool) -> PersonaliseRecipe | None:
    """What the guiding model is, is told and is taught; None without one.

    Raises:
        UserError: options of a guidance that is not asked for or not needed, no class name, no such model.
    """
    if options.guidance == "none":
        _check_unused(options, "--guidance lds or sds, which is none")
        return None
    if light_given:
        raise UserError(f"--guidance {options.guidance} beside --light, which it would look for; expected one of them")
    if not class_name.strip():
        raise UserError(
            f"--guidance {options.guidance} without --class-name; expected what the object is, in a word or two: chair"
        )
    if options.personalise == "none":
        _check_unused(replace(options, base=None, personalise=None), "--personalise yes, which is none")
    from unrender.train.personalise import recipe_for

    recipe = recipe_for(options.base or DEFAULT_BASE)
    config, concepts = recipe.config, recipe.concepts
    return replace(
        recipe,
        config=replace(config, steps=options.personalise_steps or config.steps),
        concepts=concepts if options.concepts is None else options.concepts,
        class_name=class_name,
    )


def guiding_model(
    recipe: PersonaliseRecipe, options: GuidanceOptions, photo: Frames, compute: ComputeOptions, record: RunRecord
) -> ScoreDistillation:
    """The model, taught `photo` if that is asked for; noted in the record."""
    from unrender.diffusion.options import InferenceOptions
    from unrender.diffusion.score_distillation import DistillationOptions, ScoreDistillation

    adapters = None
    if options.personalise != "none":
        from unrender.train.personalise import personalised

        steps = recipe.config.steps
        with record.timed("personalise"), progress_bar("personalising") as show:
            adapters = personalised(recipe, photo, lambda step, loss: show(step, steps))
    kind = "sds" if options.guidance == "sds" else "lds"
    # Half precision would drown what guides, the small difference of two answers: it has to be asked for.
    dtype = "float32" if compute.dtype == "auto" else compute.dtype
    with record.timed("load"):
        model = ScoreDistillation.from_pretrained(
            recipe.base,
            recipe.guidance_prompt,
            adapters=adapters,
            options=DistillationOptions(kind, seed=compute.seed),
            inference=InferenceOptions(compute.device, dtype),
        )
    taught = {"steps": recipe.config.steps, "concepts": recipe.concepts, "rank": recipe.lora.rank}
    record.facts["guided_by"] = {
        "kind": kind,
        "base": checkpoint_facts(model.engine.checkpoint),
        "prompt": recipe.guidance_prompt,
        "personalised": None if adapters is None else taught,
    }
    return model


def _check_unused(options: GuidanceOptions, owner: str) -> None:
    for name in ("base", "personalise", "personalise_steps", "concepts"):
        value = getattr(options, name)
        if value is not None:
            raise UserError(f"--{name.replace('_', '-')} {value}: it is that of {owner}")
