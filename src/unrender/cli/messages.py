"""What is said of an error: one line of bounded length that no terminal obeys."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from unrender.files.storage import FULL, storage_error

LONGEST = 600
"""Characters of a line; a path has rarely more than half of them."""

_CALLERS = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}

_EXTRAS = {
    "raytrace": ("mitsuba", "drjit", "trimesh", "scipy", "manifold3d", "cv2"),
    "train": ("peft", "tensorboard"),
    "metrics": ("torchmetrics",),
    "datasets": ("h5py",),
    "scale": ("ray",),
    "color": ("PyOpenColorIO",),
}
"""Modules that a plain install comes without, by the extra that brings them."""


def one_line(text: str, longest: int = LONGEST) -> str:
    """`text` on one line: control bytes, and bytes that are not UTF-8, are escaped; the middle of a long one is left
    out."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else _escaped(c) for c in line)
    if len(line) <= longest:
        return line
    tail = longest // 3
    return f"{line[: longest - tail - 5]} ... {line[-tail:]}"


def storage_trouble(error: BaseException) -> str | None:
    """What to say where an error, or what led to it, is that the disk has no room, or fails; None else."""
    found = storage_error(error)
    if found is None or found.errno is None:
        return None
    where = f" for {_place(found.filename)}" if found.filename else ""
    if found.errno in FULL:
        return f"no space is left on the disk{where}; expected free space where results go; nothing is half-written"
    return f"the disk cannot be written to{where}: {os.strerror(found.errno)}; nothing is half-written"


def callers_mistake(error: BaseException) -> str | None:
    """What to say where an error is the system's answer to a name that the caller gave, or a library that the caller
    did not install; None else."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        module = error.name.split(".")[0]
        extra = next((extra for extra, modules in _EXTRAS.items() if module in modules), None)
        return f"this needs {module}, which `pip install 'unrender[{extra}]'` brings" if extra else None
    if isinstance(error, OSError) and error.errno in _CALLERS and error.filename is not None:
        return f"{_shown(error.filename)}: {error.strerror}; expected a name that can be read or written here"
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return f"{error.object}: a name that is not UTF-8; expected names in UTF-8"
    return None


def _shown(name: object) -> str:
    return name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name)


def _place(name: object) -> str:
    """The name of a file, or of the folder of one that is unfinished: of that nobody knows the name."""
    path = Path(_shown(name))
    return str(path.parent if path.name.startswith(".") else path)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as Python has it in names
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else character.encode("unicode_escape").decode("ascii")
