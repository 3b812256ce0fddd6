"""A training picture of the portrait reader: a sample, photographed anew each time, and what is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portrait360.synth.photography.compose import Picture, compose
from portrait360.training.data.reader_samples import ReaderSample
from portrait360.training.data.reader_targets import NUMBERS, mirror_numbers
from portrait360.utils.array_types import F32

ROLL, ROLL_COS = NUMBERS.index("roll_sin"), 0.9  # roll stays below 30 degrees, where the cosine is about this


@dataclass(frozen=True, eq=False)
class ReaderPicture:
    picture: Picture
    classes: NDArray[np.int32]
    numbers: F32


def take_picture(
    sample: ReaderSample,
    others: Sequence[ReaderSample],
    rng: np.random.Generator,
    size: int,
    treatment: str | None = None,
) -> ReaderPicture:
    """Photograph a sample, sometimes with others beside it; `treatment` as for `compose`."""
    picture = compose(rng, sample.cutout(), [other.cutout() for other in others], size, treatment)
    numbers = mirror_numbers(sample.numbers) if picture.flip else sample.numbers.copy()
    numbers[ROLL] += ROLL_COS * rotation_sine(picture.affine)
    return ReaderPicture(picture, sample.classes, numbers)


def rotation_sine(affine: NDArray[np.floating]) -> float:
    """Return the sine of the clockwise rotation (x right, y down) of an affine map that may also mirror."""
    down = affine[:, 1] / max(float(np.linalg.norm(affine[:, 1])), 1e-9)
    return -float(down[0])
