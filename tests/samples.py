"""Folders of training samples, as the programs that make them leave them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from portrait360.train.samples import Arrays


def written(place: Path, samples: Iterable[Arrays]) -> Path:
    """One of each identity, all of them finished."""
    for seed, sample in enumerate(samples):
        sample.save(place / f"{seed:07d}-0.npz")
        (place / f"{seed:07d}.done").write_text("1\n")
    return place
