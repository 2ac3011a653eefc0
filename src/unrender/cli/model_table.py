"""The table of `unrender models list`, as wide as the longest id asks for."""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.architecture import NATIVE_SIDE, download_parameters, memory_bytes, parameters
from unrender.diffusion.checkpoints.hub.cache import pulled
from unrender.diffusion.checkpoints.hub.decoders import DECODERS
from unrender.diffusion.checkpoints.hub.ids import embedded

PAGE_WIDTH = 100
"""Columns, on a terminal or not: no line is folded, so that `grep` finds whole ones and an id can be copied."""

HEADINGS = ("id", "task", "maps", "sale", "GB", "memory", "here")
_RIGHT = ("GB", "memory")
_MAPS_WIDTH = 14
_TASKS = {"text_to_image": "words", "multi_view": "views"}
"""Short names, beside inverse and forward."""

FOOT = (
    "sale: whether the licence allows commercial use (--commercial). "
    "GB: to fetch; memory: of GPU or CPU; both in half precision. memory is an estimate: the weights that inference "
    f"reads, and the widest moment of the decoder for a square picture (native size: of {NATIVE_SIDE}).",
    f"Tiny decoders for --decoder, pulled alike: {', '.join(DECODERS)}.",
)


def print_table(cards: Sequence[ModelCard]) -> None:
    """Prints a line for each card, the licences by system, and what the columns mean; plain text where it is not read
    on a terminal."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.width = PAGE_WIDTH
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    rows = [_row(card) for card in cards]
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=True, overflow="ignore", justify="right" if heading in _RIGHT else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for line in (*_licences(cards), *FOOT):
        console.print(textwrap.fill(line, PAGE_WIDTH, subsequent_indent="  "))


def bytes_of(card: ModelCard) -> tuple[int, int]:
    """What there is to fetch, and about what inference takes, in bytes of half precision."""
    own = embedded(card.task).get(card.id)
    return _embedded_bytes(card, own) if own else _published_bytes(card)


def here_of(card: ModelCard) -> str:
    """Whether a model is on this machine: "embedded", "pulled" or "no"."""
    return "embedded" if card.id in embedded(card.task) else "pulled" if pulled(card) else "no"


def _row(card: ModelCard) -> tuple[str, ...]:
    size, memory = bytes_of(card)
    return (
        card.id,
        _TASKS.get(card.task, card.task),
        _few(card.map_names),
        card.identity.commercial_use,
        f"{size / 1e9:.2f}",
        f"{memory / 1e9:.2f}",
        here_of(card),
    )


def _few(maps: Sequence[str]) -> str:
    """The maps, as many as fit; `models show` has them all."""
    whole = ", ".join(maps)
    some = whole if len(whole) <= _MAPS_WIDTH else f"{maps[0]}, +{len(maps) - 1}"
    return some if len(some) <= _MAPS_WIDTH else f"{len(maps)} maps"


def _licences(cards: Sequence[ModelCard]) -> list[str]:
    """Which systems have which licence, a line each."""
    systems: dict[str, list[str]] = {}
    for card in cards:
        systems.setdefault(card.identity.licence or "not stated", []).append(card.identity.system or card.id)
    return [f"{licence}: {', '.join(dict.fromkeys(names))}" for licence, names in systems.items()]


def _published_bytes(card: ModelCard) -> tuple[int, int]:
    together = max(1, card.latents.decoded_together)
    return 2 * download_parameters(card), memory_bytes(parameters(card), _side(card), together)


def _side(card: ModelCard) -> int:
    """The side in pixels that pictures are brought to; 0 for their own."""
    return card.maps.size.short_side or card.maps.size.long_side


def _embedded_bytes(card: ModelCard, folder: Path) -> tuple[int, int]:
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return size, memory_bytes(size // 2, card.maps.size.long_side)
