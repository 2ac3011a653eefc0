"""`unrender evaluate claims`: what papers claim, beside what models trained here do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.cli.evaluate import LpipsOptions, app, check_files, read_lpips
from unrender.cli.guard import InputFiles
from unrender.cli.options import ComputeOptions
from unrender.cli.progress import progress_bar
from unrender.cli.verb import add_verb
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.evaluate.claims.contestant import Kind
    from unrender.evaluate.claims.items import Items
    from unrender.evaluate.claims.models import ContestSettings
    from unrender.scene.frames import Frames


@dataclass(frozen=True)
class ClaimsJob:
    """Which claims, and what they are measured with."""

    models: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the model folders; docs/claims.md.")]
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder that `unrender synth --split test` has written.")
    ] = None
    photos: Annotated[Path | None, typer.Option(metavar="DIR", help="Real photos, for claims about them.")] = None
    pairs: Annotated[Path | None, typer.Option(metavar="DIR", help="A folder of `unrender synth --insertion`.")] = None
    views: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of `unrender synth --split test --cameras 8`.")
    ] = None
    video: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder of `unrender synth --split test --frames 8 --lights 1`."),
    ] = None
    only: Annotated[str, typer.Option(metavar="ID,ID,...", help="These rows only; all.")] = ""
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="The first N items of each kind only.")] = 32
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the table, .md, too.")] = None
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all figures as JSON too.")] = None


@dataclass(frozen=True)
class ContestOptions:
    """How long some of the contests are; written beside the figures."""

    path_views: Annotated[int, typer.Option(min=3, metavar="N", help="Views of the long path of `views-drift`.")] = 100
    guided_steps: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of each light that a diffusion model guides; DiPIR has 600.")
    ] = 60
    personalise_steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of teaching it each photo; the recipe's own.")
    ] = None
    concepts: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pictures of the object's class in that; DiPIR has 36.")
    ] = 12
    samples: Annotated[int, typer.Option(min=1, metavar="N", help="Light paths a pixel of composites.")] = 64
    video_steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Denoising steps of video models; their cards' own, 20.")
    ] = None


@dataclass(frozen=True)
class Personaliser:
    """Teaches a text-to-image model photos, each once: what was taught is kept in the user's cache.

    Attributes:
        conditions: how long.
        seed: of it.
    """

    conditions: ContestSettings
    seed: int

    def prompt(self, class_name: str) -> str:
        """What a photo with an object of the class is called."""
        from unrender.train.personalise import PersonaliseRecipe

        return PersonaliseRecipe(class_name=class_name).guidance_prompt

    def adapters(self, base: Path, photo: Frames, class_name: str, *, preserved: bool) -> Path:
        """The folder of adapters that know the photo; `preserved`: and the class."""
        from unrender.train.personalise import personalised, recipe_for

        known = recipe_for(str(base))
        steps = self.conditions.personalise_steps or known.config.steps
        return personalised(
            replace(
                known,
                class_name=class_name,
                config=replace(known.config, steps=steps, seed=self.seed),
                concepts=self.conditions.concepts,
                preservation=known.preservation if preserved else 0.0,
            ),
            photo,
        )


def claims(job: ClaimsJob, contest: ContestOptions, weights: LpipsOptions, compute: ComputeOptions) -> None:
    """Print papers' claims beside what trained models do on held-out scenes, with verdicts, as a Markdown table."""
    if job.out is not None and job.out.suffix.lower() != ".md":
        raise UserError(f"-o {job.out}: the table is Markdown; expected a file ending in .md")
    if all(folder is None for folder in _folders(job).values()):
        raise UserError("nothing to measure on; expected --data, --photos, --pairs, --views or --video")
    import json

    from unrender.diffusion.options import InferenceOptions
    from unrender.evaluate.claims.catalogue import claims_named
    from unrender.evaluate.claims.models import ContestSettings, Models
    from unrender.evaluate.claims.run import evaluate_claims
    from unrender.evaluate.claims.table import Setting, as_plain, markdown
    from unrender.files.atomic import atomic_write

    inputs = InputFiles(*_folders(job).values(), weights.lpips, weights.lpips_linear, models=(job.models,))
    check_files((job.out, job.json), inputs)
    chosen = claims_named(job.only)
    conditions = ContestSettings(**asdict(contest))
    inference = InferenceOptions(compute.device, compute.dtype)
    teacher = Personaliser(conditions, compute.seed)
    models = Models(job.models, inference, compute.seed, conditions, teacher, read_lpips(weights))
    items = _items(job)
    with progress_bar("measuring") as show:
        findings = evaluate_claims(items, models, show, chosen)
    names = {kind: folder.resolve().name for kind, folder in _folders(job).items() if folder is not None}
    setting = Setting(names, compute.seed, conditions)
    table = markdown(findings, setting)
    if job.out:
        with atomic_write(job.out) as path:
            path.write_text(table, encoding="utf-8")
    if job.json:
        with atomic_write(job.json) as path:
            path.write_text(json.dumps(as_plain(findings, setting), indent=2) + "\n", encoding="utf-8")
    print(table, end="")


def _folders(job: ClaimsJob) -> dict[Kind, Path | None]:
    """Where the items of each kind come from."""
    return {
        "pictures": job.data,
        "relit": job.data,
        "photos": job.photos,
        "pairs": job.pairs,
        "views": job.views,
        "clips": job.video,
        "relit_clips": job.video,
    }


def _items(job: ClaimsJob) -> Items:
    from unrender.evaluate.claims.clips.contest import clip_cases
    from unrender.evaluate.claims.insertions.pairs import read_pairs
    from unrender.evaluate.claims.items import Items
    from unrender.evaluate.claims.run import read_photos
    from unrender.evaluate.claims.views.contest import view_sets
    from unrender.evaluate.scenes import scenes_of
    from unrender.files.shards import read_clips

    scenes = scenes_of(islice(read_clips(job.data), job.clips), "evaluate claims") if job.data else ()
    return Items(
        list(scenes),
        read_photos(job.photos, job.clips) if job.photos else [],
        list(islice(read_pairs(job.pairs), job.clips)) if job.pairs else [],
        list(islice(view_sets(read_clips(job.views)), job.clips)) if job.views else [],
        list(islice(clip_cases(read_clips(job.video)), job.clips)) if job.video else [],
    )


add_verb(app, "claims", claims)
