"""Many jobs side by side, on the processes of this machine: what they give does not depend on how many there are.

Jobs are taken as they are needed, so that a list of millions costs no memory; a worker that is lost takes nothing
with it but its own job, which is tried again.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from portrait360.processes import alone, one_thread

J = TypeVar("J")
R = TypeVar("R")

AHEAD = 2  # jobs that wait or are at work, for each worker
TRIES = 3  # of a job whose worker is lost


class LostError(RuntimeError):
    """A job ended its worker every time, without a word: too little memory, as a rule."""


@dataclass(frozen=True)
class Done(Generic[J, R]):
    job: J
    result: R | None
    lost: bool = False  # its worker was, every time


class Engine(Protocol):
    """`Processes`, `cluster.Actors`."""

    def run(self, function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Done[Any, Any]]: ...


class Processes:
    """Each with one thread."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[Done[J, R]]:
        """In the order in which they end. What a function raises ends it all."""
        with one_thread():
            yield from _Run(function, iter(jobs), self.workers).results()


class _Run(Generic[J, R]):
    def __init__(self, function: Callable[[J], R], jobs: Iterator[J], workers: int) -> None:
        self.function, self.jobs, self.workers = function, jobs, workers
        self.suspects: deque[tuple[J, int]] = deque()  # at work when a worker was lost, and how often one by one
        self.waiting: dict[Future[R], tuple[J, int]] = {}
        self.pool = self._pool()

    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), alone, (os.getpid(),))

    def results(self) -> Iterator[Done[J, R]]:
        try:
            self._fill()
            while self.waiting:
                done = wait(self.waiting, return_when=FIRST_COMPLETED).done
                whole = done.difference(f for f in done if isinstance(f.exception(), BrokenProcessPool))
                for future in [future for future in self.waiting if future in whole]:  # in the order of the jobs
                    yield Done(self.waiting.pop(future)[0], future.result())
                if len(whole) < len(done):
                    yield from self._mend()
                self._fill()
        finally:
            self.pool.shutdown(wait=False, cancel_futures=True)

    def _fill(self) -> None:
        """Suspects go one by one, so that it is seen which of them it is."""
        if self.suspects:
            if not self.waiting:
                self._submit(*self.suspects.popleft())
            return
        for job in islice(self.jobs, AHEAD * self.workers - len(self.waiting)):
            self._submit(job, 0)

    def _submit(self, job: J, tries: int) -> None:
        try:
            future = self.pool.submit(self.function, job)
        except BrokenProcessPool:  # a worker was lost while nobody looked; those that wait in it tell so
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = self._pool()
            future = self.pool.submit(self.function, job)
        self.waiting[future] = (job, tries)

    def _mend(self) -> Iterator[Done[J, R]]:
        """All that was at work is suspected; what was alone is known to have done it."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        several = len(self.waiting) > 1
        for job, tries in self.waiting.values():
            tries += not several
            if tries >= TRIES:
                yield Done(job, None, lost=True)
            else:
                self.suspects.append((job, tries))
        self.waiting, self.pool = {}, self._pool()


def sure(results: Iterable[Done[J, R]]) -> Iterator[tuple[J, R]]:
    """For those that cannot go on without one of them."""
    for done in results:
        if done.lost:
            raise LostError(f"{done.job} ended its process {TRIES} times")
        yield done.job, done.result  # pyright: ignore[reportReturnType] (it was not lost)
