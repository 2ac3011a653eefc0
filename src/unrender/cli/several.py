"""A verb over several inputs: each is an item with a folder of its own, which the workers of an executor do one by one.

What is done is known by the run record of its folder: it has a hash of the input's bytes, the models' weights and the
settings. The record comes last, so what a killed worker had in hand is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrender.cli.guard import refuse_folder
from unrender.cli.inputs import listed
from unrender.cli.messages import one_line
from unrender.cli.outputs import Destination, parse_destination
from unrender.cli.progress import progress_bar, silent
from unrender.cli.run_record import RECORD, RunRecord
from unrender.cli.scaling import ScaleOptions, rate, tell_failures
from unrender.cli.tally import INCOMPLETE, FrameTally
from unrender.errors import UserError
from unrender.files.tables import read_table
from unrender.version import VERSION

if TYPE_CHECKING:
    from unrender.cli.engines import LoadedModels
    from unrender.diffusion.card import Task
    from unrender.scale import Needs
    from unrender.scale.work import Tell

KEYS = 1
"""Incremented with every change to what makes an item another one."""

_NUMBERS = re.compile(r"[._-]?(#+|%\d*d)")


@dataclass(frozen=True)
class GivenInputs:
    """What a verb is given, one or several."""

    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Images, videos, folders of frames, name.####.exr, or @FILE with one a line; each of several gets a "
            "folder in OUT.",
        ),
    ]


@dataclass(frozen=True)
class Picture:
    """One input of a verb, as its run record names it."""

    input: Path


@dataclass(frozen=True)
class PictureItem:
    """An input, and where its results go."""

    input: Path
    out: Path


@dataclass(frozen=True)
class PictureRun:
    """What a run over one input is told beside the settings.

    Attributes:
        item: the input, and where its results go.
        key: what is written into its record, for `several` to know that it is done; "" for nothing.
        kept: models that this process has loaded, None where it has one input only.
    """

    item: PictureItem
    key: str = ""
    kept: LoadedModels | None = None

    def note(self, record: RunRecord, tally: FrameTally) -> None:
        """Writes the key into a record of all frames: what has some missing is tried again."""
        if self.key and not tally.line:
            record.facts["item"] = self.key


@dataclass(frozen=True)
class PictureWork:
    """A verb over pictures and clips.

    Attributes:
        verb: its name.
        run: the verb over one input, a function of a module: (run, *settings) to the count of the frames.
        settings: the verb's, the same for all inputs, `ComputeOptions` last; OUT among them, which is each item's own.
        models: what it runs, by id or folder.
        files: what it reads beside the input and the models; ids of shipped lights among them.
        threads, gpu: what a worker needs, see `Needs`.
        endings: of the files that OUT may be.
    """

    verb: str
    run: Callable[..., FrameTally]
    settings: tuple[Any, ...]
    models: tuple[tuple[str, Task], ...]
    files: tuple[str | Path, ...] = ()
    endings: tuple[str, ...] = ()
    threads: int = 1
    gpu: bool = False

    @property
    def needs(self) -> Needs:
        """See `Work.needs`."""
        from unrender.scale import Needs

        return Needs(self.threads, self.gpu)

    def begin(self, tell: Tell) -> Callable[[PictureItem], bool]:
        """See `Work.begin`; of an item it says whether it is done now, and was not before."""
        from unrender.cli.engines import LoadedModels
        from unrender.diffusion.checkpoints.fingerprint import weights_hash
        from unrender.diffusion.checkpoints.hub.registry import find

        homes = [find(name, task) for name, task in self.models]
        settings = [{key: value for key, value in asdict(one).items() if key != "out"} for one in self.settings]
        facts = [KEYS, VERSION, self.verb, [weights_hash(home.card, home) for home in homes], settings]
        facts.append([_file_facts(file) for file in self.files])
        return partial(self._do, LoadedModels(), facts)

    def _do(self, kept: LoadedModels, facts: list[Any], item: PictureItem) -> bool:
        from unrender.cli.notes import notes_shown
        from unrender.files.hashes import content_hash

        told = json.dumps([*facts, content_hash(item.input)], default=str, sort_keys=True)
        key = hashlib.sha256(told.encode()).hexdigest()[:24]
        if _held(parse_destination(item.out, self.endings)) == key:
            return False
        with notes_shown(), silent():
            tally = self.run(PictureRun(item, key, kept), *self.settings)
        if tally.line:
            raise UserError(tally.line)
        return True


def run_verb(work: PictureWork, inputs: GivenInputs, out: Path, scale: ScaleOptions) -> None:
    """Runs a verb over what it is given: one input as it is, several by the executor that is asked for, with a report.

    Raises:
        UserError: inputs without names of their own, or an OUT that is no folder.
        typer.Exit: some inputs failed, or have frames missing: status 1.
    """
    found = listed(inputs.inputs)
    if found == inputs.inputs and len(found) == 1 and scale == ScaleOptions():
        destination = parse_destination(out, work.endings)
        tally = work.run(PictureRun(PictureItem(found[0], out)), *work.settings)
        destination.report()
        tally.tell()
        return
    if parse_destination(out, work.endings).file is not None:
        raise UserError(f"-o {out}: several inputs have a folder each; expected a folder for all of them")
    refuse_folder(out, *found)
    names = [out / name for name in item_names(found)]
    items = scale.part.of([PictureItem(path, place) for path, place in zip(found, names, strict=True)])
    record = RunRecord(work.verb, (inputs, *work.settings, scale))
    out.mkdir(parents=True, exist_ok=True)
    if scale.in_others:
        needs = scale.needs(work.settings[-1].device)
        work = replace(work, threads=needs.threads, gpu=needs.gpu)
    done, before, failed, traces = 0, 0, [], []
    with record.timed(work.verb), progress_bar(f"{work.verb} of many", "inputs") as show:
        outcomes = scale.executor.run(work, items, lambda units: None)
        for count, outcome in enumerate(outcomes, 1):
            show(count, len(items))
            if outcome.reason:
                failed.append((str(outcome.item.input), outcome.reason))
                traces += [outcome.trace] if outcome.trace else []
            elif outcome.result:
                done += 1
            else:
                before += 1
    failed.sort()
    record.facts |= {"done": done, "before": before, "failed": failed, "traces": traces}
    _write(record, out / scale.record_name(RECORD))
    seconds = record.seconds[work.verb]
    there = f", {before} there before" if before else ""
    lost = f", {len(failed)} set aside" if failed else ""
    print(one_line(f"{out}: {done} of {len(items)} inputs done{there}{lost} in {rate(done, seconds)}"))
    tell_failures(failed)
    if failed:
        raise typer.Exit(INCOMPLETE)


def item_names(inputs: Sequence[Path]) -> list[Path]:
    """The folder of each input: its place below the folder that all are in, without an ending where that is clear.

    Raises:
        UserError: an input is given twice, or two have the same name all the same.
    """
    places = [Path(os.path.abspath(path)) for path in inputs]
    above = os.path.commonpath([place.parent for place in places])
    whole = [place.relative_to(above) for place in places]
    short = [place if path.is_dir() else _without_numbers(place) for path, place in zip(places, whole, strict=True)]
    alike = Counter(short)
    names = [full if alike[path] > 1 else path for path, full in zip(short, whole, strict=True)]
    known = Counter(names)
    twice = [given for given, name in zip(inputs, names, strict=True) if known[name] > 1]
    if twice:
        raise UserError(f"{twice[0]} is given twice, or another input has its name; expected each once")
    return names


def _without_numbers(path: Path) -> Path:
    """`shot.####.exr` to `shot`."""
    stem = _NUMBERS.sub("", path.stem)
    return path.with_name(stem or path.name)


def _held(destination: Destination) -> str | None:
    """The key in the run record of a place, None where there is none."""
    try:
        held = read_table(destination.folder / destination.record_name)["item"]
        return held if isinstance(held, str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file_facts(file: str | Path) -> str:
    """The bytes of a file; the name of a light that ships, which the version stands for."""
    from unrender.files.hashes import content_hash

    return content_hash(Path(file)) if os.path.lexists(file) else str(file)


def _write(record: RunRecord, path: Path) -> None:
    from unrender.files.atomic import atomic_write

    with atomic_write(path) as whole:
        record.write(whole)
