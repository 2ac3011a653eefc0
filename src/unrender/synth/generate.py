"""From a recipe to a folder of shards: in parallel, resumable, with the same bytes however often it was interrupted."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrender.errors import UserError
from unrender.files.atomic import atomic_write
from unrender.files.leftovers import clean_leftovers, remove, removed_on_signal
from unrender.files.lock import LOCK_FILE, locked
from unrender.files.paths import existing_file
from unrender.files.reading import printable
from unrender.synth.recipe import GENERATOR, SPLITS, SynthRecipe, recipe_facts
from unrender.synth.sources import Sources

if TYPE_CHECKING:
    from unrender.files.shards import Clip

_WORLDS_A_POOL = 25  # that draw from the same models; of a shard's, so that few files are read twice
_SHARDS_PER_PROCESS = 32  # Mitsuba leaks a little memory for every scene; a new process frees it
_TELL_SECONDS = 0.5
_LONGEST_RECIPE = 400
_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_clips_done: list[Any] = []  # in a worker: the counter that it shares with its parent


def generate(
    recipe: SynthRecipe, out: Path | str, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> None:
    """Renders `recipe` into shards in the folder `out`, resuming an interrupted run of the same recipe.

    Args:
        recipe: what to render.
        out: a new folder, or one of the same recipe.
        workers: processes, each with one thread.
        progress: called with (frames done, frames in all) from time to time; a frame counts once, however many
            lights and cameras it has.

    Raises:
        UserError: `out` holds another recipe's clips, other files, or clips of another generator; it is a file; it
            cannot be written to; a folder of assets or lights has none; the quality gate rejects every attempt; a
            worker was killed.
    """
    if workers < 1:
        raise UserError(f"synth with {workers} workers; expected 1 or more")
    folder = Path(out)
    facts = recipe_facts(recipe)
    with _folder_of_ours(folder):
        clean_leftovers(folder)
        begun = _claim(facts, folder)
        try:
            _generate(recipe, facts, folder, workers, progress)
        except Exception:
            if begun and not any(folder.glob("shard-*.tar")):  # a recipe that cannot be rendered holds no folder
                (folder / "recipe.json").unlink(missing_ok=True)
            raise
        finally:
            _remove_partials(folder)


def _generate(
    recipe: SynthRecipe,
    facts: dict[str, object],
    folder: Path,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Renders what is missing, and the index last."""
    todo = [start for start in recipe.starts if not _shard_path(folder, recipe, start).exists()]
    done = recipe.clips - sum(recipe.count(start) for start in todo)

    def report_done(clips: int) -> None:
        if progress:
            progress((done + clips) * recipe.frames, recipe.clips * recipe.frames)

    report_done(0)
    if not todo and (folder / "index.json").exists():
        return
    _render(recipe, folder, todo, workers, report_done)
    with atomic_write(folder / "index.json") as path:
        path.write_text(json.dumps(_index(recipe, facts, folder), indent=1))


@contextmanager
def _folder_of_ours(folder: Path) -> Generator[None]:
    """Makes the folder, and holds its lock; where the block fails and has left nothing in it, what was made goes."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a new folder")
    made = [path for path in (folder, *folder.absolute().parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; give a folder that can be written to") from error
    try:
        with locked(folder), removed_on_signal(lambda: _remove_partials(folder)):
            yield
    except BaseException:
        with suppress(OSError):  # it stops at the first one that has something in it
            for path in made:
                path.rmdir()
        raise


def _remove_partials(folder: Path) -> None:
    """Removes half-written shards, of this run or a killed one: nobody else writes here."""
    for partial in folder.glob(".*.partial"):
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
    if any(path.suffix != ".partial" and path.name != LOCK_FILE for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty and no recipe began it; give a new folder")
    with atomic_write(mark) as path:
        path.write_text(wanted)
    return True


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


def _render(
    recipe: SynthRecipe, folder: Path, starts: list[int], workers: int, report_done: Callable[[int], None]
) -> None:
    """Renders the shards that begin at the clips `starts`; `report_done` is called with the number of clips done."""
    # A separate process even for one worker keeps Dr.Jit's threads and kernels out of the caller's. New ones for every
    # batch rather than `max_tasks_per_child`, with which an executor can deadlock (CPython gh-115634).
    context = multiprocessing.get_context("spawn")
    with _quiet_start():  # it starts a process that watches over it
        done = context.Value("q", 0)
    batch = workers * _SHARDS_PER_PROCESS
    for first in range(0, len(starts), batch):
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(done,))
        try:
            with one_thread_each(), _quiet_start():  # what is submitted starts the workers
                pending = {pool.submit(_render_shard, recipe, folder, start) for start in starts[first : first + batch]}
            while pending:
                ended, pending = wait(pending, timeout=_TELL_SECONDS, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                report_done(done.value)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed from outside, perhaps out of memory; the same command resumes, "
                f"with fewer than {workers} workers in less memory"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread_each() -> Generator[None]:
    """Processes started meanwhile have one thread for linear algebra: numpy's BLAS reads the number when it is loaded,
    and the thread pools of several workers would compete for the same cores."""
    before = {name: os.environ.get(name) for name in _THREAD_COUNTS}
    os.environ.update(dict.fromkeys(_THREAD_COUNTS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet_start() -> Generator[None]:
    """Processes started meanwhile hear Ctrl-C only from `_begin_worker` on: while they import they would report it. And
    where a signal ends this one, nobody warns of what it has not put away."""
    warnings = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (warnings, "ignore:resource_tracker:UserWarning")))
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if warnings is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = warnings


def _begin_worker(done: Any) -> None:
    """Makes a worker count its clips in `done`, and exit at once on Ctrl-C and when its parent has ended."""
    _clips_done.append(done)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()

    def end_after(process: multiprocessing.process.BaseProcess) -> None:
        process.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=end_after, args=(parent,), daemon=True).start()


def _render_shard(recipe: SynthRecipe, folder: Path, start: int) -> None:
    from unrender.files.shards import write_shard
    from unrender.raytrace import backend

    backend.use()
    import drjit
    import torch

    # One thread a process: several would sum in varying order, and two processes are faster than two threads.
    drjit.set_thread_count(1)
    torch.set_num_threads(1)
    # Not in the system's folder for such files: nobody would find there what a killed worker leaves.
    tempfile.tempdir = str(folder / f".scratch.{os.getpid()}.partial")
    os.makedirs(tempfile.tempdir, exist_ok=True)
    write_shard(_shard_path(folder, recipe, start), _clips(recipe, range(start, start + recipe.count(start))))


def _clips(recipe: SynthRecipe, indices: range) -> Iterator[tuple[str, Clip]]:
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
        with _clips_done[0].get_lock():
            _clips_done[0].value += 1


def _index(recipe: SynthRecipe, facts: dict[str, object], folder: Path) -> dict[str, object]:
    from unrender.files.shards import read_about

    shards = {_shard_path(folder, recipe, start): recipe.count(start) for start in recipe.starts}
    replaced = sum(about["replaced"] for path in shards for about in read_about(path))
    return {"recipe": facts, "shards": {path.name: count for path, count in shards.items()}, "replaced": replaced}
