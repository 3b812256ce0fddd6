"""Many jobs side by side on a Ray cluster: actors with one core each, or with a share of a GPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from typing import Any, Generic, TypeVar

from portrait360.engine import AHEAD, TRIES, Done, Engine, Processes
from portrait360.errors import UserError
from portrait360.local import HOST
from portrait360.processes import ONE_THREAD

J = TypeVar("J")
R = TypeVar("R")

LACKING = "This needs further packages; install them with `pip install 'portrait360[scale]'`."
HERE = "here"  # instead of an address: this machine alone, for as long as it takes


def engine_of(workers: int, ray: str | None, gpus: float = 0.0) -> Engine:
    """Where work is done: `ray` is a cluster's address; without one, on processes."""
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
                ray.init(**where, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError as error:
                words = f"There is no Ray cluster at {self.address}; start one with `ray start --head`."
                raise UserError(words) from error
        try:
            yield from _Run(ray, function, iter(jobs), self.workers, self.gpus).results()
        finally:
            if begun:
                ray.shutdown()


class _Worker:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def work(self, job: Any) -> Any:
        return self.function(job)


class _Run(Generic[J, R]):
    def __init__(self, ray: Any, function: Callable[[J], R], jobs: Iterator[J], workers: int, gpus: float) -> None:
        self.ray, self.jobs = ray, jobs
        threads = {"env_vars": dict.fromkeys(ONE_THREAD, "1")}
        # Ray starts a lost actor anew, elsewhere if its node is gone; its job is asked for again here
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=-1, runtime_env=threads)(_Worker)
        self.free = [kind.remote(function) for _ in range(workers)] * AHEAD  # an actor's next job waits beside it
        self.waiting: dict[Any, tuple[Any, J, int]] = {}
        self.again: list[tuple[J, int]] = []

    def results(self) -> Iterator[Done[J, R]]:
        self._fill()
        while self.waiting:
            ready, _ = self.ray.wait(list(self.waiting), num_returns=1)
            actor, job, tries = self.waiting.pop(ready[0])
            self.free.append(actor)
            try:
                yield Done(job, self.ray.get(ready[0]))
            except self.ray.exceptions.RayActorError:
                if tries + 1 >= TRIES * AHEAD:  # its neighbour in the queue is lost with it, and counts the same
                    yield Done(job, None, lost=True)
                else:
                    self.again.append((job, tries + 1))
            except self.ray.exceptions.RayTaskError as error:
                raise error.as_instanceof_cause() from None
            self._fill()

    def _fill(self) -> None:
        while self.free and self.again:
            self._submit(*self.again.pop())
        for job in islice(self.jobs, len(self.free)):
            self._submit(job, 0)

    def _submit(self, job: J, tries: int) -> None:
        actor = self.free.pop(0)
        self.waiting[actor.work.remote(job)] = (actor, job, tries)
