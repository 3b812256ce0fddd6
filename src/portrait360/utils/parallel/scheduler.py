"""Many jobs side by side: what they return does not depend on how many workers there are.

Jobs are taken as they are needed, so that a list of millions costs no memory. A lost worker takes nothing with it but
the job that ended it: everything that was in flight beside that job is tried again, one job at a time, until the
culprit is known. Where workers come from is up to a `Backend`: processes of this machine, or a Ray cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

J = TypeVar("J")
R = TypeVar("R")

AHEAD = 2  # jobs that wait or run, for each worker
TRIES = 3  # of a job whose worker is lost


class WorkerLostError(RuntimeError):
    """A job ended its worker every time, without a word: too little memory, as a rule."""


@dataclass(frozen=True)
class JobResult(Generic[J, R]):
    job: J
    result: R | None
    lost: bool = False  # its worker was lost every time


@dataclass(frozen=True, eq=False)
class Task(Generic[J]):
    """A job, and how often it was alone when its worker was lost."""

    job: J
    tries: int = 0


class Engine(Protocol):
    """Runs a function on many jobs: `ProcessPool`, `RayPool`."""

    def run(self, function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[JobResult[Any, Any]]: ...


class Backend(Protocol):
    """Workers, each of which can be lost at any time together with all that it has in flight."""

    def room(self) -> int:
        """How many more tasks it takes now."""
        ...

    def can_isolate(self) -> bool:
        """Whether a task can be submitted now so that no other would be lost with it."""
        ...

    def submit(self, task: Task[Any], *, isolated: bool = False) -> None: ...

    def is_busy(self) -> bool:
        """Whether anything is in flight."""
        ...

    def wait(self) -> tuple[list[tuple[Task[Any], Any]], list[list[Task[Any]]]]:
        """Tasks with their results, and the groups of tasks that were lost together, as soon as anything changed.
        Raises what a job raised."""
        ...


def run_jobs(backend: Backend, jobs: Iterable[J]) -> Iterator[JobResult[J, Any]]:
    """Results in the order in which the jobs end."""
    remaining, exhausted, suspects = iter(jobs), False, deque[Task[J]]()
    while True:
        while suspects and backend.can_isolate():
            backend.submit(suspects.popleft(), isolated=True)
        while not (suspects or exhausted) and backend.room() > 0:
            try:
                backend.submit(Task(next(remaining)))
            except StopIteration:
                exhausted = True
        if exhausted and not (suspects or backend.is_busy()):
            return
        finished, lost_groups = backend.wait()
        for task, result in finished:
            yield JobResult(task.job, result)
        for group in lost_groups:
            alone = len(group) == 1  # so it was this one
            for task in group:
                if task.tries + alone >= TRIES:
                    yield JobResult(task.job, None, lost=True)
                else:
                    suspects.append(Task(task.job, task.tries + alone))


def require_all(results: Iterable[JobResult[J, R]]) -> Iterator[tuple[J, R]]:
    """Jobs and their results; raises a WorkerLostError if any was lost."""
    for result in results:
        if result.lost:
            raise WorkerLostError(f"{result.job} crashed its worker {TRIES} times")
        yield result.job, result.result  # pyright: ignore[reportReturnType] (it was not lost)
