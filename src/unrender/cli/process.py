"""The process of one command: how signals end it, and on how many threads it computes.

Nothing here is slow to import: it runs before all else, so that a signal is heard while the rest is imported.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_SPARING = {"inverse", "forward", "relight", "evaluate"}
"""Verbs that leave busy cores to others. `train` does not: the number of threads decides the last bits of its sums, and
a run that was stopped ends with the same bits as one that was not."""


def begin(arguments: Sequence[str]) -> None:
    """Prepares this process for a command: signals end it without a trace, warnings of libraries stay unsaid (unless
    `-W` or PYTHONWARNINGS asks for them), and threads are as many as cores are free (unless OMP_NUM_THREADS says)."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _end)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if arguments and arguments[0] in _SPARING and not os.environ.get("OMP_NUM_THREADS"):
        free = free_cores()
        if free is not None:
            os.environ["OMP_NUM_THREADS"] = str(free)


def end() -> None:
    """Makes signals end the process at once: all is written."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def uninterrupted() -> Generator[None]:
    """Signals that come while the block runs are heard when it has ended."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def free_cores() -> int | None:
    """How many cores to compute on so as to take none from others: None where all that this process may use are free,
    or where nobody knows how many are."""
    try:
        usable = min(len(os.sched_getaffinity(0)), _quota())
        with open("/proc/loadavg", encoding="ascii") as file:
            # What runs at this moment, this process too. An average of a minute would count runs that have ended.
            others = int(file.read().split()[3].split("/")[0]) - 1
    except (AttributeError, OSError, ValueError, IndexError):
        return None
    share = usable / (os.cpu_count() or usable)
    free = max(1, round(usable - max(0, others) * share))
    return free if free < len(os.sched_getaffinity(0)) else None


def _quota() -> int:
    """How many cores a container may use at a time; many where it is told no limit."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return 1 << 16


def _end(number: int, frame: FrameType | None) -> None:
    """Ends the process with what a shell expects, 128 + the signal; what was unfinished is removed.

    No exception is raised: libraries catch some, and report others as a traceback.
    """
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    try:
        _clean_up()
    finally:
        os._exit(128 + number)


def _clean_up() -> None:
    """Ends the processes that this one began, and removes what is unfinished. Modules that are only half imported have
    begun nothing."""
    for child in getattr(sys.modules.get("multiprocessing"), "active_children", list)():
        child.kill()
    getattr(sys.modules.get("unrender.files.leftovers"), "remove_unfinished", list)()
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(2, b"\r\x1b[K\x1b[?25h")  # a progress bar hides the cursor
