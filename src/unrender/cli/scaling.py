"""Where many items are done: what every verb with many items takes, and what it says at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from unrender.cli.messages import one_line

if TYPE_CHECKING:
    from unrender.scale import Executor, Needs, Part, RayCluster


@dataclass(frozen=True)
class ScaleOptions:
    """Where many items are done."""

    ray: Annotated[
        str | None,
        typer.Option(metavar="local|ADDRESS", help="On Ray: on this machine, or the cluster at auto or HOST:PORT."),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="W", help="Processes, each with one item at a time.  [synth: one a core; else 1; on Ray all]"
        ),
    ] = None
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Do every N-th item only, from the I-th on: one of N machines.")
    ] = "1/1"

    @property
    def part(self) -> Part:
        """The part of the items that is done.

        Raises:
            UserError: `shard` is not I/N.
        """
        from unrender.scale import Part

        return Part.parse(self.shard)

    @property
    def cluster(self) -> RayCluster | None:
        """The cluster that items are done on, None for this machine."""
        from unrender.scale import RayCluster

        return RayCluster(self.ray, self.workers) if self.ray is not None else None

    @property
    def in_others(self) -> bool:
        """Whether other processes than this one do the items."""
        return self.ray is not None or (self.workers or 1) > 1

    @property
    def executor(self) -> Executor:
        """Where items are done: without a word in this process."""
        from unrender.scale import Inline, Processes

        return self.cluster or (Processes(self.workers or 1) if self.in_others else Inline())

    def needs(self, device: str) -> Needs:
        """What a worker of networks needs. On Ray it has the threads that this process has, so that the results have
        the same bytes; processes of this machine share its cores. OMP_NUM_THREADS says otherwise."""
        import torch

        from unrender.scale import Needs

        threads = torch.get_num_threads()
        if self.ray is None and not os.environ.get("OMP_NUM_THREADS"):
            threads = max(1, threads // (self.workers or 1))
        return Needs(threads, gpu=device in ("auto", "cuda"))

    def record_name(self, name: str) -> str:
        """The name of a run record; of one of several parts its own."""
        stem, ending = os.path.splitext(name)
        return f"{stem}.{label}{ending}" if (label := self.part.label) else name


def rate(count: int, seconds: float) -> str:
    """ "12.3 s, 0.81 a second"."""
    return f"{seconds:.1f} s" + (f", {count / seconds:.2f} a second" if count and seconds > 0 else "")


def tell_failures(failed: Sequence[tuple[str, str]]) -> None:
    """Says what was set aside, each in a line on stderr."""
    for name, reason in failed:
        print(f"unrender: {one_line(f'{name}: {reason}' if name not in reason else reason)}", file=sys.stderr)
