"""An executor of a Ray cluster: actors that begin once and do one item at a time; the driver schedules.

Ray only says where code runs. What is done is known by the results themselves, as without it.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

from unrender.errors import UserError
from unrender.files.leftovers import is_alive, place, remove, removed_on_signal
from unrender.files.reading import brief
from unrender.scale.work import Item, ItemOutcome, Needs, Result, Tell, Work
from unrender.scale.worker import Reply, Worker, set_threads

ATTEMPTS = 3
"""How many workers an item may take with it before it is set aside."""

LOCAL = "local"
_WAIT_SECONDS, _CONNECT_SECONDS = 1.0, 5.0
_OBJECT_STORE = 80_000_000  # bytes; Ray's least is 75 MB, and nothing that travels is large
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # workers without a GPU see none; unset, Ray warns of it
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # what Ray would print of workers that died; the report says it
    "RAY_worker_niceness": "0",  # of Ray's own 15 nothing is left where others compute, too
}


@dataclass(frozen=True)
class RayCluster:
    """The workers of a Ray cluster. It must have the same version of unrender, and see the same files under the same
    names. What a worker that is killed, or a node that is lost, had in hand is done again by another.

    Attributes:
        address: "local" begins a cluster on this machine that ends with this process; "auto", HOST:PORT or ray://... is
            one that runs.
        workers: how many at most; by default as many as the cluster has processors, or GPUs, for.
    """

    address: str = LOCAL
    workers: int | None = None

    def run(self, work: Work[Item, Result], items: Sequence[Item], tell: Tell) -> Iterator[ItemOutcome[Item, Result]]:
        """See `Executor.run`.

        Raises:
            ModuleNotFoundError: Ray is not installed.
            UserError: no cluster answers, or workers die before they have begun.
        """
        if not items:
            return
        _require_answer(self.address)
        with _connected(self, work.needs) as ray:
            fleet: _Fleet[Item, Result] = _Fleet(ray, work, min(len(items), self.workers or _room(ray, work.needs)))
            try:
                yield from fleet.run(items, tell)
            finally:
                fleet.dismiss()


@dataclass(frozen=True)
class _Task(Generic[Item]):
    """An item, and how many workers it has cost."""

    item: Item
    deaths: int = 0


@dataclass
class _Fleet(Generic[Item, Result]):
    """The actors of a run, of which each begins, idles or does one item."""

    ray: Any
    work: Work[Item, Result]
    size: int
    beginning: dict[Any, Any] = field(default_factory=dict)
    busy: dict[Any, tuple[Any, _Task[Item]]] = field(default_factory=dict)
    idle: deque[Any] = field(default_factory=deque)
    done: dict[Any, int] = field(default_factory=dict)  # items of each actor
    died_beginning: int = 0
    last_death: str = ""

    def run(self, items: Sequence[Item], tell: Tell) -> Iterator[ItemOutcome[Item, Result]]:
        """The outcomes of all items, as they come."""
        waiting = map(_Task, items)
        again: deque[_Task[Item]] = deque()
        left = len(items)
        for _ in range(self.size):
            self._hire()
        while left:
            while self.idle and (task := again.popleft() if again else next(waiting, None)) is not None:
                actor = self.idle.popleft()
                self.busy[actor.answer.remote(task.item)] = actor, task
            ended, _ = self.ray.wait([*self.busy, *self.beginning], num_returns=1, timeout=_WAIT_SECONDS)
            for reference in ended:
                if reference in self.beginning:
                    self._begun(reference)
                    continue
                actor, task = self.busy.pop(reference)
                answer = self._answer(reference)
                if answer is not None:
                    self._keep(actor)
                    tell(answer.units)
                    yield answer.outcome(task.item)
                    left -= 1
                    continue
                self._replace(actor)
                if task.deaths + 1 < ATTEMPTS:
                    again.append(_Task(task.item, task.deaths + 1))
                else:
                    yield ItemOutcome(task.item, reason=f"{ATTEMPTS} workers died of it, perhaps out of memory")
                    left -= 1

    def dismiss(self) -> None:
        """Ends all actors."""
        for actor in self.done:
            with suppress(Exception):  # the cluster may be gone
                self.ray.kill(actor)

    def _hire(self) -> None:
        needs = self.work.needs
        options = {"num_cpus": min(needs.threads, _largest(self.ray)), "max_restarts": 0, "max_task_retries": 0}
        if _has_gpus(self.ray, needs):
            options["num_gpus"] = 1
        actor = self.ray.remote(_Actor).options(**options).remote(self.work, os.getcwd())
        self.done[actor] = 0
        self.beginning[actor.begin.remote()] = actor

    def _begun(self, reference: Any) -> None:
        actor, answer = self.beginning.pop(reference), self._answer(reference)
        if answer is not None:
            answer.check()
            self.died_beginning = 0
            self.idle.append(actor)
            return
        self.died_beginning += 1
        if self.died_beginning >= max(ATTEMPTS, 2 * self.size):
            raise UserError(
                f"{self.died_beginning} workers in a row died before they began ({self.last_death}); expected memory "
                f"for {self.size} of them, and this version of unrender on every node"
            )
        self._replace(actor)

    def _answer(self, reference: Any) -> Reply[Result] | None:
        """What a worker answered, None where it, or its node, died."""
        from ray.exceptions import RayError

        try:
            return self.ray.get(reference)
        except RayError as error:
            self.last_death = brief(error)
            return None

    def _keep(self, actor: Any) -> None:
        """An actor may do another item, unless its life is over."""
        self.done[actor] += 1
        if self.work.needs.lifetime and self.done[actor] >= self.work.needs.lifetime:
            self._replace(actor)
        else:
            self.idle.append(actor)

    def _replace(self, actor: Any) -> None:
        del self.done[actor]
        with suppress(Exception):  # it is dead
            self.ray.kill(actor)
        self._hire()


class _Actor(Generic[Item, Result]):
    """A worker in a process of Ray's."""

    def __init__(self, work: Work[Item, Result], folder: str) -> None:
        with suppress(OSError):  # a node without that folder must be given absolute paths
            os.chdir(folder)
        set_threads(work.needs.threads)
        self._worker: Worker[Item, Result] = Worker(work)

    def begin(self) -> Reply[Any]:
        """See `Worker.begin`."""
        return self._worker.begin()

    def answer(self, item: Item) -> Reply[Result]:
        """See `Worker.answer`."""
        return self._worker.answer(item)


