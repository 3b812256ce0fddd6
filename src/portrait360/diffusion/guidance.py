"""Classifier-free guidance between any two passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Pass = Callable[[Tensor, Tensor], Tensor]  # (a window's latents, the views' places in the orbit) -> prediction


@dataclass(frozen=True)
class Guidance:
    """The published programs guide by 3 at every step; outside the interval of timesteps the scale is 1."""

    scale: float = 3.0
    interval: tuple[float, float] = (0, float("inf"))

    def at(self, t: Tensor) -> float:
        low, high = self.interval
        return self.scale if low <= float(t.max()) <= high else 1.0


def guided(conditional: Pass, unconditional: Pass, scale: float) -> Pass:
    """uc + scale (c - uc); at scale 1 the unconditional pass is not run, at 0 the conditional one."""
    if scale == 1:
        return conditional
    if scale == 0:
        return unconditional

    def both(x: Tensor, views: Tensor) -> Tensor:
        away = unconditional(x, views)
        return away + scale * (conditional(x, views) - away)

    return both
