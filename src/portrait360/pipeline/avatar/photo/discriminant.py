"""Fisher's linear discriminant: what tells two samples apart, and how far apart they are."""

from __future__ import annotations

import numpy as np

from portrait360.utils.array_types import Floats

SPREAD = 0.01  # variance added to that of the values, which are logarithms


def discriminate(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return the difference of the means of two samples (n, k), and the weights of Fisher's discriminant (k,).

    The root of their product is the distance of the means in standard deviations.
    """
    spread = (np.cov(first.T) + np.cov(second.T)) / 2 + SPREAD * np.eye(first.shape[-1])
    apart = second.mean(0) - first.mean(0)
    return apart, np.linalg.solve(spread, apart)
