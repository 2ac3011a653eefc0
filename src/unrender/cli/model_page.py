"""What `unrender models show` says of a model: a page for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from unrender.cli.model_table import PAGE_WIDTH, bytes_of, here_of
from unrender.diffusion.card import ModelCard
from unrender.diffusion.card.model import Source
from unrender.diffusion.card.sampling import KarrasCard, ScheduleCard

_INDENT = 14


def page(cards: Sequence[ModelCard]) -> str:
    """The page of a model, one part for each direction that it goes."""
    first = cards[0].identity
    title = f"{first.id} ({first.system})" if first.system else first.id
    licence = f"{first.licence or 'not stated'}; commercial use: {first.commercial_use}"
    lines = [
        title,
        *_wrapped(first.description, 0),
        "",
        *_entry("licence", licence),
        *_entry("weights", _source(first.source)),
    ]
    for card in cards:
        lines += ["", f"{card.task}:"]
        for name, said in _facts(card):
            lines += _entry(name, said)
    return "\n".join(lines)


def _facts(card: ModelCard) -> list[tuple[str, str]]:
    size, memory = bytes_of(card)
    here = here_of(card)
    facts = [
        ("gives", ", ".join(card.map_names)),
        ("takes", _inputs(card)),
        ("told", _told(card)),
        ("steps", _steps(card)),
        ("works at", _size(card)),
        ("takes up", f"{size / 1e9:.2f} GB on disk, about {memory / 1e9:.2f} GB of memory, both in half precision"),
        ("here", here if here != "no" else f"no; unrender models pull {card.id}"),
        ("for example", _example(card)),
    ]
    return [(name, said) for name, said in facts if said]


def _source(source: Source) -> str:
    if not source.repository:
        return "embedded, or a folder"
    revision = f", commit {source.revision[:12]}" if source.revision else ""
    return f"{source.repository}{revision}" + (f"; the rest from {source.fallback}" if source.fallback else "")


def _inputs(card: ModelCard) -> str:
    names = [one.name for one in card.maps.inputs]
    return "a picture" if names == ["rgb"] else ", ".join(names)


def _told(card: ModelCard) -> str:
    parts = []
    if card.light is not None:
        parts.append("an environment map")
    if card.image_tokens:
        parts.append("the photo's embedding")
    if card.domains:
        parts.append(f"the kind of scene (--domain {'|'.join(card.domains)})")
    if card.maps.edits:
        parts.append("a mask of what to render anew")
    if card.task == "forward" and card.text is not None:
        parts.append("words (--caption)")
    return ", ".join(parts)


def _steps(card: ModelCard) -> str:
    schedule, sampling = card.sampling.schedule, card.sampling
    kind = "Karras" if isinstance(schedule, KarrasCard) else "flow matching"
    if isinstance(schedule, ScheduleCard):
        kind = f"{schedule.kind.upper()}, {schedule.spacing} spacing"
    noise = {"zeros": "from zeros", "none": "without noise"}.get(sampling.noise, f"from {sampling.noise} noise")
    guided = f", guidance {sampling.guidance.text:g}" if sampling.guidance.on else ""
    return f"{schedule.steps}, {kind}, {noise}{guided}"


def _size(card: ModelCard) -> str:
    rule = card.maps.size
    side = f"{rule.long_side} pixels on the long side" if rule.long_side else "the picture's own size"
    return f"{side}, in multiples of {rule.multiple}"


def _example(card: ModelCard) -> str:
    if card.task == "inverse":
        return f"unrender inverse photo.jpg -o out --model {card.id}"
    if card.task == "forward":
        return f"unrender forward maps.exr -o out --light sunset --model {card.id}"
    verb = "generate" if card.task == "text_to_image" else "multiview"
    return f'unrender {verb} "a red chair" -o out --model {card.id}'


def _entry(name: str, said: str) -> list[str]:
    first, *rest = _wrapped(said, _INDENT)
    return [f"  {name:{_INDENT - 2}}{first[_INDENT:]}", *rest]


def _wrapped(text: str, indent: int) -> list[str]:
    space = " " * indent
    return textwrap.wrap(
        text, PAGE_WIDTH, initial_indent=space, subsequent_indent=space, break_long_words=False, break_on_hyphens=False
    )
