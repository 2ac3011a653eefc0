"""From a recipe to a folder of shards: in parallel, resumable, with the same bytes however often it was interrupted."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from unrender.errors import UserError
from unrender.files.atomic import atomic_write, write_once
from unrender.files.leftovers import PREFIX, clean_leftovers, remove, removed_on_signal, unfinished_name
from unrender.files.lock import locked
from unrender.files.paths import existing_file
from unrender.files.reading import printable
from unrender.scale import WHOLE, Executor, Needs, Part, Processes
from unrender.scale.work import Tell
from unrender.synth.recipe import GENERATOR, SPLITS, SynthRecipe, recipe_facts
from unrender.synth.sources import Sources

if TYPE_CHECKING:
    from unrender.files.shards import Clip

_WORLDS_A_POOL = 25  # that draw from the same models; of a shard's, so that few files are read twice
_SHARDS_PER_PROCESS = 32  # Mitsuba leaks a little memory for every scene; a new process frees it
_LONGEST_RECIPE = 400
_PARTIAL = ".partial"


@dataclass(frozen=True)
class SynthReport:
    """What became of the shards of a run.

    Attributes:
        done: rendered now.
        before: there before.
        seconds: that it took.
    """

    done: int
    before: int
    seconds: float


def generate(
    recipe: SynthRecipe,
    out: Path | str,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    *,
    part: Part = WHOLE,
    executor: Executor | None = None,
) -> SynthReport:
    """Renders `recipe` into shards in the folder `out`, resuming an interrupted run of the same recipe.

    Args:
        recipe: what to render.
        out: a new folder, or one of the same recipe.
        workers: processes, each with one thread.
        progress: called with (frames done, frames in all) from time to time; a frame counts once, however many
            lights and cameras it has.
        part: which of the shards; several parts may be rendered into one folder at once. The last one that ends writes
            the index.
        executor: where, if not in `workers` processes of this machine.

    Raises:
        UserError: `out` holds another recipe's clips, other files, or clips of another generator; it is a file; it
            cannot be written to; a folder of assets or lights has none; the quality gate rejects every attempt; a
            worker was killed. Where some shards could be rendered, those are there.
    """
    executor = executor or Processes(workers)
    folder = Path(out)
    facts = recipe_facts(recipe)
    with _folder_of_ours(folder, part):
        clean_leftovers(folder)
        begun = _claim(facts, folder)
        try:
            return _generate(_Run(recipe, facts, folder, part), executor, progress)
        except Exception:
            # A recipe that cannot be rendered holds no folder.
            if begun and part == WHOLE and not any(folder.glob("shard-*.tar")):
                (folder / "recipe.json").unlink(missing_ok=True)
            raise
        finally:
            _remove_partials(folder, part)


@dataclass(frozen=True)
class _Run:
    recipe: SynthRecipe
    facts: dict[str, object]
    folder: Path
    part: Part


def _generate(run: _Run, executor: Executor, progress: Callable[[int, int], None] | None) -> SynthReport:
    """Renders what is missing, and the index last."""
    recipe, started = run.recipe, time.monotonic()
    starts = run.part.of(recipe.starts)
    todo = [start for start in starts if not _shard_path(run.folder, recipe, start).exists()]
    clips = [sum(recipe.count(start) for start in some) for some in (starts, todo)]
    done = clips[0] - clips[1]

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress:
            progress(done * recipe.frames, clips[0] * recipe.frames)

    tell(0)
    _render(ShardWork(recipe, run.folder), todo, executor, tell)
    index = run.folder / "index.json"
    if not index.exists() and all(_shard_path(run.folder, recipe, start).exists() for start in recipe.starts):
        with atomic_write(index) as path:
            path.write_text(json.dumps(_index(recipe, run.facts, run.folder), indent=1))
    return SynthReport(len(todo), len(starts) - len(todo), time.monotonic() - started)


def _render(work: ShardWork, starts: list[int], executor: Executor, tell: Tell) -> None:
    """Renders the shards that begin at the clips `starts`. One that fails does not stop the others, unless it is the
    first that ends: then it is the recipe that cannot be rendered."""
    failed: list[tuple[int, str]] = []
    good = 0
    for outcome in executor.run(work, starts, tell):
        if not outcome.reason:
            good += 1
            continue
        if outcome.trace:
            raise RuntimeError(f"clip {outcome.item}\n{outcome.trace}")
        failed.append((outcome.item, outcome.reason))
        if not good:
            break
    if failed and not good:
        raise UserError(failed[0][1])
    if failed:
        names = ", ".join(_shard_path(work.folder, work.recipe, start).name for start, _ in failed)
        raise UserError(
            f"{len(failed)} of {len(starts)} shards are missing ({names}): {failed[0][1]}; the others are there, "
            "and the same command tries these again"
        )


@contextmanager
def _folder_of_ours(folder: Path, part: Part) -> Generator[None]:
    """Makes the folder, and holds its lock; where the block fails and has left nothing in it, what was made goes."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a new folder")
    made = [path for path in (folder, *folder.absolute().parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; give a folder that can be written to") from error
    try:
        with locked(folder, part.label), removed_on_signal(lambda: _remove_partials(folder, part)):
            yield
    except BaseException:
        with suppress(OSError):  # it stops at the first one that has something in it
            for path in made:
                path.rmdir()
        raise


def _remove_partials(folder: Path, part: Part) -> None:
    """Removes half-written shards, of this run or a killed one: all where nobody else writes here."""
    if part != WHOLE:
        clean_leftovers(folder)
        return
    for partial in folder.glob(f"{PREFIX}*{_PARTIAL}"):
        remove(partial)


def _shard_path(folder: Path, recipe: SynthRecipe, start: int) -> Path:
    return folder / f"shard-{start // recipe.clips_per_shard:06d}.tar"


def _claim(facts: dict[str, object], folder: Path) -> bool:
    """Marks a new folder with the recipe's `facts`, or checks that it already has them; whether it was new."""
    wanted = json.dumps(facts, indent=1)
    mark = folder / "recipe.json"
    if mark.exists():
        held, generator = _held(mark)
        if generator != GENERATOR:
            raise UserError(
                f"{folder} was begun by generator {_on_one_line(str(generator))}; expected generator {GENERATOR}; "
                "finish it with the version of unrender that began it or give another folder"
            )
        if held != wanted:
            raise UserError(
                f"{folder} holds clips of another recipe ({_on_one_line(held)}), not {_on_one_line(wanted)}; "
                "give the same recipe or another folder"
            )
        return False
    if any(not path.name.startswith(PREFIX) for path in folder.iterdir()) and not mark.exists():
        raise UserError(f"{folder} is not empty and no recipe began it; give a new folder")
    if write_once(mark, wanted):
        return True
    return _claim(facts, folder)  # another part of a set began it at the same moment


def _held(mark: Path) -> tuple[str, object]:
    """The recipe that began a folder, and its generator."""
    try:
        text = existing_file(mark).read_text(encoding="utf-8")
        return text, json.loads(text).get("generator", 1)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{mark} is no recipe of `unrender synth`; give a new folder") from error


def _on_one_line(recipe: str) -> str:
    told = printable(recipe.strip("{} \n")).replace('"', "")
    return told if len(told) <= _LONGEST_RECIPE else f"{told[:_LONGEST_RECIPE]}..."


@dataclass(frozen=True)
class ShardWork:
    """Rendering the shards of a recipe into a folder; an item is the number of a shard's first clip."""

    recipe: SynthRecipe
    folder: Path
    # Several threads would sum in varying order, and two processes are faster than two threads.
    needs: ClassVar[Needs] = Needs(threads=1, lifetime=_SHARDS_PER_PROCESS)

    def begin(self, tell: Tell) -> Callable[[int], None]:
        """See `Work.begin`."""
        from unrender.raytrace import backend

        clean_leftovers(self.folder)
        backend.use()
        import drjit
        import torch

        drjit.set_thread_count(1)
        torch.set_num_threads(1)

        def render(start: int) -> None:
            from unrender.files.shards import write_shard

            recipe = self.recipe
            with _scratch_in(self.folder):
                clips = _clips(recipe, range(start, start + recipe.count(start)), tell)
                write_shard(_shard_path(self.folder, recipe, start), clips)

        return render


@contextmanager
def _scratch_in(folder: Path) -> Generator[None]:
    """Temporary files go into a folder of `folder`, not into the system's: nobody would find there what a killed worker
    leaves."""
    before, scratch = tempfile.tempdir, folder / unfinished_name(_PARTIAL)
    os.makedirs(scratch)
    tempfile.tempdir = str(scratch)
    try:
        yield
    finally:
        tempfile.tempdir = before
        remove(scratch)


def _clips(recipe: SynthRecipe, indices: range, tell: Tell) -> Iterator[tuple[str, Clip]]:
    """Renders clips, one at a time, with their keys."""
    from unrender.synth.clip import Shot, random_clip

    test = recipe.split == "test"
    sources = Sources.of_folders(recipe.assets, recipe.hdris, recipe.normals).of_split(test=test)
    size = (recipe.resolution, recipe.resolution)
    shot = Shot(size, recipe.samples, recipe.frames, recipe.lights, recipe.cameras)
    for index in indices:
        key = (recipe.seed, SPLITS[recipe.split], index)
        pool = sources.pool((*key[:2], index // _WORLDS_A_POOL))
        yield f"{index:06d}", random_clip(key, index, shot, pool, test=test)
        tell(1)


def _index(recipe: SynthRecipe, facts: dict[str, object], folder: Path) -> dict[str, object]:
    from unrender.files.shards import read_about

    shards = {_shard_path(folder, recipe, start): recipe.count(start) for start in recipe.starts}
    replaced = sum(about["replaced"] for path in shards for about in read_about(path))
    return {"recipe": facts, "shards": {path.name: count for path, count in shards.items()}, "replaced": replaced}
