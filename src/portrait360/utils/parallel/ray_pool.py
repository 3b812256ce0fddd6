"""Jobs on a Ray cluster: actors with one core each, and optionally a share of a GPU."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from portrait360.utils.errors import UserError
from portrait360.utils.local_server import HOST
from portrait360.utils.parallel.process_pool import ProcessPool
from portrait360.utils.parallel.scheduler import AHEAD, TRIES, Engine, J, JobResult, R, Task, run_jobs
from portrait360.utils.parallel.workers import ONE_THREAD

NEEDS_SCALE = "This needs further packages; install them with `pip install 'portrait360[scale]'`."
CONNECT_TIMEOUT = 10.0  # seconds
HERE = "here"  # in place of an address: a cluster on this machine, for this run only


def create_engine(workers: int, ray: str | None, gpus: float = 0.0, paths: Iterable[object] = ()) -> Engine:
    """Return a pool of processes on this machine, or with `ray` a pool on the cluster at that address.

    `paths` are those that the jobs read and write. On a cluster they must be absolute, since its nodes run in folders
    of their own.
    """
    if ray not in (None, HERE):
        for path in map(str, paths):
            if "://" not in path and not Path(path).is_absolute():
                raise UserError(f"Nodes of a cluster may not find {path}; give its absolute path, starting with /.")
    if ray is None:
        if gpus:
            raise UserError("`gpus=` needs a cluster; name one with `ray=`, or leave out `gpus=`.")
        return ProcessPool(workers)
    if find_spec("ray") is None:
        raise UserError(NEEDS_SCALE)
    return RayPool(ray, workers, gpus)


class RayPool:
    """Actors with one core each, and optionally a share of a GPU, wherever the cluster has room."""

    def __init__(self, address: str, workers: int, gpus: float = 0.0) -> None:
        """Use `workers` actors; each takes `gpus` GPUs (0.25: a quarter of one)."""
        self.address, self.workers, self.gpus = address, workers, gpus

    def run(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[JobResult[J, R]]:
        """Yield results in the order in which the jobs end. What a job raises is raised here and ends them all."""
        import ray

        initialize = not ray.is_initialized()
        if initialize:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            target: dict[str, Any] = {"_node_ip_address": HOST} if self.address == HERE else {"address": self.address}
            try:
                check_reachable(self.address)
                ray.init(**target, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError) as error:
                message = f"There is no Ray cluster at {self.address}; start one with `ray start --head`."
                raise UserError(message) from error
        try:
            self._check_gpus(ray)
            yield from run_jobs(_Actors(ray, function, self.workers, self.gpus), jobs)
        finally:
            if initialize:
                ray.shutdown()

    def _check_gpus(self, ray: Any) -> None:
        """Raise a UserError for a GPU that this machine does not have; a cluster elsewhere may still grow."""
        if self.address == HERE and self.gpus > ray.cluster_resources().get("GPU", 0.0):
            raise UserError("This machine has no GPU that Ray sees; leave `gpus=` out.")


def check_reachable(address: str) -> None:
    """Raise an OSError at once if the address does not answer; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT).close()


class _Worker:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def ready(self) -> None:
        pass

    def work(self, job: Any) -> Any:
        return self.function(job)


class _Actors:
    """Actors, each with a queue of AHEAD tasks that are lost with it.

    An actor gets tasks once it has started. When an actor is lost, another one is requested, which the cluster starts
    wherever and whenever it has room.
    """

    def __init__(self, ray: Any, function: Callable[[Any], Any], workers: int, gpus: float) -> None:
        self.ray, self.function = ray, function
        threads = {"env_vars": dict.fromkeys(ONE_THREAD, "1")}
        self.kind = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env=threads)(_Worker)
        self.starting: dict[Any, Any] = {}  # actors by the reference that resolves when they have started
        self.failed_starts = 0  # in a row
        self.free: dict[Any, int] = {}  # how many more tasks each actor takes
        self.in_flight: dict[Any, tuple[Any, Task[Any], bool]] = {}  # actor, task, whether it is isolated
        for _ in range(workers):
            self._request()

    def _request(self) -> None:
        actor = self.kind.remote(self.function)
        self.starting[actor.ready.remote()] = actor

    def room(self) -> int:
        return sum(self.free.values())

    def can_isolate(self) -> bool:
        return AHEAD in self.free.values()

    def is_busy(self) -> bool:
        return bool(self.in_flight)

    def submit(self, task: Task[Any], *, isolated: bool = False) -> None:
        actor = max(self.free, key=lambda actor: self.free[actor])
        self.free[actor] -= AHEAD if isolated else 1
        self.in_flight[actor.work.remote(task.job)] = (actor, task, isolated)

    def wait(self) -> tuple[list[tuple[Task[Any], Any]], list[list[Task[Any]]]]:
        ready = self.ray.wait([*self.in_flight, *self.starting], num_returns=1)[0][0]
        if ready in self.starting:
            self._start(ready)
            return [], []
        actor, task, isolated = self.in_flight[ready]
        try:
            result = self.ray.get(ready)
        except self.ray.exceptions.RayActorError:
            return [], [self._lose(actor)]
        except self.ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        del self.in_flight[ready]
        self.free[actor] += AHEAD if isolated else 1
        return [(task, result)], []

    def _start(self, ready: Any) -> None:
        actor = self.starting.pop(ready)
        try:
            self.ray.get(ready)
            self.free[actor] = AHEAD
            self.failed_starts = 0
        except self.ray.exceptions.RayError as error:
            self.failed_starts += 1
            if self.failed_starts >= TRIES * AHEAD:
                last = str(error).strip().splitlines()[-1]
                raise UserError(f"Workers do not start on the cluster; the last error was: {last}") from error
            self._request()

    def _lose(self, actor: Any) -> list[Task[Any]]:
        """Drop the actor and request another; return the tasks that it had in flight."""
        lost = [task for owner, task, _ in self.in_flight.values() if owner == actor]
        self.in_flight = {ref: entry for ref, entry in self.in_flight.items() if entry[0] != actor}
        del self.free[actor]
        self._request()
        return lost
