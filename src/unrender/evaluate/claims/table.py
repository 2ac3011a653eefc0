"""The one table, as Markdown and as plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from unrender.evaluate.claims.contestant import Contestant, Kind
from unrender.evaluate.claims.insertions.pairs import SHADED
from unrender.evaluate.claims.items import WORDS
from unrender.evaluate.claims.judging import Answer, pixels_of
from unrender.evaluate.claims.models import ContestSettings
from unrender.evaluate.claims.run import PHOTO_SIDE, Findings, Outcome
from unrender.evaluate.forward import SHADOWED_FIGURES
from unrender.evaluate.report import Figure, Report, as_dict
from unrender.evaluate.scenes import SHADOW_RULE

PROTOCOL = (
    "mean over items of each item's figure; PSNR and SSIM of values clipped to [0, 1]; margins are means of paired "
    "differences ± twice their standard error; time: median over items of the whole call, all answers to an item one "
    "after the other in one run"
)
PROTOCOLS: dict[Kind, str] = {
    "pictures": "held-out synthetic scenes, the first frame of every clip; photo clipped to [0, 1]; forward renderers "
    "are given the true camera and light; mask `surface`: pixels whose surface coverage is above 0.9; depth after "
    "least-squares scale and shift; cycles: rendered again by the irradiance among the maps, with no light, and "
    "brought to the photo's exposure by least squares",
    "photos": f"at most {PHOTO_SIDE} pixels on the long side, mask `surface of all`: pixels that every pair takes for "
    "surface",
    "pairs": "synthetic photos whose truth, with the object, was rendered; camera, ground and the object's pose are "
    "the true ones; composite and truth clipped to [0, 1]; mask `object and shadow`: where the object covers, or where "
    f"the truth has less than {SHADED:g} times the luminance of the photo without it; si-RMSE after one scale by least "
    "squares; a text-to-image model that is taught a photo is taught once for all contestants that need the same, in "
    "the time of the first",
    "views": "the set's first view and its words are given, and all cameras; figures are those of `unrender evaluate "
    "multiview`, reprojection by the true depth; a long path goes round the subject from the first camera to the one "
    "nearest to it, the long way",
}
PROTOCOLS["clips"] = PROTOCOLS["relit_clips"] = (
    "held-out synthetic clips; photo and truth exposed for a display by one gain a clip, and the light with them; "
    "forward renderers are given the true camera and light; pictures by the figures of `unrender evaluate forward`, "
    "mean over frames; maps by those of `unrender evaluate clips`, with nothing held steady after a network; cast "
    "shadows: of the first frame"
)
PROTOCOLS["relit"] = PROTOCOLS["pictures"]
"""What holds for all figures, and for those of each kind of item."""

_HEAD = ("claim", "the paper", "judged by", "measured, and a picture's time", "on", "verdict")


@dataclass(frozen=True)
class Setting:
    """The conditions of a table.

    Attributes:
        data: the name of the set of each kind of item.
        seed: of all sampling.
        conditions: of the contest.
    """

    data: Mapping[Kind, str]
    seed: int
    conditions: ContestSettings = field(default_factory=ContestSettings)


def markdown(findings: Findings, setting: Setting) -> str:
    """One row for each claim; below, the protocol."""
    rows = [_row(outcome, setting) for outcome in findings.outcomes]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in (_HEAD, ["---"] * len(_HEAD), *rows))
    named = "".join(f"\n\n{kind.capitalize()}: {words}." for kind, words in _protocols(findings).items())
    settings = ", ".join(
        f"{name.replace('_', ' ')} {'as recipe or card has them' if value is None else value}"
        for name, value in asdict(setting.conditions).items()
    )
    return (
        f"{lines}\n\nProtocol: {PROTOCOL}.{named}\n\nSettings: {settings}.\n\nCast shadows: {SHADOW_RULE}.\n\n"
        f"Machine: {findings.machine}.\n"
    )


def as_plain(findings: Findings, setting: Setting) -> dict[str, Any]:
    """All figures of all contestants, as plain values for JSON."""
    return {
        "data": {WORDS[kind]: name for kind, name in setting.data.items()},
        "seed": setting.seed,
        "conditions": asdict(setting.conditions),
        **findings.items.counts(),
        "machine": findings.machine,
        "protocol": {"all": PROTOCOL} | _protocols(findings),
        "cast shadows": SHADOW_RULE,
        "claims": [_plain_outcome(outcome) for outcome in findings.outcomes],
    }


def _protocols(findings: Findings) -> dict[str, str]:
    """Those of the items that its claims are about, by what they are called."""
    kinds = {one.kind for outcome in findings.outcomes for one in outcome.claim.contestants}
    return {WORDS[kind]: words for kind, words in PROTOCOLS.items() if kind in kinds}


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
        f"{figure.map} {figure.name}{pixels_of(figure)} ({figure.space}) {scores[figure]:.3g} {figure.unit}".strip()
        for figure in figures
        if figure in scores
    ]
    return f"{who.name}: {', '.join([*shown, f'{answer.typical_seconds:.3g} s'])}"


def _conditions(outcome: Outcome, setting: Setting) -> str:
    """The data, how many pictures, the seed; mask and alignment of every figure."""
    if not outcome.answers:
        return "-"
    who, answer = next(iter(outcome.answers.items()))
    named = setting.data.get(who.kind)
    summary = [f"{len(answer.rows)} {WORDS[who.kind]}{f' of {named}' if named else ''}"]
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
        "way": who.way,
        "trained": list(answer.trained),
        "seconds": answer.typical_seconds,
    }
    return summary | as_dict(Report("", len(answer.rows), {"value": answer.scores}))
