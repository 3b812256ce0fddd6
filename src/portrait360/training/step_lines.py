"""What a training prints: a line every few seconds, and one for each validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from portrait360.utils.progress import LINE_INTERVAL, LOADING


class StepLines:
    """Prints how far a training is, how fast, and how long it will take; `steps` and `minutes` are where it stops."""

    def __init__(self, steps: int | None, minutes: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.minutes, self.clock = steps, minutes, clock
        self.first_step, self.start_time, self.last_line = 0, clock(), clock()
        self.latest: tuple[int, float] | None = None  # the last step and its loss

    def resume_at(self, step: int) -> None:
        self.first_step, self.start_time = step, self.clock()

    def update(self, step: int, loss: float) -> None:
        """Report a step; most of them print nothing."""
        self.latest = step, loss
        self.print_if_due()

    def print_if_due(self) -> None:
        """Print a line if the last one was a few seconds ago, also while samples are loaded, and in a slow step."""
        now = self.clock()
        if now - self.last_line < LINE_INTERVAL:
            return
        self.last_line = now
        waits = f"{LOADING.lower()}, {now - self.start_time:.0f} s so far"
        print(waits if self.latest is None else self.format(*self.latest), flush=True)

    def report_validation(self, step: int, figures: Mapping[str, float]) -> None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if name != "loss")
        print(f"validation at step {step:,}: {values}", flush=True)

    def format(self, step: int, loss: float) -> str:
        spent, done = self.clock() - self.start_time, step - self.first_step
        parts = [f"step {step:,}" + (f" of {self.steps:,}" if self.steps else ""), f"loss {loss:.4g}"]
        if done and spent:
            parts.append(f"{done / spent:.1f} steps/s" if done >= spent else f"{spent / done:.1f} s/step")
        left = self._seconds_left(step, spent / done if done else None)
        return ", ".join([*parts, *([] if left is None else [f"{format_duration(left)} left"])])

    def _seconds_left(self, step: int, each: float | None) -> float | None:
        """Return the seconds until the first of both ends."""
        ends = []
        if self.minutes is not None:
            ends.append(60 * self.minutes - (self.clock() - self.start_time))
        if self.steps is not None and each is not None:
            ends.append((self.steps - step) * each)
        return max(min(ends), 0.0) if ends else None


def format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
