"""The order of training samples: each identity comes once per epoch, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def group_by_identity(samples: Sequence[Path]) -> list[list[Path]]:
    """Group sorted samples by identity."""
    return [list(group) for _, group in groupby(samples, lambda path: path.stem.split("-")[0])]


def sample_for_step(identities: Sequence[Sequence[T]], index: int, seed: int) -> T:
    """Return the sample with this index in the training run.

    Every epoch visits each identity once, in a new order, and takes its next sample.
    """
    epoch, position = divmod(index, len(identities))
    samples = identities[_shuffle(len(identities), epoch, seed)[position]]
    return samples[epoch % len(samples)]


@lru_cache(maxsize=2)
def _shuffle(count: int, epoch: int, seed: int) -> NDArray[np.integer]:
    return np.random.default_rng([seed, 53, epoch]).permutation(count)
