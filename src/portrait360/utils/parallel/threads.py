"""Work in threads, for functions that spend their time in kernels without the interpreter's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
LIMIT = "OMP_NUM_THREADS"  # how many threads a process may use; workers of a batch have one each
MOST = 4  # each holds a render's buffers


def count_threads() -> int:
    """Return how many threads are worth it: as many as cores, if the environment does not say fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get(LIMIT, "")
    return max(min(cores, MOST, int(limit) if limit.isdecimal() else MOST), 1)


def run_beside(first: Callable[[], S], second: Callable[[], T]) -> tuple[S, T]:
    """Return what two functions return, which run at the same time if that is worth it."""
    if count_threads() == 1:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(second)
        return first(), other.result()


@contextmanager
def start_beside(function: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Start a function that runs beside what follows, if that is worth it; what is yielded waits for its result."""
    if count_threads() == 1:
        yield cache(function)
        return
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function).result


def map_in_threads(function: Callable[[S], T], items: Iterable[S], *, lone_first: bool = True) -> Iterator[T]:
    """Yield what the function makes of the items, in their order; only a few of them are at work at a time.

    Args:
        function: What does the work.
        items: Taken one after the other, by the thread that asks for the results.
        lone_first: Whether the first is made alone, since what it computes once for all every thread would compute.
    """
    rest, count = iter(items), count_threads()
    for first in rest if lone_first else ():
        yield function(first)
        break
    if count == 1:
        yield from map(function, rest)
        return
    with ThreadPoolExecutor(count) as pool:
        at_work: deque[Future[T]] = deque()
        try:
            for item in rest:
                at_work.append(pool.submit(function, item))
                if len(at_work) > count:
                    yield at_work.popleft().result()
            while at_work:
                yield at_work.popleft().result()
        finally:  # nobody waits for the others any more
            for future in at_work:
                future.cancel()