@contextmanager
def _connected(cluster: RayCluster, needs: Needs) -> Generator[Any]:
    """Ray, connected to the cluster; one that the caller has connected already is taken as it is, and left so."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield ray
        return
    scratch = _scratch() if cluster.address == LOCAL else None
    try:
        with removed_on_signal(lambda: remove(Path(scratch)) if scratch else None):
            with _signals_kept():
                _init(ray, cluster, needs, scratch)
            yield ray
    finally:
        ray.shutdown()
        if scratch is not None:
            remove(Path(scratch))


def _scratch() -> str:
    """A folder for Ray's own files, with a short name, for sockets lie in it; what killed drivers left goes."""
    folder = Path("/tmp") if os.path.isdir("/tmp") else Path(tempfile.gettempdir())
    ours = f"ur-ray-{place()}-"
    for left in folder.glob(f"{ours}*"):
        owner = left.name.removeprefix(ours).partition("-")[0]
        if owner.isdigit() and not is_alive(int(owner), 0):
            remove(left)
    return tempfile.mkdtemp(prefix=f"{ours}{os.getpid()}-", dir=folder)


def _require_answer(address: str) -> None:
    """Raises UserError where nobody listens at HOST:PORT: Ray itself would try for ever."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _nobody_at(address) from error


def _nobody_at(address: str) -> UserError:
    return UserError(
        f"--ray {address}: no Ray cluster answers there; expected local, auto, or the HOST:PORT that "
        "`ray start --head` said"
    )


def _init(ray: Any, cluster: RayCluster, needs: Needs, scratch: str | None) -> None:
    options: dict[str, Any] = {"address": cluster.address, "log_to_driver": False, "logging_level": "ERROR"}
    if scratch is not None:
        processors = max((cluster.workers or 1) * needs.threads, _processors())
        options |= {"include_dashboard": False, "num_cpus": processors, "object_store_memory": _OBJECT_STORE}
        options["_temp_dir"] = scratch
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        if scratch is not None:
            raise
        raise _nobody_at(cluster.address) from error


@contextmanager
def _signals_kept() -> Generator[None]:
    """Signals end this process as before the block, which sets handlers of its own."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            with suppress(ValueError, TypeError):  # in another thread than the first nobody sets any
                signal.signal(number, handler)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _room(ray: Any, needs: Needs) -> int:
    """How many workers the cluster has room for; one, where it has yet to grow."""
    resources = ray.cluster_resources()
    room = resources.get("GPU", 0) if _has_gpus(ray, needs) else resources.get("CPU", 0) // needs.threads
    return max(1, int(room))


def _has_gpus(ray: Any, needs: Needs) -> bool:
    return needs.gpu and ray.cluster_resources().get("GPU", 0) >= 1


def _largest(ray: Any) -> int:
    """Processors of the node that has most: a worker that asked for more would wait for ever."""
    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    return int(most) or 1
