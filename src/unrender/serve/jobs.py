"""Jobs, one after the other: a bounded queue, and one process that does them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from unrender.serve.requests import Request
from unrender.serve.settings import Limits, ServeSettings
from unrender.serve.store import FileStore, StoredFile, new_id
from unrender.serve.work import JobWork
from unrender.serve.worker import serve

LOGGER = logging.getLogger("unrender.serve")
State = Literal["queued", "running", "done", "failed", "cancelled"]
LOOK = 0.1
"""Seconds between two looks at whether a running job is to end."""


class Full(Exception):
    """As many jobs wait as may."""


@dataclass
class Job:
    """One job, and how far it is."""

    id: str
    owner: str
    work: JobWork
    state: State = "queued"
    progress: float = 0.0
    message: str = ""
    notes: list[str] = field(default_factory=list)
    results: tuple[StoredFile, ...] = ()
    ended: float = 0.0
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ("done", "failed", "cancelled")


class JobQueue:
    """A queue of jobs with one process that does them, and the files that they need and make.

    Args:
        settings: the limits, and folders of models.
        store: where files are kept.
    """

    def __init__(self, settings: ServeSettings, store: FileStore) -> None:
        self.limits, self.store, self.warm = settings.limits, store, settings.warm
        self.models = {folder.resolve().name: folder.resolve() for folder in settings.model_folders}
        self._jobs: dict[str, Job] = {}
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="jobs")
        self._closed = threading.Event()

    def start(self) -> None:
        """Begins to do jobs."""
        self._thread.start()

    def close(self) -> None:
        """Ends the job that runs, and the process."""
        self._closed.set()
        for job in list(self._jobs.values()):
            job.cancelled.set()
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(5)
        if self._process is not None:
            self._process.kill()

    def submit(self, owner: str, verb: str, request: Request) -> Job:
        """A new job.

        Args:
            owner: whose it is.
            verb: its name.
            request: what is asked for.

        Raises:
            KeyError: a file that is not there, or not the owner's.
            Full: too many jobs wait.
        """
        named = [name for name, has_to_be in request.named() if has_to_be or self.store.has(owner, name)]
        files = {id: self.store.get(owner, id).path for id in named}
        with self._lock:
            if sum(job.state == "queued" for job in self._jobs.values()) >= self.limits.waiting:
                raise Full(f"{self.limits.waiting} jobs wait; expected fewer, try again later")
            work = JobWork(verb, request, self.store.folder(), files, self.models, self.limits.pixels)
            job = Job(new_id(), owner, work)
            self._jobs[job.id] = job
        self._waiting.put(job)
        return job

    def get(self, owner: str, id: str) -> Job:
        """A job by its id; KeyError where there is none, or it is another's."""
        job = self._jobs[id]
        if job.owner != owner:
            raise KeyError(id)
        return job

    def cancel(self, owner: str, id: str) -> Job:
        """Ends a job that waits or runs; of one that is over, its results are deleted. KeyError as of `get`."""
        job = self.get(owner, id)
        job.cancelled.set()
        if job.state == "queued":
            self._end(job, "cancelled")
        elif job.over:
            self.store.forget(owner, [file.id for file in job.results])
            self._jobs.pop(id, None)
        return job

    def counts(self) -> tuple[int, int]:
        """How many jobs run, and how many wait."""
        states = [job.state for job in list(self._jobs.values())]
        return states.count("running"), states.count("queued")

    def expire(self) -> None:
        """Forgets jobs that ended a while ago."""
        now = time.monotonic()
        for job in list(self._jobs.values()):
            if job.over and job.ended + self.limits.keep_seconds < now:
                self._jobs.pop(job.id, None)

    def _run(self) -> None:
        if self.warm:
            self._process = _Process()
        while (job := self._waiting.get()) is not None:
            if job.state != "queued":
                continue
            job.state, job.message = "running", "starting"
            try:
                self._do(job)
            except Exception:
                LOGGER.exception("job %s (%s)", job.id, job.work.verb)
                self._end(job, "failed", "an error of the service; its log says more")

    def _do(self, job: Job) -> None:
        """Runs a job in the process, which is ended where the job is to end before it is done."""
        if self._process is None or not self._process.is_alive():
            self._process = _Process()
        process, started = self._process, time.monotonic()
        process.connection.send(job.work)
        while True:
            says = self._stopped(job, process, started)
            if says is not None:
                process.kill()
                self._process = None
                return self._end(job, "cancelled" if job.cancelled.is_set() else "failed", says)
            try:
                if not process.connection.poll(LOOK):
                    continue
                kind, *told = process.connection.recv()
            except (EOFError, OSError):
                self._process = None
                return self._end(job, "failed", "the process of the job ended; memory may have been short")
            if kind == "progress":
                job.progress, job.message = max(job.progress, round(float(told[0]), 3)), told[1]
            elif kind == "note":
                job.notes.append(told[0])
            elif kind == "done":
                return self._keep_results(job)
            elif kind == "failed":
                return self._end(job, "failed", told[0])
            else:
                LOGGER.error("job %s (%s): %s", job.id, job.work.verb, told[0])
                return self._end(job, "failed", "an error of unrender; the service's log says more")

    def _stopped(self, job: Job, process: _Process, started: float) -> str | None:
        """Why a job is to end now; None where it may go on."""
        if job.cancelled.is_set():
            return "cancelled"
        if time.monotonic() - started > self.limits.job_seconds:
            return f"the job took longer than {self.limits.job_seconds:g} s"
        if process.memory() > self.limits.job_bytes:
            return f"the job took more than {self.limits.job_bytes >> 20} MiB of memory"
        return None

    def _keep_results(self, job: Job) -> None:
        files = sorted(path for path in job.work.folder.rglob("*") if path.is_file() and not path.is_symlink())
        kept = []
        for path in files:
            name = "/".join(path.relative_to(job.work.folder).parts)
            kept.append(self.store.add(job.owner, name, path))
        job.results, job.progress = tuple(kept), 1.0
        job.ended, job.message, job.state = time.monotonic(), "; ".join(dict.fromkeys(job.notes)), "done"

    def _end(self, job: Job, state: State, message: str = "") -> None:
        shutil.rmtree(job.work.folder, ignore_errors=True)
        job.ended, job.message, job.state = time.monotonic(), message or state, state


class _Process:
    """The process that does jobs, and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True, name="unrender jobs")
        self.process.start()
        theirs.close()

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        with suppress(OSError):
            self.process.kill()
        self.process.join(5)
        self.connection.close()

    def memory(self) -> int:
        """Bytes of memory that it holds; 0 where nobody says."""
        try:
            resident = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
            return int(resident) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return 0


def unused(limits: Limits) -> float:
    """Seconds between two looks for what is to be deleted."""
    return min(60.0, max(0.05, limits.keep_seconds / 4))
