"""How long a batch will still take: each worker takes the next photo as soon as it is free."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from portrait360.pipeline.batch.table import Row


class Forecast:
    def __init__(self, total: int, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.rest = clock, total
        self.starts = deque([clock()] * min(workers, total))  # of the photos in progress; the oldest ends first
        self.seconds, self.made = 0.0, 0  # that photos took, and how many

    def add(self, row: Row) -> None:
        """Count a photo that has ended; what was kept from an earlier batch, or failed, says nothing of the pace."""
        self.rest -= 1
        if self.starts:
            self.starts.popleft()
        if self.rest > len(self.starts):
            self.starts.append(self.clock())
        if row.state == "done":
            self.seconds, self.made = self.seconds + row.seconds, self.made + 1

    def seconds_left(self) -> tuple[float, float] | None:
        """Return the seconds left, and how many of them come after the photo that ends next; None if unknown."""
        if not self.made or not self.starts:
            return None
        each, now = self.seconds / self.made, self.clock()
        ends = np.maximum(np.array(self.starts) + each, now)  # of the photos in progress, in their order
        more, extra = divmod(self.rest - len(ends), len(ends))
        last = np.max(ends + each * (more + (np.arange(len(ends)) < extra)))
        return float(last - now), float(last - ends[0])
