"""Random draws whose values are short enough to print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def pick(rng: np.random.Generator, odds: Mapping[str, float]) -> str:
    """Pick a key with a probability in proportion to its value."""
    weights = np.array(list(odds.values()), float)
    return list(odds)[rng.choice(len(weights), p=weights / weights.sum())]


def choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Choose one of the options, each with the same probability."""
    return options[int(rng.integers(len(options)))]


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number between low and high, rounded to four decimals."""
    return round(float(rng.uniform(low, high)), 4)
