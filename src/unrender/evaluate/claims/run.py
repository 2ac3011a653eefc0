"""All claims on what there is to measure them with."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unrender.device import choose_compute
from unrender.diffusion.options import InferenceOptions
from unrender.errors import UserError
from unrender.evaluate.claims.catalogue import CLAIMS
from unrender.evaluate.claims.claim import Claim
from unrender.evaluate.claims.clips.contest import CLIPS
from unrender.evaluate.claims.contest import Discipline, measure
from unrender.evaluate.claims.contestant import Contestant, Kind, Task
from unrender.evaluate.claims.insertions.contest import PAIRS
from unrender.evaluate.claims.items import Items
from unrender.evaluate.claims.judging import Answer, Evidence, Verdict, judge
from unrender.evaluate.claims.models import Models
from unrender.evaluate.claims.stills.contest import PICTURES, measure_photos
from unrender.evaluate.claims.training import how_to_train
from unrender.evaluate.claims.views.contest import VIEWS
from unrender.files.images import PICTURE_SUFFIXES, read_image
from unrender.scene.frames import Frames
from unrender.scene.resize import resize_frames

PHOTO_SIDE = 256
"""Long side in pixels to which real photos are resized; small networks see no more of them."""


@dataclass(frozen=True)
class Outcome:
    """A claim, what was measured for it, and the verdict."""

    claim: Claim
    answers: dict[Contestant, Answer]
    verdict: Verdict


@dataclass(frozen=True)
class Findings:
    """The outcome of a run.

    Attributes:
        outcomes: one for each claim.
        items: what they were measured on.
        machine: what it ran on, in words.
    """

    outcomes: tuple[Outcome, ...]
    items: Items
    machine: str


DISCIPLINES: dict[Kind, Discipline] = {
    "pictures": PICTURES,
    "relit": PICTURES,
    "pairs": PAIRS,
    "views": VIEWS,
    "clips": CLIPS,
    "relit_clips": CLIPS,
}
"""How contestants answer for items of each kind, but for photos (`measure_photos`)."""


def evaluate_claims(
    items: Items,
    models: Models,
    report: Callable[[int, int], None] | None = None,
    claims: Sequence[Claim] = (),
) -> Findings:
    """Measures what can be measured, and judges it. What is missing is named in its claim's verdict.

    Args:
        items: held out of training.
        report: called with the number of results done, and the total.
        claims: which; all when empty.
    """
    claims = claims or CLAIMS
    lacks = items.lacks()
    lacking = {claim: _lacking(claim, models, lacks) for claim in claims}
    wanted = dict.fromkeys(one for claim in claims if not lacking[claim] for one in _present(claim, models))
    count, done = sum(len(items.of(one.kind)) for one in wanted), 0

    def progress() -> None:
        nonlocal done
        done += 1
        if report is not None:
            report(done, count)

    evidence: dict[Contestant, Answer] = {}
    for kind in dict.fromkeys(one.kind for one in wanted):
        contestants = [one for one in wanted if one.kind == kind]
        if kind == "photos":
            evidence |= measure_photos(contestants, items.photos, models, progress)
        else:
            evidence |= measure(DISCIPLINES[kind], contestants, items.of(kind), models, progress)
    outcomes = tuple(_outcome(claim, lacking[claim], evidence) for claim in claims)
    return Findings(outcomes, items, machine(models.inference))


def read_photos(folder: Path, count: int | None = None) -> list[Frames]:
    """The pictures of a folder in the order of their names, at most `PHOTO_SIDE` pixels on the long side.

    Raises:
        UserError: there are none, or one cannot be read.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise UserError(f"no pictures in {folder}; expected a folder of photos")
    return [_small(read_image(path)) for path in paths[:count]]


def machine(inference: InferenceOptions) -> str:
    """What networks run on, in words."""
    compute = choose_compute(inference.device, inference.dtype)
    precision = str(compute.dtype).removeprefix("torch.")
    device = torch.cuda.get_device_name(compute.device) if compute.device.type == "cuda" else compute.device.type
    return (
        f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; networks on {device} in "
        f"{precision}; torch {torch.__version__}, Python {platform.python_version()}"
    )


def _lacking(claim: Claim, models: Models, data: Mapping[Task, str]) -> str:
    """What is missing to measure a claim, and how to get it; "" where everything is there.

    Args:
        data: by task, what the pictures lack for it, "" for nothing.
    """
    missing = dict.fromkeys(name for rule in claim.rules for one in rule.contestants for name in models.missing(one))
    reasons = [f"no folder {name}: `{how_to_train(name, models.folder)}`" for name in missing]
    tasks = dict.fromkeys(one.task for one in claim.contestants)
    return "; ".join([*reasons, *(data[task] for task in tasks if data.get(task))])


def _present(claim: Claim, models: Models) -> list[Contestant]:
    return [one for one in claim.contestants if not models.missing(one)]


def _outcome(claim: Claim, lacking: str, evidence: Evidence) -> Outcome:
    if lacking:
        return Outcome(claim, {}, Verdict("not measured", lacking))
    answers = {one: evidence[one] for one in claim.contestants if one in evidence}
    return Outcome(claim, answers, judge(claim.rules, answers))


def _small(photo: Frames) -> Frames:
    scale = min(1.0, PHOTO_SIDE / max(photo.size))
    height, width = (max(1, round(side * scale)) for side in photo.size)
    return resize_frames(photo, (height, width))


def _processor() -> str:
    """The processor's name, where the system reports it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8", errors="replace").splitlines() if facts.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
