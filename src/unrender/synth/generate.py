"""From a recipe to a folder of shards: in parallel, resumable, the same bytes however often it was interrupted."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unrender.errors import UserError

_SPLITS = {"train": 0, "test": 1}
_SHARDS_PER_PROCESS = 16  # Mitsuba keeps a little of every scene it loads; a fresh process gives it back


@dataclass(frozen=True)
class SynthRecipe:
    """What to generate. Equal recipes give equal bytes on one machine, whatever the number of workers.

    Attributes:
        clips: how many.
        resolution: height and width in pixels.
        seed: of the whole set; each clip draws from (seed, split, its index) alone.
        split: "test" has its own seeds, worlds and texture patterns, which "train" never sees.
        samples: paths a pixel; products of two near numbers, as 36, are taken as they are, others rounded up.
        shard_size: clips a shard.
    """

    clips: int
    resolution: int = 160
    seed: int = 0
    split: Literal["train", "test"] = "train"
    samples: int = 36
    shard_size: int = 50

    def __post_init__(self) -> None:
        for name in ("clips", "resolution", "samples", "shard_size"):
            if getattr(self, name) < 1:
                raise UserError(f"SynthRecipe.{name} is {getattr(self, name)}; 1 or more is right")
        if self.split not in _SPLITS:
            raise UserError(f"SynthRecipe.split is {self.split!r}; 'train' or 'test' is right")
        if self.seed < 0:
            raise UserError(f"SynthRecipe.seed is {self.seed}; 0 or more is right")


def generate(
    recipe: SynthRecipe, out: Path | str, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> None:
    """Renders `recipe` into shards in the folder `out`, going on where an interrupted run of the same recipe stopped.

    Args:
        recipe: what to render.
        out: a new folder, or one that the same recipe began.
        workers: processes, each with one thread.
        progress: called with (clips done, clips in all) after every shard.

    Raises:
        UserError: `out` holds another recipe's clips, or something that is no recipe's; it is a file; it cannot be
            written to.
    """
    if workers < 1:
        raise UserError(f"synth with {workers} workers; 1 or more is right")
    folder = Path(out)
    _claim(recipe, folder)
    starts = range(0, recipe.clips, recipe.shard_size)
    todo = [start for start in starts if not _shard_path(folder, recipe, start).exists()]
    done = recipe.clips - sum(_count(recipe, start) for start in todo)
    if progress and done:
        progress(done, recipe.clips)
    batch = workers * _SHARDS_PER_PROCESS
    for first in range(0, len(todo), batch):
        for clips in _render_in_new_processes(recipe, folder, todo[first : first + batch], workers):
            done += clips
            if progress:
                progress(done, recipe.clips)
    for left_by_a_killed_run in folder.glob(".*.partial"):
        left_by_a_killed_run.unlink()
    _write_whole(folder / "index.json", json.dumps(_index(recipe, folder), indent=1))


def _shard_path(folder: Path, recipe: SynthRecipe, start: int) -> Path:
    return folder / f"shard-{start // recipe.shard_size:06d}.tar"


def _claim(recipe: SynthRecipe, folder: Path) -> None:
    """Marks a new folder as this recipe's, or finds that it already is."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; give a new folder")
    wanted = json.dumps(asdict(recipe), indent=1)
    mark = folder / "recipe.json"
    if mark.exists():
        if (held := mark.read_text()) != wanted:
            raise UserError(
                f"{folder} holds clips of another recipe ({_on_one_line(held)}), not {_on_one_line(wanted)}; "
                "give the same recipe or another folder"
            )
        return
    if folder.exists() and any(path.suffix != ".partial" for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty and no recipe began it; give a new folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_whole(mark, wanted)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; give a folder that can be written to") from error


def _on_one_line(recipe: str) -> str:
    return " ".join(recipe.strip("{} \n").split()).replace('"', "")


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text)
    temporary.replace(path)


def _count(recipe: SynthRecipe, start: int) -> int:
    return min(recipe.shard_size, recipe.clips - start)


def _render_in_new_processes(recipe: SynthRecipe, folder: Path, starts: list[int], workers: int) -> Iterator[int]:
    """Renders the shards that begin at the clips `starts` and yields the number of clips of each as it is done."""
    # Other processes even for one worker: Dr.Jit's threads and kernels stay out of the caller's. New ones for every
    # batch rather than `max_tasks_per_child`, with which an executor can wait for ever (CPython gh-115634).
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)
    try:
        for future in as_completed([pool.submit(_render_shard, recipe, folder, start) for start in starts]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Makes a worker end at once with Ctrl-C, and when its parent is gone, killed or not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def end_after(process: multiprocessing.process.BaseProcess) -> None:
        process.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=end_after, args=(parent,), daemon=True).start()


def _render_shard(recipe: SynthRecipe, folder: Path, start: int) -> int:
    from unrender.files.shards import write_shard
    from unrender.raytrace import backend
    from unrender.synth.still import random_still

    backend.use()
    import drjit
    import torch

    # One thread a process: threads would add up in another order, and two processes are faster than two threads.
    drjit.set_thread_count(1)
    torch.set_num_threads(1)
    split = _SPLITS[recipe.split]
    size = (recipe.resolution, recipe.resolution)
    write_shard(
        _shard_path(folder, recipe, start),
        (
            (
                f"{index:06d}",
                random_still(
                    np.random.default_rng([recipe.seed, split, index]),
                    index,
                    size,
                    recipe.samples,
                    test=recipe.split == "test",
                ),
            )
            for index in range(start, start + _count(recipe, start))
        ),
    )
    return _count(recipe, start)


def _index(recipe: SynthRecipe, folder: Path) -> dict[str, object]:
    shards = {
        _shard_path(folder, recipe, start).name: _count(recipe, start)
        for start in range(0, recipe.clips, recipe.shard_size)
    }
    return {"recipe": asdict(recipe), "shards": shards}
