"""The table of `unrender models list`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from unrender.diffusion.card import ModelCard
from unrender.diffusion.checkpoints.architecture import NATIVE_SIDE, download_parameters, memory_bytes, parameters
from unrender.diffusion.checkpoints.hub.cache import pulled
from unrender.diffusion.checkpoints.hub.decoders import DECODERS
from unrender.diffusion.checkpoints.hub.ids import embedded

PIPE_WIDTH = 1000
"""Columns where nobody looks: no line is folded, so that `grep` finds whole ones."""
LEAST_WIDTH = 150
"""Columns on a terminal, which folds what is over itself: an id that is cut off cannot be copied."""
FOLDED = ("maps", "licence")

HEADINGS = ("id", "system", "task", "maps", "resolution", "licence", "commercial", "download", "memory", "here")
FOOT = (
    "download, memory: GB in half precision. memory is an estimate: the weights that inference reads, and the widest "
    f"moment of the decoder for a square picture of that resolution (native: of {NATIVE_SIDE})."
    f"\nTiny decoders for --decoder, pulled alike: {', '.join(DECODERS)}."
)


def print_table(cards: Sequence[ModelCard]) -> None:
    """Prints a line for each card; plain text, and as wide as it needs to be, where it is not read on a terminal."""
    console = Console(file=sys.stdout, highlight=False)
    console.width = max(console.width, LEAST_WIDTH) if sys.stdout.isatty() else PIPE_WIDTH
    table = Table(box=None, pad_edge=False)
    rows = [_row(card) for card in cards]
    for heading, *column in zip(HEADINGS, *rows, strict=True):
        width = 12 if heading in FOLDED else max(map(len, (heading, *column)))
        justify = "right" if heading in ("resolution", "download", "memory") else "left"
        table.add_column(heading, min_width=width, overflow="fold", justify=justify)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(FOOT)


def _row(card: ModelCard) -> tuple[str, ...]:
    own = embedded(card.task).get(card.id)
    here = "embedded" if own else "pulled" if pulled(card) else "no"
    size, memory = _embedded_bytes(card, own) if own else _published_bytes(card)
    return (
        card.id,
        card.identity.system,
        card.task,
        ", ".join(card.map_names),
        str(_side(card) or "native"),
        card.identity.licence,
        card.identity.commercial_use,
        f"{size / 1e9:.2f}",
        f"{memory / 1e9:.2f}",
        here,
    )


def _published_bytes(card: ModelCard) -> tuple[int, int]:
    together = max(1, card.latents.decoded_together)
    return 2 * download_parameters(card), memory_bytes(parameters(card), _side(card), together)


def _side(card: ModelCard) -> int:
    """The side in pixels that pictures are brought to; 0 for their own."""
    return card.maps.size.short_side or card.maps.size.long_side


def _embedded_bytes(card: ModelCard, folder: Path) -> tuple[int, int]:
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return size, memory_bytes(size // 2, card.maps.size.long_side)
