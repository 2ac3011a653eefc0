"""The one table, as Markdown and as plain values for JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from unrender.evaluate.claims.contestants import Contestant
from unrender.evaluate.claims.judging import Answer
from unrender.evaluate.claims.run import PHOTO_SIDE, Findings, Outcome
from unrender.evaluate.forward import SHADOWED_FIGURES
from unrender.evaluate.report import Figure, Report, as_dict
from unrender.evaluate.scenes import SHADOW_RULE

PROTOCOL = (
    "held-out synthetic scenes, the first frame of every clip; photo clipped to [0, 1]; forward renderers are "
    "given the true camera and light; mean over pictures of each picture's figure; mask `surface`: pixels whose "
    "surface coverage is above 0.9; depth after least-squares scale and shift; PSNR of values clipped to [0, 1]; "
    "margins are means of paired differences ± twice their standard error; time: median over pictures of the "
    "whole call, all answers to a picture one after the other in one run; cycles: rendered again by the irradiance "
    "among the maps, with no light, and brought to the photo's exposure by least squares; real photos: at most "
    f"{PHOTO_SIDE} pixels on the long side, mask `surface of all`: pixels that every pair takes for surface"
)

_HEAD = ("claim", "the paper", "judged by", "measured, and a picture's time", "on", "verdict")


@dataclass(frozen=True)
class Setting:
    """The conditions of a table: the data set, and the seed of all sampling."""

    data: str
    seed: int


def markdown(findings: Findings, setting: Setting) -> str:
    """One row for each claim; below, the protocol."""
    rows = [_row(outcome, setting) for outcome in findings.outcomes]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (_HEAD, ["---"] * len(_HEAD), *rows))
    return f"{lines}\n\nProtocol: {PROTOCOL}.\n\nCast shadows: {SHADOW_RULE}.\n\nMachine: {findings.machine}.\n"


def as_plain(findings: Findings, setting: Setting) -> dict[str, Any]:
    """All figures of all contestants, as plain values for JSON."""
    return {
        "data": setting.data,
        "seed": setting.seed,
        "pictures": findings.pictures,
        "with cast shadows": findings.shadowed,
        "under another light": findings.relit,
        "real photos": findings.photos,
        "machine": findings.machine,
        "protocol": PROTOCOL,
        "cast shadows": SHADOW_RULE,
        "claims": [_plain_outcome(outcome) for outcome in findings.outcomes],
    }


def _row(outcome: Outcome, setting: Setting) -> list[str]:
    claim, verdict = outcome.claim, outcome.verdict
    measured = "<br>".join(_measured(who, answer, claim.figures) for who, answer in outcome.answers.items())
    return [
        claim.id,
        f"{claim.paper}, {claim.where}: {claim.says}",
        claim.rule,
        measured or "-",
        _conditions(outcome, setting),
        f"**{verdict.word}**: {verdict.why}",
    ]


def _measured(who: Contestant, answer: Answer, figures: tuple[Figure, ...]) -> str:
    scores = answer.scores
    shown = [
        f"{figure.map} {figure.name} ({figure.space}) {scores[figure]:.3g} {figure.unit}".strip()
        for figure in figures
        if figure in scores
    ]
    return f"{who.name}: {', '.join([*shown, f'{answer.typical_seconds:.3g} s'])}"


def _conditions(outcome: Outcome, setting: Setting) -> str:
    """The data, how many pictures, the seed; mask and alignment of every figure."""
    if not outcome.answers:
        return "-"
    who, answer = next(iter(outcome.answers.items()))
    what = "real photos" if who.task == "real_photo_cycle" else f"pictures of {setting.data}"
    summary = [f"{len(answer.rows)} {what}"]
    for figure in outcome.claim.figures:
        if figure in SHADOWED_FIGURES:
            count = sum(not math.isnan(row[figure]) for row in answer.rows)
            summary.append(f"{figure.map} {figure.name} ({figure.space}): the {count} with cast shadows")
        else:
            summary.append(
                f"{figure.map} {figure.name}: {figure.space}, mask {figure.mask}, alignment {figure.alignment}"
            )
    return "; ".join([*summary, f"seed {setting.seed}"])


def _plain_outcome(outcome: Outcome) -> dict[str, Any]:
    claim = outcome.claim
    return {
        "id": claim.id,
        "paper": claim.paper,
        "where": claim.where,
        "says": claim.says,
        "judged by": claim.rule,
        "verdict": outcome.verdict.word,
        "why": outcome.verdict.why,
        "answers": [_plain_answer(who, answer) for who, answer in outcome.answers.items()],
    }


def _plain_answer(who: Contestant, answer: Answer) -> dict[str, Any]:
    summary = {
        "name": who.name,
        "task": who.task,
        "models": list(who.models),
        "steps": who.steps,
        "members": who.ensemble_size,
        "spacing": who.spacing,
        "trained": list(answer.trained),
        "seconds": answer.typical_seconds,
    }
    return summary | as_dict(Report("", len(answer.rows), {"value": answer.scores}))
