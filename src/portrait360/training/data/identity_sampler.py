"""The training samples of a folder, and their order: each identity comes once per epoch, whatever the number of
processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from portrait360.utils.errors import UserError

SUFFIXES = (".npz", ".tar")
T = TypeVar("T")


def list_samples(folder: Path, kind: str = "map") -> list[Path]:
    """List the samples of finished identities, in an order that does not depend on the file system."""
    finished = {path.stem for path in folder.glob("*.done")}
    found = (path for suffix in SUFFIXES for path in folder.glob(f"*{suffix}"))
    paths = sorted(path for path in found if path.stem.split("-")[0] in finished)
    if not paths:
        raise UserError(
            f"{folder} contains no samples; make some with `portrait360 train samples {kind} -o {folder}`."
        )
    return paths


def group_by_identity(samples: Sequence[Path]) -> list[list[Path]]:
    """Group sorted samples by identity."""
    return [list(group) for _, group in groupby(samples, lambda path: path.stem.split("-")[0])]


def spread_evenly(paths: list[Path], count: int) -> list[Path]:
    """Return at most `count` paths, evenly spaced, so that they cover as many identities as possible."""
    return [paths[i * len(paths) // count] for i in range(count)] if len(paths) > count else paths


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
