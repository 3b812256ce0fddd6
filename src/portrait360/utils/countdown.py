"""A time left as people see it: it runs down between two estimates, and hardly ever rises."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

RISE = 1.1  # by which what is shown may exceed the least that was shown before
# of what the present step was to take, below which no clock runs it down: a slow one must not seem to be over
LEAST_SHARE = 0.25
FEWEST, ENOUGH_SECONDS = 3, 20.0  # steps, or seconds with at least one, whose pace says how long the rest takes


class Countdown:
    """Seconds left, from estimates that come now and then."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: time.monotonic())
        self._when, self._later, self._least = 0.0, 0.0, math.inf
        self._left: float | None = None

    def report(self, left: float | None, later: float = 0.0) -> None:
        """Take a new estimate, None if it is unknown; `later` of it comes after what is done now."""
        self._when, self._left = self._clock(), left
        self._later = min(max(later, 0.0), left or 0.0)

    def seconds(self) -> float | None:
        """Return the seconds left to show now."""
        if self._left is None:
            return None
        now = self._left - self._later
        share = max(1 - (self._clock() - self._when) / now, LEAST_SHARE) if now > 0 else 0.0
        left = min(self._later + share * now, RISE * self._least)
        self._least = min(self._least, left)
        return left


class Pace:
    """Seconds left of equal steps, from the pace of those that are done."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: time.monotonic())
        self._countdown = Countdown(self._clock)
        self._first: tuple[float, int] | None = None  # when steps were first reported, and how many were done
        self._done = -1

    def report(self, done: int, total: int | None) -> None:
        """`done` of `total` steps are done."""
        now = self._clock()
        if self._first is None or done < self._first[1]:
            self._first = now, done
        if not total or done == self._done:
            return
        self._done = done
        begin, count = now - self._first[0], done - self._first[1]
        if count >= FEWEST or (count and begin >= ENOUGH_SECONDS):
            left = begin / count * (total - done)
            self._countdown.report(left, left - begin / count)

    def seconds(self) -> float | None:
        return self._countdown.seconds()
