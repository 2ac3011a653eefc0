"""Frames counted: a clip that gives another number than it promised is said, and is not status 0."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unrender.cli.messages import one_line
from unrender.cli.notes import taken
from unrender.cli.run_record import RunRecord
from unrender.errors import UserError

if TYPE_CHECKING:
    from unrender.files.readers import Item, Reader

INCOMPLETE = 1


@dataclass
class FrameTally:
    """How many frames an input promised, and how many it gave.

    Attributes:
        source: the input, for messages.
        promised: frames.
        read: frames of every reading that came to its end by itself.
    """

    source: str | Path
    promised: int = 0
    read: list[int] = field(default_factory=list)

    def counted(self, reader: Reader[Item]) -> Reader[Item]:
        """The same frames, counted as they are read."""
        self.promised = len(reader)

        def frames() -> Iterator[Item]:
            count, iterator, made = 0, iter(reader), []
            while True:
                try:
                    made.append(next(iterator))
                except StopIteration:
                    self.read.append(count)
                    return
                count += 1
                yield made.pop()  # and is not kept: it may be as large as a picture

        return replace(reader, open=frames)

    @property
    def off(self) -> int | None:
        """The number of frames that were read where it is not what was promised, None where it is."""
        return next((count for count in self.read if count != self.promised), None)

    def note(self, record: RunRecord) -> None:
        """Writes a wrong number into the run record. Raises UserError where there was no frame at all."""
        if self.off == 0:
            raise UserError(f"{self.source}: {self.promised} frames were promised and none could be read")
        if self.off is not None:
            record.facts["frames"] = {"promised": self.promised, "read": self.off}

    @property
    def line(self) -> str:
        """A wrong number in words, "" where it is right."""
        if self.off is None:
            return ""
        line = f"{self.source}: {self.promised} frames were promised and {self.off} could be read; all those are "
        return line + "written; expected an undamaged file"

    def tell(self) -> None:
        """Says a wrong number on stderr, where the reader has not said it, and ends the command with status 1: its
        results are there, but not whole."""
        if self.off is None:
            return
        if not any(f"{self.off} of its {self.promised} frames" in said for said in taken()):
            print(f"unrender: {one_line(self.line)}", file=sys.stderr)
        raise typer.Exit(INCOMPLETE)
