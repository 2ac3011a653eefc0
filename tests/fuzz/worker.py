"""A process that runs cases: it is told them on stdin, a line each, and answers with a line each on stdout.

It watches itself. Memory is the peak of what is resident during a case. Sockets, programs and files are watched by
Python's audit hooks, and what C code opens elsewhere by inotify; who connects to the address in the traps is counted by
the process that started this one. Nothing may be left in the folder for temporary files, nor be printed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import logging
import os
import resource
import shutil
import struct
import sys
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path

import torch

MOST_MEMORY = 2 * 2**30
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
_IN_OPEN, _IN_CREATE, _IN_MODIFY = 0x20, 0x100, 0x2


class Watch:
    """What was touched that no reader may touch."""

    def __init__(self, inside: Path, elsewhere: Path) -> None:
        self.seen: list[str] = []
        self.on = False
        self._inside, self._elsewhere = str(inside), str(elsewhere)
        self._libc = ctypes.CDLL(None)
        self._notices = self._libc.inotify_init1(os.O_NONBLOCK)
        self._libc.inotify_add_watch(self._notices, str(elsewhere).encode(), _IN_OPEN | _IN_CREATE | _IN_MODIFY)
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        if event.startswith("socket.") and event != "socket.gethostname":
            self.seen.append(f"a socket ({event})")
        elif event in _PROGRAMS:
            self.seen.append(f"a program ({event})")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            self._opened(os.fsdecode(arguments[0]), arguments[1], arguments[2])

    def _opened(self, name: str, mode: object, flags: object) -> None:
        path = os.path.realpath(name)
        if path.startswith((self._elsewhere, "/etc/passwd", "/dev/zero", "/dev/urandom")):
            self.seen.append("a file elsewhere was opened")
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and not path.startswith((self._inside, "/dev/null")):
            self.seen.append(f"a file was written elsewhere ({mode})")

    def taken(self) -> list[str]:
        """What was seen since the last call."""
        try:
            if os.read(self._notices, 65536):
                self.seen.append("a file elsewhere was opened by C code")
        except BlockingIOError:
            pass
        found, self.seen = self.seen, []
        return found


def main() -> None:
    place, port = Path(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (24 * 2**30,) * 2)
    # Only JSON goes to the real stdout; what is printed during a case is a fault.
    answers = os.fdopen(os.dup(1), "w")
    printed = tempfile.TemporaryFile()  # noqa: SIM115 (it is open as long as the process)
    faulthandler.enable(open(place / "crash.txt", "w"))  # noqa: SIM115
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("unrender").setLevel(logging.CRITICAL)

    from fuzz.cases import Outcome, attempt, prepare
    from fuzz.seeds import SEEDS
    from fuzz.traps import SECRET, Elsewhere

    outside, seeds, temporary = place / "outside", place / "seeds", place / "tmp"
    for folder in (outside, seeds, temporary):
        folder.mkdir(exist_ok=True)
    written: dict[str, Path] = {}
    elsewhere = Elsewhere(outside, port)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)

    def ready(name: str) -> Path:
        if name not in written:
            folder = seeds / name.replace(" ", "_")
            folder.mkdir()
            written[name] = SEEDS[name].write(folder).relative_to(folder)
            SEEDS[name].read(_copy(folder, place / "case") / written[name])  # imports are no part of a case
        return seeds / name.replace(" ", "_")

    for name in SEEDS:
        ready(name)
    from test_cases_media import png

    (outside / SECRET).write_bytes(png((255, 0, 255)))
    watch = Watch(place, outside)
    os.dup2(printed.fileno(), 1), os.dup2(printed.fileno(), 2)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        name, number = json.loads(line)
        shutil.rmtree(place / "case", ignore_errors=True)
        file, done = prepare(name, number, ready(name), place / "case", elsewhere)
        size = file.stat().st_size if file.is_file() else 0
        forget_peak()
        watch.taken()
        watch.on = True
        outcome = attempt(name, place / "case" / written[name])
        watch.on = False
        sys.stdout.flush(), sys.stderr.flush()
        faults = _faults(watch, printed, temporary, size)
        if faults and outcome.kind != "fault":
            outcome = Outcome("fault", faults[0], "; ".join(faults))
        print(json.dumps({**asdict(outcome), "done": done}), file=answers, flush=True)


def _copy(folder: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return shutil.copytree(folder, target)


def _faults(watch: Watch, printed: object, temporary: Path, size: int) -> list[str]:
    found = list(dict.fromkeys(watch.taken()))
    most = peak()
    if most > MOST_MEMORY and size < 2**20:
        found.append(f"{most / 2**30:.1f} GB for {size} bytes")
    if any(temporary.iterdir()):
        found.append(f"left {next(temporary.iterdir()).name[:4]}... among temporary files")
        shutil.rmtree(temporary)
        temporary.mkdir()
    said = os.pread(printed.fileno(), 4096, 0)  # ty: ignore[unresolved-attribute]
    if said:
        os.ftruncate(printed.fileno(), 0)  # ty: ignore[unresolved-attribute]
        os.lseek(printed.fileno(), 0, 0)  # ty: ignore[unresolved-attribute]
        found.append(f"printed {said[:80]!r}")
    return found


def forget_peak() -> None:
    """Lets `peak` begin anew, at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The most that was resident in this process at one time, in bytes."""
    said = Path("/proc/self/status").read_text()
    return 1024 * int(said.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    assert struct.calcsize("P") == 8
    main()
