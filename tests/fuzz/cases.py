"""One case: a seed's folder, one file of it changed, all of it chosen by the seed's name and one number."""

from __future__ import annotations

import random
import shutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzz import mutation
from fuzz.seeds import SEEDS
from fuzz.traps import Elsewhere, set_trap
from unrender.errors import UserError
from unrender.scene.camera import Camera
from unrender.scene.frames import Frames
from unrender.scene.gbuffer import GBuffer

LONGEST_LINE = 600


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        kind: "clean" (it was read), "refused" (one line), or "fault".
        what: of a fault, what it is, in a few words that are the same for the same cause.
        detail: the line, or where an exception came from.
    """

    kind: str
    what: str = ""
    detail: str = ""


def prepare(name: str, number: int, whole: Path, place: Path, elsewhere: Elsewhere) -> tuple[Path, str]:
    """Copies a seed's folder to `place` with one file changed, or a trap in its place; the path to be read, and what
    was done."""
    rng = random.Random(f"{name} {number}")
    mutation.names = elsewhere.names
    shutil.copytree(whole, place, symlinks=True)
    files = sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith("events.out"))
    file = rng.choice(files)
    if rng.random() < 0.12:
        done = set_trap(file, rng, elsewhere)
    else:
        stored = file.read_bytes()
        if rng.random() < 0.05:
            stored = rng.choice(files).read_bytes()  # a file in place of another
        file.write_bytes(mutation.mutated(stored, rng))
        done = "changed"
    return file, f"{file.relative_to(place)} {done}"


def attempt(name: str, path: Path) -> Outcome:
    """Reads `path` as that seed is read, and says what came of it."""
    try:
        result = SEEDS[name].read(path)
    except UserError as error:
        line = str(error)
        if "\n" in line or not line.isprintable():
            return Outcome("fault", "a message of several lines, or with control bytes", repr(line[:300]))
        if len(line) > 4 * LONGEST_LINE:
            return Outcome("fault", "an endless message", line[:300])
        if "does not fit into memory" in line:
            return Outcome("fault", "memory asked for without end", line)
        return Outcome("refused", detail=line)
    except MemoryError as error:
        return Outcome("fault", "memory asked for without end", place_of(error))
    except Exception as error:
        where = place_of(error)
        return Outcome("fault", f"{type(error).__name__} at {where}", f"{type(error).__name__}: {str(error)[:300]}")
    wrong = next(unsound(result), "")
    return Outcome("fault", f"accepted: {wrong}", wrong) if wrong else Outcome("clean")


def place_of(error: BaseException) -> str:
    """The last line of the project that an exception came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/unrender/" in frame.filename]
    return f"{frames[-1].filename.rpartition('/unrender/')[2]}:{frames[-1].lineno}" if frames else "outside"


def unsound(thing: Any) -> Iterator[str]:
    """What no reader may hand on: numbers that are not finite, colours below 0, faces without their vertices."""
    if isinstance(thing, Frames):
        yield from _not_finite("frames", thing.rgb, negative=False)
        if thing.mask is not None:
            yield from _not_finite("alpha", thing.mask, negative=False)
        if thing.fps is not None and not 0 < thing.fps < 1e9:
            yield f"{thing.fps} frames a second"
    elif isinstance(thing, GBuffer):
        for name, value in thing.maps.items():
            yield from _not_finite(name, value.nan_to_num(posinf=0.0) if name == "depth" else value, name == "normal")
        yield from unsound(thing.camera)
    elif isinstance(thing, Camera):
        yield from _not_finite("intrinsics", thing.intrinsics)
        yield from _not_finite("poses", thing.pose)
        if (thing.intrinsics[:, (0, 1), (0, 1)] <= 0).any() or min(thing.size) < 1:
            yield "a camera without a focal length or a size"
    elif isinstance(thing, torch.Tensor | np.ndarray):
        yield from _not_finite("values", torch.as_tensor(thing))
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from unsound(value)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from unsound(value)
    elif is_dataclass(thing) and not isinstance(thing, type):
        if hasattr(thing, "faces") and hasattr(thing, "vertices"):
            faces, count = torch.as_tensor(thing.faces), len(thing.vertices)
            if faces.numel() and not 0 <= int(faces.min()) <= int(faces.max()) < count:
                yield "faces of vertices that are not there"
        for field in fields(thing):
            yield from unsound(getattr(thing, field.name))


def _not_finite(name: str, values: torch.Tensor, negative: bool = True) -> Iterator[str]:
    if values.dtype.is_floating_point and not values.isfinite().all():
        yield f"{name} that are not finite"
    elif not negative and values.numel() and values.min() < 0:
        yield f"{name} below 0"
