"""When what is learnt from: nobody comes again before everybody has come, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def by_identity(samples: Sequence[Path]) -> list[list[Path]]:
    """Sorted samples, those of one identity together."""
    return [list(own) for _, own in groupby(samples, lambda path: path.stem.split("-")[0])]


def chosen(identities: Sequence[Sequence[T]], turn: int, seed: int) -> T:
    """Rounds in which every identity has its turn once, each round in another order and with its next sample."""
    lap, place = divmod(turn, len(identities))
    own = identities[_order(len(identities), lap, seed)[place]]
    return own[lap % len(own)]


@lru_cache(maxsize=2)
def _order(count: int, lap: int, seed: int) -> NDArray[np.integer]:
    return np.random.default_rng([seed, 53, lap]).permutation(count)
