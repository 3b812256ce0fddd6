"""Many jobs side by side on a Ray cluster: actors with one core each, or with a share of a GPU."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from portrait360.engine import AHEAD, TRIES, Done, Engine, Processes
from portrait360.errors import UserError
from portrait360.local import HOST
from portrait360.processes import ONE_THREAD

J = TypeVar("J")
R = TypeVar("R")

LACKING = "This needs further packages; install them with `pip install 'portrait360[scale]'`."
PATIENCE = 10.0  # seconds for an address to answer
HERE = "here"  # instead of an address: this machine alone, for as long as it takes


def engine_of(workers: int, ray: str | None, gpus: float = 0.0, paths: Iterable[object] = ()) -> Engine:
    """Where work is done: `ray` is a cluster's address; without one, on processes. Paths of what is read and written
    there are whole: nodes stand in folders of their own."""
    if ray not in (None, HERE):
        for path in map(str, paths):
            if "://" not in path and not Path(path).is_absolute():
                raise UserError(f"Nodes of a cluster may not find {path}; give its whole path, from / on.")
    if ray is None:
        if gpus:
            raise UserError("--gpus is for clusters; name one with --ray, or leave it away.")
        return Processes(workers)
    if find_spec("ray") is None:
        raise UserError(LACKING)
    return Actors(ray, workers, gpus)


class Actors:
    """As `engine.Processes`, but wherever the cluster has room. What actors load, they keep."""

    def __init__(self, address: str, workers: int, gpus: float = 0.0) -> None:
        """`workers` actors; each takes `gpus` of a GPU."""
        self.address, self.workers, self.gpus = address, workers, gpus

    def run(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[Done[J, R]]:
        """In the order in which they end. What a function raises ends it all."""
        import ray

        begun = not ray.is_initialized()
        if begun:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            where: dict[str, Any] = {"_node_ip_address": HOST} if self.address == HERE else {"address": self.address}
            try:
                reachable(self.address)
                ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError) as error:
                words = f"There is no Ray cluster at {self.address}; start one with `ray start --head`."
                raise UserError(words) from error
        try:
            self._have_gpus(ray)
            yield from _Run(ray, function, iter(jobs), self.workers, self.gpus).results()
        finally:
            if begun:
                ray.shutdown()

    def _have_gpus(self, ray: Any) -> None:
        """A cluster elsewhere may grow; this machine does not."""
        if self.address == HERE and self.gpus > ray.cluster_resources().get("GPU", 0.0):
            raise UserError("This machine has no GPU that Ray sees; leave --gpus away.")


def reachable(address: str) -> None:
    """Ray itself would ask for minutes. Raises OSError."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()


class _Worker:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def ready(self) -> None:
        pass

    def work(self, job: Any) -> Any:
        return self.function(job)


class _Run(Generic[J, R]):
    """An actor is given jobs once it says that it is there; for a lost one another is asked for, which the cluster
    begins wherever and whenever it has room."""

    def __init__(self, ray: Any, function: Callable[[J], R], jobs: Iterator[J], workers: int, gpus: float) -> None:
        self.ray, self.function, self.jobs, self.more = ray, function, jobs, True
        threads = {"env_vars": dict.fromkeys(ONE_THREAD, "1")}
        self.kind = ray.remote(num_cpus=1, num_gpus=gpus, runtime_env=threads)(_Worker)
        self.coming: dict[Any, Any] = {}  # actors that have not said yet that they are there
        self.gone: set[Any] = set()
        self.failed = 0  # actors, one after the other, that did not start
        self.free: list[Any] = []  # each as often as it takes a job: its next one waits beside it
        self.waiting: dict[Any, tuple[Any, J, int]] = {}
        self.again: list[tuple[J, int]] = []
        for _ in range(workers):
            self._ask()

    def _ask(self) -> None:
        actor = self.kind.remote(self.function)
        self.coming[actor.ready.remote()] = actor

    def results(self) -> Iterator[Done[J, R]]:
        while self.waiting or self.again or self.more:
            ready = self.ray.wait([*self.waiting, *self.coming], num_returns=1)[0][0]
            if ready in self.coming:
                self._come(ready)
            else:
                yield from self._ended(ready)
            self._fill()

    def _come(self, ready: Any) -> None:
        actor = self.coming.pop(ready)
        try:
            self.ray.get(ready)
            self.free += [actor] * AHEAD
            self.failed = 0
        except self.ray.exceptions.RayError as error:
            self.failed += 1
            if self.failed >= TRIES * AHEAD:
                words = str(error).strip().splitlines()[-1]
                raise UserError(f"Workers do not start on the cluster; the last one said: {words}") from error
            self._ask()

    def _ended(self, ready: Any) -> Iterator[Done[J, R]]:
        actor, job, tries = self.waiting.pop(ready)
        try:
            result = self.ray.get(ready)
        except self.ray.exceptions.RayActorError:
            self._lose(actor)
            if tries + 1 >= TRIES * AHEAD:  # its neighbour in the queue is lost with it, and counts the same
                yield Done(job, None, lost=True)
            else:
                self.again.append((job, tries + 1))
        except self.ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        else:
            self.free += [actor] * (actor not in self.gone)
            yield Done(job, result)

    def _lose(self, actor: Any) -> None:
        """All of its jobs tell of it; another one is asked for once."""
        if actor not in self.gone:
            self.gone.add(actor)
            self.free = [other for other in self.free if other != actor]
            self._ask()

    def _fill(self) -> None:
        while self.free and self.again:
            self._submit(*self.again.pop())
        for job in islice(self.jobs, len(self.free)):
            self._submit(job, 0)
        self.more = not self.free

    def _submit(self, job: J, tries: int) -> None:
        actor = self.free.pop(0)
        self.waiting[actor.work.remote(job)] = (actor, job, tries)
