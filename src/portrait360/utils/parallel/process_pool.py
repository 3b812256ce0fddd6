"""Jobs on the processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any

from portrait360.utils.parallel.scheduler import AHEAD, J, JobResult, R, Task, run_jobs
from portrait360.utils.parallel.workers import defer_signals, init_worker, single_threaded


class ProcessPool:
    """Worker processes with one thread each."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, function: Callable[[J], R], jobs: Iterable[J]) -> Iterator[JobResult[J, R]]:
        """Results in the order in which the jobs end; what a job raises is raised here and ends them all."""
        with single_threaded():
            backend = _Processes(function, self.workers)
            try:
                yield from run_jobs(backend, jobs)
            finally:
                backend.close()


class _Processes:
    """One executor: if a process is lost, everything in flight is lost with it."""

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        self.function, self.workers, self.isolated = function, workers, False
        self.in_flight: dict[Future[Any], Task[Any]] = {}
        self.executor = self._start()

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, init_worker, (os.getpid(),))

    def room(self) -> int:
        return 0 if self.isolated else AHEAD * self.workers - len(self.in_flight)

    def can_isolate(self) -> bool:
        return not self.in_flight

    def is_busy(self) -> bool:
        return bool(self.in_flight)

    def submit(self, task: Task[Any], *, isolated: bool = False) -> None:
        with defer_signals():  # a worker that is cut off while it starts would print a traceback
            try:
                future = self.executor.submit(self.function, task.job)
            except BrokenProcessPool:  # a process was lost since the last wait; what is in flight reports it there
                self._restart()
                future = self.executor.submit(self.function, task.job)
        self.in_flight[future], self.isolated = task, isolated

    def wait(self) -> tuple[list[tuple[Task[Any], Any]], list[list[Task[Any]]]]:
        done = wait(self.in_flight, return_when=FIRST_COMPLETED).done
        broken = {future for future in done if isinstance(future.exception(), BrokenProcessPool)}
        whole = [future for future in self.in_flight if future in done - broken]  # in the order of the jobs
        finished = [(self.in_flight.pop(future), future.result()) for future in whole]
        lost = list(self.in_flight.values()) if broken else []
        if broken:
            self._restart()
            self.in_flight = {}
        self.isolated = self.isolated and bool(self.in_flight)
        return finished, [lost] if lost else []

    def _restart(self) -> None:
        # a process that a job started while the others were being ended is not ended, and would be waited for
        for process in self._list_processes():
            process.kill()
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.executor = self._start()

    def close(self) -> None:
        """End all workers, and those at work at once: their jobs were interrupted and nobody waits for them."""
        if self.in_flight:
            for process in self._list_processes():
                process.terminate()
        self.executor.shutdown(wait=bool(self.in_flight), cancel_futures=True)

    def _list_processes(self) -> list[BaseProcess]:
        return list((getattr(self.executor, "_processes", None) or {}).copy().values())
