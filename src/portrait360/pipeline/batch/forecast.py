"""How long a batch will still take: each worker takes the next photo as soon as it is free."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from portrait360.pipeline.batch.table import Row


class Forecast:
    """The seconds left of a batch.

    Args:
        total: Number of photos.
        workers: How many are made side by side.
        guess: Seconds that a photo is expected to take before one has been made; None if unknown.
        clock: Seconds from any point in time.
    """

    def __init__(
        self, total: int, workers: int, guess: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock, self.rest, self.guess = clock, total, guess
        self.starts = [clock()] * min(workers, total)  # of the photos in progress
        self.seconds, self.made = 0.0, 0  # that photos took, and how many

    def add(self, row: Row) -> None:
        """Count a photo that has ended; what was kept from an earlier batch, or failed, says nothing of the pace."""
        self.rest -= 1
        if self.starts:  # that of this photo; another may have been in progress for longer
            began = self.clock() - row.seconds
            self.starts.remove(min(self.starts, key=lambda start: abs(start - began)))
        if self.rest > len(self.starts):
            self.starts.append(self.clock())
        if row.state == "done":
            self.seconds, self.made = self.seconds + row.seconds, self.made + 1

    def seconds_left(self) -> tuple[float, float] | None:
        """Return the seconds left, and how many of them come after the photo that ends next; None if unknown."""
        if not self.rest:
            return 0.0, 0.0
        each = self.seconds / self.made if self.made else self.guess
        if each is None or not self.starts:
            return None
        now = self.clock()
        ends = np.sort(np.maximum(np.array(self.starts) + each, now))  # of the photos in progress
        more, extra = divmod(self.rest - len(ends), len(ends))
        last = np.max(ends + each * (more + (np.arange(len(ends)) < extra)))
        return float(last - now), float(last - ends[0])
