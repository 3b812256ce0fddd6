"""Work in threads, for functions that spend their time in kernels without the interpreter's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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


def map_in_threads(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield what the function makes of the items, in their order; only a few of them are at work at a time.

    The first is made alone: what it computes once for all must not be computed by every thread.
    """
    rest = iter(items)
    for first in rest:
        yield function(first)
        break
    count = count_threads()
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
