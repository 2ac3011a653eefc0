"""Names of numbered files: `name.####.exr` and `name.%04d.exr`, and what a folder of them holds."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from unrender.errors import UserError

_NUMBER = re.compile(r"\[[#%]\]|#+|%0?([0-9]{0,2})d")
_LITERAL = re.compile(r"\[([#%])\]")


def is_pattern(path: str | Path) -> bool:
    """Whether the file name has #### or %04d in it."""
    return bool(_runs(Path(path).name))


def literal(name: str) -> str:
    """`name` as a part of a pattern in which # and % stand for themselves: they are bracketed, as `glob` does it."""
    return re.sub(r"[#%]", r"[\g<0>]", name)


def plain(path: str | Path) -> Path:
    """The file that a path without a number means: [#] and [%] are # and %."""
    path = Path(path)
    return path.with_name(_LITERAL.sub(r"\1", path.name)) if path.name else path


def numbered(pattern: str | Path, number: int) -> Path:
    """The file of one frame: name.####.exr and 7 give name.0007.exr. Of several places the last is the number's."""
    pattern = Path(pattern)
    run = _runs(pattern.name)[-1]
    before, after = (_LITERAL.sub(r"\1", part) for part in _around(pattern.name, run))
    return pattern.with_name(f"{before}{number:0{_digits(run)}d}{after}")


def find_numbered(pattern: str | Path) -> tuple[list[Path], str]:
    """The files that a pattern means, by number, and the name of their sequence. Of several places that could be the
    number's, the last that files have numbers in is.

    Raises:
        UserError: no folder, no such files, numbers missing, or a number that two files have.
    """
    pattern = Path(pattern)
    if not pattern.parent.is_dir():
        raise UserError(f"the folder {pattern.parent} does not exist; check the name")
    names = [path.name for path in pattern.parent.iterdir()]
    for run in reversed(_runs(pattern.name)):
        before, after = (_LITERAL.sub(r"\1", part) for part in _around(pattern.name, run))
        shape = re.compile(rf"{re.escape(before)}([0-9]{{{_digits(run)},}}){re.escape(after)}")
        by_number: dict[int, str] = {}
        for name, found in ((name, shape.fullmatch(name)) for name in names):
            if found is not None and (other := by_number.setdefault(int(found[1]), name)) != name:
                raise UserError(f"{pattern} has two frames {int(found[1])}, {other} and {name}; expected one")
        if by_number:
            _check_gaps(pattern, sorted(by_number))
            stem = (before + after.rpartition(".")[0]).rstrip("._- ")
            return [pattern.with_name(by_number[number]) for number in sorted(by_number)], stem
    raise UserError(f"no file is called {pattern}; check the name and the number of digits")


def files_of(pattern: str | Path) -> list[Path]:
    """All files that a pattern could mean, whichever of its places is the number's, in upper or lower case, as file
    systems without case see them; for finding out which files must not be touched."""
    pattern = Path(pattern)
    shapes = []
    for run in _runs(pattern.name):
        before, after = (re.escape(_LITERAL.sub(r"\1", part)) for part in _around(pattern.name, run))
        shapes.append(re.compile(f"{before}[0-9]+{after}", re.IGNORECASE))
    try:
        return [path for path in pattern.parent.iterdir() if any(shape.fullmatch(path.name) for shape in shapes)]
    except OSError:
        return []


def natural_order(path: Path) -> list[tuple[int, int | str]]:
    """A sorting key by which frame 9 comes before frame 10."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(0, int(part)) if index % 2 else (1, part.lower()) for index, part in enumerate(parts) if part]


def check_one_sequence(folder: Path, paths: Iterable[Path]) -> None:
    """Raises UserError where the files of a folder are more than one clip: several numbered sequences, or one beside
    other pictures."""
    sequences: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for path in paths:
        key, digits = _sequence_of(path.name)
        sequences[key].append((path.name, digits))
    clips = {key: files for key, files in sequences.items() if len(files) > 1 and len(key) == 2}
    if not clips or len(sequences) == 1:
        return
    shapes = []
    for (before, after), files in sorted(clips.items()):
        shape = f"{literal(before)}{'#' * min(len(digits) for _, digits in files)}{literal(after)}"
        shapes.append(shape)
    listed = [f"{shape} ({len(files)})" for shape, (_, files) in zip(shapes, sorted(clips.items()), strict=True)]
    others = sorted(files[0][0] for key, files in sequences.items() if key not in clips)
    more = f" and {len(others)} other pictures ({others[0]}{', ...' * (len(others) > 1)})" if others else ""
    held = "the sequence" if len(listed) == 1 else f"{len(listed)} sequences:"
    raise UserError(
        f"the folder {folder} holds {held} {', '.join(listed[:4])}{', ...' * (len(listed) > 4)}{more}; "
        f"expected one sequence, such as {folder / shapes[0]}"
    )


def _sequence_of(name: str) -> tuple[tuple[str, ...], str]:
    """What surrounds the last number of a file name, and that number's digits: of beauty.0001.png, beauty. and .png;
    the whole name where there is none. What has no letters before its number is numbered by all of it (0.033.png)."""
    stem, dot, suffix = name.rpartition(".")
    found = list(re.finditer(r"[0-9]+", stem))
    if not found:
        return (name,), ""
    start, end = found[-1].span()
    before = stem[:start] if re.search(r"[^\W0-9_]", stem[:start]) else ""
    return (before, f"{stem[end:]}{dot}{suffix}"), found[-1][0]


def _check_gaps(pattern: Path, numbers: list[int]) -> None:
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    if not missing:
        return
    listed: list[int] = []
    for number, following in pairwise(numbers):
        listed += range(number + 1, min(following, number + 7))
        if len(listed) > 5:
            break
    said = ", ".join(map(str, listed[:5])) + (", ..." if missing > 5 else "")
    raise UserError(f"{pattern} has {missing} frames missing ({said}); expected a sequence without gaps")


def _runs(name: str) -> list[re.Match[str]]:
    return [found for found in _NUMBER.finditer(name) if not found[0].startswith("[")]


def _around(name: str, run: re.Match[str]) -> tuple[str, str]:
    return name[: run.start()], name[run.end() :]


def _digits(run: re.Match[str]) -> int:
    return int(run[1] or 1) if run[0].startswith("%") else len(run[0])
