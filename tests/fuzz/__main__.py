"""Runs cases in parallel workers for a given time, prints a table, and exits with status 1 on any fault."""

from __future__ import annotations

import argparse
import collections
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

CASE_SECONDS, START_SECONDS = (20.0, 120.0), (300.0, 600.0)  # of the processor, and by the clock of a busy machine
HARD_MEMORY = 3 * 2**30
Case = tuple[str, int]


@dataclass
class Tally:
    """What came of the cases so far.

    Attributes:
        counts: (seed's name, kind) to number.
        faults: what, to the cases with their details.
    """

    counts: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    faults: dict[str, list[tuple[Case, str]]] = field(default_factory=dict)
    seconds: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, case: Case, answer: dict[str, str], seconds: float = 0.0) -> None:
        self.seconds[case[0]] += seconds
        self.counts[case[0], answer["kind"]] += 1
        if answer["kind"] == "fault":
            detail = f"{answer.get('done', '')}: {answer['detail']}"
            self.faults.setdefault(f"{case[0]}: {answer['what']}", []).append((case, detail))


class Worker:
    """A process of `fuzz.worker`, started anew when a case ends it."""

    def __init__(self, place: Path, port: int) -> None:
        self._base, self._place, self._port = place, place, port
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, case: Case) -> dict[str, str]:
        """The answer to a case; a fault where the process ended, hung, or took too much memory."""
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(json.dumps(case).encode() + b"\n")
        process.stdin.flush()
        line, why = self._answer(process, *CASE_SECONDS)
        if line:
            return json.loads(line)
        self.stop()
        return {"kind": "fault", "what": why, "detail": (self._place / "crash.txt").read_text()[-600:]}

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        self._place = Path(tempfile.mkdtemp(dir=self._base, prefix="w"))
        command = [sys.executable, "-m", "fuzz.worker", str(self._place), str(self._port)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        line, why = self._answer(self._process, *START_SECONDS)
        if line != b"ready\n":
            self.stop()
            raise RuntimeError(f"a worker did not start: {why}")

    def _answer(self, process: subprocess.Popen[bytes], busy: float, longest: float) -> tuple[bytes, str]:
        until, busy_until = time.monotonic() + longest, _processor_seconds(process.pid) + busy
        assert process.stdout is not None
        while time.monotonic() < until:
            if select.select([process.stdout], [], [], 0.05)[0]:
                line = process.stdout.readline()
                return line, "" if line else f"ended by signal {-process.wait()}"
            if _resident(process.pid) > HARD_MEMORY:
                return b"", f"more than {HARD_MEMORY / 2**30:.0f} GB"
            if _processor_seconds(process.pid) > busy_until:
                return b"", f"no answer in {busy:.0f} s of the processor"
        return b"", f"no answer in {longest:.0f} s"


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _processor_seconds(pid: int) -> float:
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except (OSError, ValueError):
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def listen(tally: Tally) -> int:
    """Listens on a port of this machine, and counts who connects as a fault; the port."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            connection.close()
            tally.faults.setdefault("somebody opened a connection", []).append((("?", 0), "see the cases before"))

    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()[1]


def fuzz(names: list[str], seed: int, seconds: float, workers: int) -> Tally:
    """Runs cases `seed` x 10^6 and on, all readers by turns, until the time is over."""
    tally, until = Tally(), time.monotonic() + seconds
    lock, numbers = threading.Lock(), iter(range(seed * 10**6, (seed + 1) * 10**6))
    port = listen(tally)
    queue: collections.deque[Case] = collections.deque()

    def next_case() -> Case | None:
        with lock:
            if time.monotonic() > until:
                return None
            if not queue:
                number = next(numbers)
                queue.extend((name, number) for name in names)
            return queue.popleft()

    def work(place: Path) -> None:
        worker = Worker(place, port)
        try:
            while (case := next_case()) is not None:
                started = time.monotonic()
                answer = worker.run(case)
                with lock:
                    tally.add(case, answer, time.monotonic() - started)
        finally:
            worker.stop()

    with tempfile.TemporaryDirectory(prefix="unrender-fuzz-") as folder:
        threads = [threading.Thread(target=work, args=(Path(folder),)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return tally


def report(tally: Tally, names: list[str]) -> int:
    """Prints the table and every fault with the command that repeats it; the exit status."""
    print(f"{'reader':24}{'cases':>8}{'clean':>8}{'refused':>9}{'faults':>8}{'seconds':>9}")
    kinds = ("clean", "refused", "fault")
    for name in names:
        clean, refused, faults = (tally.counts[name, kind] for kind in kinds)
        print(f"{name:24}{clean + refused + faults:8}{clean:8}{refused:9}{faults:8}{tally.seconds[name]:9.1f}")
    sums = [sum(count for (_, kind), count in tally.counts.items() if kind == one) for one in kinds]
    print(f"{'all':24}{sum(sums):8}{sums[0]:8}{sums[1]:9}{sums[2]:8}")
    for what, found in sorted(tally.faults.items()):
        (name, number), detail = found[0]
        print(f'\n{what} ({len(found)} times)\n  python -m fuzz --only "{name}" --case {number}\n  {detail[:700]}')
    unseen = [name for name in names if not any(tally.counts[name, kind] for kind in kinds)]
    if unseen:
        print(f"\nnot run: {', '.join(unseen)}")
    return 1 if tally.faults or unseen else 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("FUZZ_SECONDS") or 600))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FUZZ_SEED") or time.time_ns() % 10**6))
    parser.add_argument("--workers", type=int, default=int(os.environ.get("FUZZ_WORKERS") or 2))
    parser.add_argument("--only", help="names of readers, with semicolons between")
    parser.add_argument("--case", type=int, help="this case of --only alone")
    given = parser.parse_args()
    from fuzz.seeds import SEEDS

    names = [name.strip() for name in given.only.split(";")] if given.only else list(SEEDS)
    if given.case is not None:
        tally = Tally()
        with tempfile.TemporaryDirectory(prefix="unrender-fuzz-") as folder:
            worker = Worker(Path(folder), listen(tally))
            for name in names:
                answer = worker.run((name, given.case))
                print(name, json.dumps(answer, indent=1))
                tally.add((name, given.case), answer)
            worker.stop()
        return report(tally, names)
    print(f"seed {given.seed}, {given.seconds:.0f} s, {given.workers} workers", flush=True)
    return report(fuzz(names, given.seed, given.seconds, given.workers), names)


if __name__ == "__main__":
    sys.exit(main())
